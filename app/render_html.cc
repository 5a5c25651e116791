// Reports as pages for people who want to look. Bars are SVG: the page's policy forbids inline styles.
#include "render_html.h"

#include <fmt/format.h>

#include <algorithm>

#include "html.h"

namespace netcl::ckpt::app {
namespace {

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

std::string histogram_cell(const TensorDiff& t) {
  if (!t.figures || !t.figures->histogram) return "";
  const auto& decades = *t.figures->histogram;
  const double most = static_cast<double>(*std::max_element(decades.begin(), decades.end()));
  if (most == 0) return "";
  constexpr int kBarWidth = 7;
  constexpr int kHeight = 28;
  std::string out = fmt::format("<svg width=\"{}\" height=\"{}\">", kBarWidth * kDiffDecades, kHeight);
  for (std::size_t i = 0; i < kDiffDecades; ++i) {
    // A decade that has any is seen.
    const double height = decades[i] == 0 ? 0 : std::max(1.0, kHeight * static_cast<double>(decades[i]) / most);
    out += fmt::format("<rect{} x=\"{}\" y=\"{:.1f}\" width=\"{}\" height=\"{:.1f}\"><title>{}: {}</title></rect>",
                       decades[i] == 0 ? " class=\"rest\"" : "", i * kBarWidth, kHeight - std::max(height, 1.0),
                       kBarWidth - 1, std::max(height, 1.0), decade_text(i), decades[i]);
  }
  return out + "</svg>";
}

std::string tensor_row(const TensorDiff& t) {
  std::string out = "<tr><td>" + (t.name.empty() ? "(array)" : html_text(t.name)) + "</td>";
  if (!t.figures) return out + "<td class=\"text\" colspan=\"9\">" + html_text(change_text(t)) + "</td></tr>\n";
  const DiffFigures& f = *t.figures;
  const auto peak = [](const std::optional<DiffPeak>& p) {
    return p ? fmt::format("{:.4g}", static_cast<double>(p->value)) : "0";
  };
  const auto cell = [&out](const std::string& text) { out += "<td>" + text + "</td>"; };
  cell(html_text(change_text(t)));
  cell(peak(f.max_abs));
  cell(peak(f.max_rel));
  cell(f.max_ulp ? fmt::format("{}", *f.max_ulp) : "");
  cell(fmt::format("{:.4g}", f.rms));
  cell(f.cosine ? fmt::format("{:.6f}", *f.cosine) : "");
  cell(moved_cell(t));
  cell(histogram_cell(t));
  std::string marks;
  for (const auto& [count, what] : {std::pair{f.nan_appeared, "NaN appeared"},
                                    {f.nan_vanished, "NaN gone"},
                                    {f.inf_appeared, "Inf appeared"},
                                    {f.inf_vanished, "Inf gone"}}) {
    if (count > 0) marks += fmt::format("{}{} {}", marks.empty() ? "" : ", ", count, what);
  }
  return out + "<td class=\"mark\">" + marks + "</td></tr>\n";
}

std::string metadata_row(const MetadataDiff& m) {
  const auto side = [](const std::optional<std::string>& text) { return text ? html_text(*text) : "<i>absent</i>"; };
  return "<tr><td>" + html_text(m.path) + "</td><td class=\"text\">" + side(m.a) + "</td><td class=\"text\">" +
         side(m.b) + "</td></tr>\n";
}

}  // namespace

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
    main += "<table class=\"list\"><thead><tr><th>metadata</th><th>first</th><th>second</th></tr></thead><tbody>\n";
    for (const MetadataDiff& m : report.metadata) main += metadata_row(m);
    main += "</tbody></table>\n";
  }
  if (report.metadata.size() < report.num_metadata)
    main += fmt::format("<p>{} more values differ</p>\n", report.num_metadata - report.metadata.size());
  return html_page(view.a + " and " + view.b, main);
}

}  // namespace netcl::ckpt::app
