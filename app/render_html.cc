// Reports as pages for people who want to look. Bars are SVG: the page's policy forbids inline styles.
#include "render_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "html/page.h"
#include "log.h"

namespace netcl::ckpt::app {
namespace {

/// Long names break at their dots.
std::string name_cell(const std::string& name) {
  if (name.empty()) return "<td>(array)</td>";
  std::string out = "<td>";
  for (const char c : html_text(name)) {
    out += c;
    if (c == '.') out += "<wbr>";
  }
  return out + "</td>";
}

std::string moved_cell(const TensorDiff& t) {
  if (!t.figures) return "";
  const std::string moved = t.figures->moved ? fmt::format("{:.3g}", *t.figures->moved) : "";
  return fmt::format(
      "<svg width=\"120\" height=\"10\" role=\"img\" aria-label=\"moved {0}\"><title>{0}</title>"
      "<rect class=\"rest\" width=\"120\" height=\"10\"/><rect width=\"{1:.0f}\" height=\"10\"/></svg>",
      moved, 120 * moved_share(t));
}

std::string decade_text(std::size_t decade) {
  if (decade == 0) return "below 1e-12";
  const int low = static_cast<int>(decade) - 13;
  return decade + 1 == kDiffDecades ? fmt::format("from 1e{} on", low) : fmt::format("1e{} to 1e{}", low, low + 1);
}

/// A bar for each count, against the largest; `text` says what is counted in one.
template <class Text>
std::string histogram(std::span<const std::uint64_t> counts, Text text) {
  const double most = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  if (most == 0) return "";
  constexpr std::size_t kBarWidth = 7;
  constexpr int kHeight = 28;
  std::string out =
      fmt::format("<svg width=\"{0}\" height=\"{1}\"><rect class=\"rest\" y=\"{2}\" width=\"{0}\" height=\"1\"/>",
                  kBarWidth * counts.size(), kHeight, kHeight - 1);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    // A bin that has any is seen.
    const double height = std::max(1.0, kHeight * static_cast<double>(counts[i]) / most);
    out += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"{}\" height=\"{:.1f}\"><title>{}: {}</title></rect>",
                       i * kBarWidth, kHeight - height, kBarWidth - 1, height, text(i), grouped(counts[i]));
  }
  return out + "</svg>";
}

std::string tensor_row(const TensorDiff& t) {
  std::string out = "<tr>" + name_cell(t.name);
  if (!t.figures) return out + "<td class=\"text\" colspan=\"9\">" + html_text(change_text(t)) + "</td></tr>\n";
  const DiffFigures& f = *t.figures;
  const auto peak = [](const std::optional<DiffPeak>& p) {
    return p ? fmt::format("{:.4g}", static_cast<double>(p->value)) : "0";
  };
  const auto cell = [&out](const std::string& text) { out += "<td>" + text + "</td>"; };
  cell(html_text(change_text(t)));
  cell(peak(f.max_abs));
  cell(peak(f.max_rel));
  cell(f.max_ulp ? grouped(*f.max_ulp) : "");
  cell(fmt::format("{:.4g}", f.rms));
  cell(f.cosine ? fmt::format("{:.6f}", *f.cosine) : "");
  cell(moved_cell(t));
  cell(f.histogram ? histogram(*f.histogram, decade_text) : "");
  std::string marks;
  for (const auto& [count, what] : {std::pair{f.nan_appeared, "NaN appeared"},
                                    {f.nan_vanished, "NaN gone"},
                                    {f.inf_appeared, "Inf appeared"},
                                    {f.inf_vanished, "Inf gone"}}) {
    if (count > 0) marks += fmt::format("{}{} {}", marks.empty() ? "" : ", ", grouped(count), what);
  }
  return out + "<td class=\"mark\">" + marks + "</td></tr>\n";
}

std::string stats_cells(const TensorInfo& t) {
  if (!t.stats) return "<td colspan=\"8\"></td>";
  const TensorStats& s = *t.stats;
  const double low = static_cast<double>(s.min);
  const double width = (static_cast<double>(s.max) - low) / kHistogramBins;
  const auto bin_text = [&](std::size_t i) {
    const auto edge = static_cast<double>(i);
    return width == 0 ? fmt::format("{:.4g}", low)
                      : fmt::format("{:.4g} to {:.4g}", low + edge * width, low + (edge + 1) * width);
  };
  std::string out = "<td>" + histogram(s.histogram, bin_text) + "</td>";
  const std::vector<std::string> texts = stats_texts(s);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const bool marked = i + 2 >= texts.size() && texts[i] != "0";  // NaN and Inf
    out += (marked ? "<td class=\"mark\">" : "<td>") + texts[i] + "</td>";
  }
  return out;
}

std::string tensor_row(const TensorInfo& t, bool hash) {
  std::string out = fmt::format("<tr data-n=\"{}\">", num_elements(t)) + name_cell(t.name);
  out += "<td class=\"text\">" + html_text(t.dtype.name()) + "</td><td class=\"left\">" + shape_text(t.shape);
  out += (t.fortran_order ? " F</td><td>" : "</td><td>") + bytes_text(t.size_bytes) + "</td><td>";
  out += bytes_text(t.stored_bytes) + "</td>" + stats_cells(t);
  if (hash) out += "<td class=\"text hash\">" + t.sha256 + "</td>";
  return out + "</tr>\n";
}

/// The map, and below it the listing that it is drawn from: of the model, or of all where there is no model.
std::string tensor_table(const InspectReport& report) {
  std::string out;
  const auto add = [&out](const auto&... parts) { (out.append(parts), ...); };
  const bool model = !tensors_of(report, Group::model).empty();
  const bool hash =
      std::any_of(report.tensors.begin(), report.tensors.end(), [](const TensorInfo& t) { return !t.sha256.empty(); });
  add("<p class=\"hint\">", model ? "Parameters" : "Elements",
      " by layer. With the keyboard: Tab to the map, arrows across, in and out; Enter opens a layer, or finds a tensor "
      "in the table; Esc goes back.</p>\n<div class=\"map\" role=\"group\" aria-label=\"Treemap\" hidden></div>\n"
      "<table class=\"list\"><thead><tr><th>tensor</th><th class=\"left\">dtype</th><th class=\"left\">shape</th>"
      "<th>size</th><th>in the file</th><th class=\"left\">histogram</th><th>min</th><th>max</th><th>mean</th>"
      "<th>std</th><th>zeros</th><th>NaN</th><th>Inf</th>",
      hash ? "<th class=\"left\">SHA-256</th></tr></thead>\n" : "</tr></thead>\n");
  for (const Group group : {Group::model, Group::optimizer, Group::other}) {
    const auto tensors = tensors_of(report, group);
    if (tensors.empty()) continue;
    add(!model || group == Group::model ? "<tbody class=\"mapped\">" : "<tbody>", "<tr class=\"group\"><th colspan=\"",
        hash ? "14" : "13", "\"><b>", to_string(group), "</b> ", sums_text(tensors), "</th></tr>\n");
    for (const TensorInfo* t : tensors) out += tensor_row(*t, hash);
    add("</tbody>\n");
  }
  return out + "</table>\n";
}

std::string metadata_row(const MetadataDiff& m) {
  const auto side = [](const std::optional<std::string>& text) { return text ? html_text(*text) : "<i>absent</i>"; };
  return "<tr>" + name_cell(m.path) + "<td class=\"text\">" + side(m.a) + "</td><td class=\"text\">" + side(m.b) +
         "</td></tr>\n";
}

}  // namespace

std::string render_html(const InspectReport& report) {
  std::string out = "<section><h2>" + html_text(report.path) + "</h2>\n";
  const auto add = [&out](const auto&... parts) { (out.append(parts), ...); };
  add("<p class=\"verdict\">", to_string(report.format), ", ", bytes_text(report.file_bytes), ": ", totals_text(report),
      "</p>\n");
  if (!report.identity.empty()) add("<p>identity <code>", report.identity, "</code></p>\n");
  for (const Problem& p : report.problems) {
    if (p.severity == Severity::note) continue;
    add("<p class=\"mark\">", to_string(p.severity), ": ", html_text(problem_text(p)), "</p>\n");
  }
  if (!report.tensors.empty()) out += tensor_table(report);
  HumanOptions whole;
  whole.verbose = true;
  if (const std::string text = metadata_text(report, whole); !text.empty())
    add("<pre tabindex=\"0\">", html_lines(text), "</pre>\n");
  return out + "</section>\n";
}

std::string render_html(const std::string& path, const Error& error) {
  return "<section><h2>" + html_text(path) + "</h2>\n<p class=\"mark\">" + html_text(error_text(error)) +
         "</p></section>\n";
}

std::string render_html(const DiffReport& report, const DiffView& view) {
  const auto shown = shown_tensors(report, view);
  const std::size_t changed = report.tensors.size() - report.count(TensorChange::same);
  const char* verdict = !report.complete() ? "not known" : report.differs ? "different" : "the same";
  std::string main = fmt::format("<p class=\"verdict\">{}: {} of {} tensors differ, {} values of the metadata</p>\n",
                                 verdict, changed, report.tensors.size(), report.num_metadata);
  if (!shown.empty()) {
    main +=
        "<table class=\"list\"><thead><tr><th>tensor</th><th>differ</th><th>max abs</th><th>max rel</th>"
        "<th>max ulp</th><th>rms</th><th>cosine</th><th>moved, 1e-8 to 1</th><th>|a-b|, 1e-12 to 1e6</th>"
        "<th></th></tr></thead><tbody>\n";
    for (const TensorDiff* t : shown) main += tensor_row(*t);
    main += "</tbody></table>\n";
  }
  if (!view.all && shown.size() < changed)
    main += fmt::format("<p>{} more tensors differ</p>\n", changed - shown.size());
  if (!report.metadata.empty()) {
    main +=
        "<table class=\"list\"><thead><tr><th>metadata</th><th class=\"left\">first</th>"
        "<th class=\"left\">second</th></tr></thead><tbody>\n";
    for (const MetadataDiff& m : report.metadata) main += metadata_row(m);
    main += "</tbody></table>\n";
  }
  if (report.metadata.size() < report.num_metadata)
    main += fmt::format("<p>{} more values differ</p>\n", report.num_metadata - report.metadata.size());
  return html_page(view.a + " and " + view.b, main);
}

}  // namespace netcl::ckpt::app
