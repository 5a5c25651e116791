// Reports for people. Whatever a file holds, a line stays a line: names are escaped, long ones are
// kept whole (they are what one came for), and metadata is cut to a screenful.
#include "render_human.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "log.h"
#include "table.h"

namespace netcl::ckpt::app {
namespace {

constexpr std::size_t kMaxColumn = 60;
constexpr std::size_t kMaxMetadataLines = 40;
constexpr std::size_t kMaxValueColumns = 100;
constexpr std::string_view kNetclMeta = "__netcl_meta__";

struct Style {
  bool color = false;
  std::string operator()(const char* code, std::string_view text) const {
    return color ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
  }
  std::string bold(std::string_view text) const { return (*this)("1", text); }
  std::string dim(std::string_view text) const { return (*this)("2", text); }
  std::string red(std::string_view text) const { return (*this)("31", text); }
  std::string green(std::string_view text) const { return (*this)("32", text); }
};

std::string ratio_text(std::uint64_t stored, std::uint64_t size) {
  return size == 0 ? "" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(stored) / static_cast<double>(size));
}

std::string shown_name(const TensorInfo& t) { return t.name.empty() ? "(array)" : escape(t.name); }

/// "encoder.layer.0" of "encoder.layer.0.output.dense.weight" at depth 3.
std::string_view upper_levels(std::string_view name, std::size_t depth) {
  std::size_t at = 0;
  for (; depth > 0 && at != name.npos; --depth) at = name.find('.', at == 0 ? 0 : at + 1);
  return name.substr(0, at);
}

/// Tensors that are shown as one line.
struct Bundle {
  std::string name;
  const TensorInfo* first = nullptr;
  std::uint64_t num_tensors = 0;
  std::uint64_t elements = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t stored_bytes = 0;
  bool same_dtype = true;
};

std::vector<Bundle> bundle(const std::vector<const TensorInfo*>& tensors, std::size_t depth) {
  std::vector<Bundle> bundles;
  std::map<std::string, std::size_t, std::less<>> index;
  for (const TensorInfo* t : tensors) {
    const std::string_view name = depth == 0 ? std::string_view(t->name) : upper_levels(t->name, depth);
    std::size_t at = bundles.size();
    if (depth > 0) at = index.emplace(name, at).first->second;
    if (at == bundles.size()) bundles.push_back({std::string(name), t, 0, 0, 0, 0, true});
    Bundle& b = bundles[at];
    b.num_tensors += 1;
    b.elements += num_elements(*t);
    b.size_bytes += t->size_bytes;
    b.stored_bytes += t->stored_bytes;
    b.same_dtype &= t->dtype == b.first->dtype;
  }
  return bundles;
}

/// "▁▃█▃▁": each bin against the fullest.
std::string sparkline(const std::array<std::uint64_t, kHistogramBins>& bins, bool unicode) {
  constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::array<const char*, 8> kAscii = {"_", ".", ":", "-", "=", "+", "*", "#"};
  const std::uint64_t fullest = *std::max_element(bins.begin(), bins.end());
  std::string out;
  for (std::uint64_t n : bins) {
    const std::uint64_t level = fullest == 0 ? 0 : (7 * n + fullest - 1) / fullest;  // what is not empty shows
    out += (unicode ? kBlocks : kAscii)[level];
  }
  return out;
}

const std::vector<std::string> kStatsHeader = {"min", "max", "mean", "std", "zeros", "NaN", "Inf", "histogram"};

void add_stats_cells(const TensorStats* stats, bool unicode, std::vector<std::string>& cells) {
  if (stats == nullptr) {
    cells.resize(cells.size() + kStatsHeader.size());
    return;
  }
  for (std::string& text : stats_texts(*stats)) cells.push_back(std::move(text));
  cells.push_back(sparkline(stats->histogram, unicode));
}

void add_group(Group group, const std::vector<const TensorInfo*>& tensors, const HumanOptions& options,
               const Style& style, Table& table) {
  table.add_heading(style.bold(to_string(group)) + style.dim("  " + sums_text(tensors)));
  for (const Bundle& b : bundle(tensors, options.depth)) {
    const TensorInfo& t = *b.first;
    const bool single = b.num_tensors == 1;
    const bool packed = t.compression != Compression::none;
    std::vector<std::string> cells = {
        single ? shown_name(t) : escape(b.name) + ".*",
        b.same_dtype ? shortened(escape(t.dtype.name()), kMaxColumn) : "mixed",
        single ? shape_text(t.shape) + (t.fortran_order ? " F" : "") : plural(b.num_tensors, "tensor"),
        bytes_text(b.size_bytes),
        packed ? bytes_text(b.stored_bytes) : "",
        packed ? ratio_text(b.stored_bytes, b.size_bytes) : "",
    };
    if (options.stats) add_stats_cells(single ? t.stats.get() : nullptr, options.terminal.unicode, cells);
    cells.push_back(options.hash && single ? t.sha256 : "");
    table.add(std::move(cells));
  }
}

void write_tensors(const InspectReport& report, const HumanOptions& options, const Style& style, Output& out) {
  std::vector<bool> right = {false, false, false, true, true, true};
  if (options.stats) {
    right.insert(right.end(), kStatsHeader.size() - 1, true);
    right.push_back(false);  // the histogram
  }
  right.push_back(false);
  Table table(right);
  if (options.stats) {
    std::vector<std::string> header = {"", "", "", "", "", ""};
    header.insert(header.end(), kStatsHeader.begin(), kStatsHeader.end());
    table.add(std::move(header));
  }
  for (const Group group : {Group::model, Group::optimizer, Group::other}) {
    const auto tensors = tensors_of(report, group);
    if (!tensors.empty()) add_group(group, tensors, options, style, table);
  }
  table.write(out);
}

/// A value on one line, as Python would write it; `budget` columns at most.
std::string inline_value(const Tree& tree, ValueId id, std::size_t budget) {
  const auto list = [&](const char* open, const char* close, auto items, auto write) {
    std::string text = open;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text += ", ";
      if (text.size() > budget) {
        text += fmt::format("… {} in all", items.size());
        break;
      }
      text += write(items[i]);
    }
    return text + close;
  };
  const auto item = [&](ValueId v) { return inline_value(tree, v, budget / 2); };
  switch (tree.kind(id)) {
    case ValueKind::none: return "None";
    case ValueKind::boolean: return tree.boolean(id) ? "True" : "False";
    case ValueKind::integer: return std::to_string(tree.integer(id));
    case ValueKind::real: return fmt::format("{}", tree.real(id));
    case ValueKind::complex: return fmt::format("({}{:+}j)", tree.real(id), tree.imaginary(id));
    case ValueKind::string: return fmt::format("'{}'", shortened(escape(tree.text(id).substr(0, 4 * budget)), budget));
    case ValueKind::big_integer:
    case ValueKind::name: return shortened(escape(tree.text(id).substr(0, 4 * budget)), budget);
    case ValueKind::bytes: {
      const std::string_view bytes = tree.text(id);
      const bool pickle =
          bytes.size() > 3 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 && bytes.back() == '.';
      return fmt::format("<{}{}>", plural(bytes.size(), "byte"), pickle ? ", a pickle" : "");
    }
    case ValueKind::opaque: return fmt::format("<{}, not run>", escape(tree.text(id)));
    case ValueKind::tuple: return list("(", tree.items(id).size() == 1 ? ",)" : ")", tree.items(id), item);
    case ValueKind::set:
    case ValueKind::frozenset: return list("{", "}", tree.items(id), item);
    case ValueKind::dict:
      return list("{", "}", tree.entries(id), [&](const Tree::Entry& e) {
        return shortened(escape(tree.text(e.key)), budget) + ": " + item(e.value);
      });
    default: return list("[", "]", tree.items(id), item);
  }
}

/// Nested dicts and the attributes of objects as indented lines, everything else inline.
class MetadataLines {
 public:
  MetadataLines(const Tree& tree, std::size_t max_lines, std::string& out) : tree_(tree), left_(max_lines), out_(out) {}

  void write(ValueId dict, std::size_t indent, std::string_view leave_out = {}) {
    for (const Tree::Entry& e : tree_.entries(dict)) {
      if (!leave_out.empty() && tree_.text(e.key) == leave_out) continue;
      if (left_ == 0) {
        ++cut_;
        continue;
      }
      --left_;
      const std::string key = shortened(escape(tree_.text(e.key)), kMaxColumn);
      const bool object = tree_.kind(e.value) == ValueKind::opaque && !tree_.items(e.value).empty();
      const bool nested = tree_.kind(e.value) == ValueKind::dict && !tree_.entries(e.value).empty();
      out_ += std::string(indent, ' ') + key + ":";
      if (!nested) out_ += " " + inline_value(tree_, e.value, kMaxValueColumns);
      out_ += "\n";
      if (nested) write(e.value, indent + 2);
      if (object) write(tree_.items(e.value)[0], indent + 2);
    }
  }

  void finish() {
    if (cut_ > 0) out_ += "  … " + grouped(cut_) + " more (--verbose shows all)\n";
  }

 private:
  const Tree& tree_;
  std::size_t left_;
  std::size_t cut_ = 0;
  std::string& out_;
};

const Tree::Entry* find_of_kind(const Tree& tree, ValueId dict, std::string_view key, ValueKind kind) {
  const Tree::Entry* e = tree.find(dict, key);
  return e != nullptr && tree.kind(e->value) == kind ? e : nullptr;
}

/// `.netcl`: the layers as netcl's own classes would be called. False where it is not of that form.
bool write_architecture(const Tree& tree, ValueId root, const Style& style, std::string& out) {
  const auto* meta = find_of_kind(tree, root, kNetclMeta, ValueKind::dict);
  if (meta == nullptr) return false;
  const auto* type = find_of_kind(tree, meta->value, "type", ValueKind::string);
  const auto* layers = find_of_kind(tree, meta->value, "config", ValueKind::list);
  if (layers == nullptr) layers = find_of_kind(tree, meta->value, "layers", ValueKind::list);
  if (layers == nullptr) return false;
  out += style.bold("architecture") + "  " + (type ? escape(tree.text(type->value)) : "") +
         style.dim(fmt::format("  {}", plural(tree.items(layers->value).size(), "layer"))) + "\n";
  std::size_t number = 0;
  for (ValueId layer : tree.items(layers->value)) {
    const auto* name = find_of_kind(tree, layer, "type", ValueKind::string);
    const auto* args = find_of_kind(tree, layer, "args", ValueKind::dict);
    std::string call = name ? escape(tree.text(name->value)) : inline_value(tree, layer, kMaxValueColumns);
    if (name != nullptr) {
      call += "(";
      if (args != nullptr) {
        const char* separator = "";
        for (const Tree::Entry& e : tree.entries(args->value)) {
          call += separator + escape(tree.text(e.key)) + "=" + inline_value(tree, e.value, kMaxValueColumns / 2);
          separator = ", ";
        }
      }
      call += ")";
    }
    out += fmt::format("  {:>3}  {}\n", number++, shortened(call, 2 * kMaxValueColumns));
  }
  return true;
}

}  // namespace

std::uint64_t num_elements(const TensorInfo& t) {
  return t.dtype.item_bytes == 0 ? 0 : t.size_bytes / t.dtype.item_bytes;
}

std::vector<std::string> stats_texts(const TensorStats& stats) {
  std::vector<std::string> texts;
  for (const double v : {static_cast<double>(stats.min), static_cast<double>(stats.max), stats.mean, stats.std}) {
    texts.push_back(fmt::format("{:.4g}", v));
  }
  for (const std::uint64_t n : {stats.zeros, stats.nan, stats.inf}) texts.push_back(grouped(n));
  return texts;
}

std::vector<const TensorInfo*> tensors_of(const InspectReport& report, Group group) {
  std::vector<const TensorInfo*> tensors;
  for (const TensorInfo& t : report.tensors) {
    if (t.group == group) tensors.push_back(&t);
  }
  return tensors;
}

std::string sums_text(const std::vector<const TensorInfo*>& tensors) {
  std::uint64_t elements = 0, size_bytes = 0;
  for (const TensorInfo* t : tensors) {
    elements += num_elements(*t);
    size_bytes += t->size_bytes;
  }
  return fmt::format("{}, {}, {}", plural(tensors.size(), "tensor"), plural(elements, "element"),
                     bytes_text(size_bytes));
}

std::string totals_text(const InspectReport& report) {
  const InspectTotals& t = report.totals;
  std::string text =
      plural(t.num_tensors, "tensor") + ", " + plural(t.num_parameters, "parameter") + ", " + bytes_text(t.size_bytes);
  const bool packed = std::any_of(report.tensors.begin(), report.tensors.end(),
                                  [](const TensorInfo& i) { return i.compression != Compression::none; });
  if (packed) text += fmt::format(" in {} ({})", bytes_text(t.stored_bytes), ratio_text(t.stored_bytes, t.size_bytes));
  return text;
}

std::string metadata_text(const InspectReport& report, const HumanOptions& options) {
  const Style style{options.terminal.color};
  const Tree& tree = report.metadata;
  std::string out;
  const bool drawn = write_architecture(tree, report.metadata_root, style, out);
  if (tree.entries(report.metadata_root).size() > (drawn ? 1U : 0U)) {
    out += style.bold("metadata") + "\n";
    MetadataLines lines(tree, options.verbose ? SIZE_MAX : kMaxMetadataLines, out);
    lines.write(report.metadata_root, 2, drawn ? kNetclMeta : std::string_view());
    lines.finish();
  }
  return out;
}

void render_human(const InspectReport& report, const HumanOptions& options, Output& out) {
  const Style style{options.terminal.color};
  out << style.bold(escape(report.path)) << "  " << to_string(report.format) << ", " << bytes_text(report.file_bytes)
      << "\n";
  if (!report.tensors.empty()) write_tensors(report, options, style, out);
  out << style.bold("total") << "  " << totals_text(report) << "\n";
  if (!report.identity.empty()) out << style.bold("identity") << "  " << report.identity << "\n";
  out << metadata_text(report, options);
}

void render_text(const InspectReport& report, Output& out) {
  constexpr std::size_t kHashDigits = 16;
  out << "format: " << to_string(report.format) << "\n";
  for (const TensorInfo& t : report.tensors) {
    out << fmt::format("tensor {}: {} {} {}\n", shown_name(t), escape(t.dtype.name()), shape_text(t.shape),
                       t.sha256.empty() ? "no hash" : t.sha256.substr(0, kHashDigits));
  }
  const Tree& tree = report.metadata;
  if (!tree.entries(report.metadata_root).empty()) {
    std::string lines;
    MetadataLines(tree, SIZE_MAX, lines).write(report.metadata_root, 2);
    out << "metadata:\n" << lines;
  }
  for (const Problem& p : report.problems) {
    if (p.severity > Severity::note) out << to_string(p.severity) << ": " << escape(problem_text(p)) << "\n";
  }
}

void render_human(const VerifyReport& report, const HumanOptions& options, Output& out) {
  const Style style{options.terminal.color};
  const std::string path = escape(report.path);
  for (const Problem& p : report.problems) {
    if (p.severity == Severity::note && !options.verbose) continue;
    const std::string severity =
        p.severity >= Severity::error ? style.red(to_string(p.severity)) : to_string(p.severity);
    out << path << ": " << severity << ": " << escape(problem_text(p)) << " [" << to_string(p.code) << "]\n";
  }
  if (report.repairable) out << path << ": 'netcl-ckpt repair' takes out what is whole\n";
  if (!report.sound()) return;
  const std::string checked =
      report.checked_bytes > 0 ? bytes_text(report.checked_bytes) + " checked" : "no checksums in this format";
  out << path << ": " << style.green("sound") << " (" << plural(report.num_tensors, "tensor") << ", " << checked;
  if (!report.device.empty())
    out << ", " << bytes_text(report.device_bytes) << " unchanged by " << escape(report.device);
  out << ")\n";
}

namespace {

std::vector<std::uint64_t> coordinates(std::uint64_t index, const std::vector<std::uint64_t>& shape) {
  std::vector<std::uint64_t> at(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; index /= shape[i]) at[i] = index % shape[i];
  return at;
}

std::string moved_bar(const TensorDiff& t, bool unicode) {
  if (t.change != TensorChange::values || !t.figures) return "";
  constexpr int kCells = 8;  // a decade each
  const double filled = kCells * moved_share(t);
  std::string bar;
  for (int i = 0; i < kCells; ++i) bar += i < filled ? (unicode ? "█" : "#") : (unicode ? "░" : ".");
  return bar;
}

std::string side_text(const DiffSide& side) { return escape(side.dtype.name()) + " " + shape_text(side.shape); }

std::string number_text(std::optional<DiffPeak> peak) {
  return peak ? fmt::format("{:.4g}", static_cast<double>(peak->value)) : "0";
}

const char* mark_of(TensorChange change) {
  switch (change) {
    case TensorChange::same: return " ";
    case TensorChange::only_in_a: return "-";
    case TensorChange::only_in_b: return "+";
    case TensorChange::not_comparable:
    case TensorChange::unreadable: return "?";
    default: return "~";
  }
}

void write_elements(const TensorDiff& t, Output& out) {
  for (const DiffElement& e : t.elements) {
    out << fmt::format("      [{}]  {}  {}\n", fmt::join(coordinates(e.index, t.b->shape), ", "), escape(e.a),
                       escape(e.b));
  }
  if (!t.elements.empty() && t.differing > t.elements.size())
    out << fmt::format("      … {} more\n", grouped(t.differing - t.elements.size()));
}

}  // namespace

double moved_share(const TensorDiff& t) {
  constexpr double kDecades = 8;
  const double moved = !t.figures ? 0 : t.figures->moved.value_or(t.figures->max_abs ? 1.0 : 0.0);
  return moved > 0 ? std::clamp(std::log10(moved) + kDecades, 0.0, kDecades) / kDecades : 0;
}

std::string change_text(const TensorDiff& t) {
  switch (t.change) {
    case TensorChange::same: return "the same";
    case TensorChange::only_in_a: return "only in the first";
    case TensorChange::only_in_b: return "only in the second";
    case TensorChange::dtype:
    case TensorChange::shape: return side_text(*t.a) + " became " + side_text(*t.b);
    case TensorChange::not_comparable: return "an object array, not compared";
    case TensorChange::unreadable: return "cannot be read";
    case TensorChange::values: break;
  }
  return fmt::format("{} of {}", grouped(t.differing), grouped(t.num_elements));
}

std::vector<const TensorDiff*> shown_tensors(const DiffReport& report, const DiffView& view) {
  std::vector<const TensorDiff*> shown;
  for (const TensorDiff& t : report.tensors) {
    if (view.all || t.change != TensorChange::same) shown.push_back(&t);
  }
  if (view.by_change) {
    // What has no figures (a name, a shape) is a larger change than any number.
    const auto rank = [](const TensorDiff* t) {
      if (t->change == TensorChange::same) return -1.0;
      if (!t->figures) return HUGE_VAL;
      return t->figures->moved.value_or(t->figures->max_abs ? HUGE_VAL : 0.0);
    };
    std::stable_sort(shown.begin(), shown.end(),
                     [&](const TensorDiff* x, const TensorDiff* y) { return rank(x) > rank(y); });
  }
  if (view.limit && shown.size() > *view.limit) shown.resize(*view.limit);
  return shown;
}

void render_human(const DiffReport& report, const DiffView& view, Output& out) {
  const Style style{view.terminal.color};
  const auto shown = shown_tensors(report, view);
  const bool figures =
      std::any_of(shown.begin(), shown.end(), [](const TensorDiff* t) { return t->figures != nullptr; });
  Table table({false, false, true, true, true, true, true, true, false});
  if (figures) table.add({"", "", "differ", "max abs", "max rel", "max ulp", "rms", "cosine", "moved"});
  for (const TensorDiff* t : shown) {
    const std::string name = t->name.empty() ? "(array)" : escape(t->name);
    if (t->change != TensorChange::values && t->change != TensorChange::same) {
      table.add_heading(fmt::format("  {}  {}  {}", mark_of(t->change), name, change_text(*t)));
      continue;
    }
    std::vector<std::string> cells = {mark_of(t->change), name, change_text(*t)};
    if (t->figures) {
      const DiffFigures& f = *t->figures;
      cells.insert(cells.end(), {number_text(f.max_abs), number_text(f.max_rel), f.max_ulp ? grouped(*f.max_ulp) : "",
                                 fmt::format("{:.4g}", f.rms), f.cosine ? fmt::format("{:.6f}", *f.cosine) : ""});
      std::string bar = moved_bar(*t, view.terminal.unicode);
      for (const auto& [count, what] : {std::pair{f.nan_appeared, "NaN appeared"},
                                        {f.nan_vanished, "NaN gone"},
                                        {f.inf_appeared, "Inf appeared"},
                                        {f.inf_vanished, "Inf gone"}}) {
        if (count > 0) bar += fmt::format("  {} {}", grouped(count), what);
      }
      cells.push_back(std::move(bar));
    }
    cells.resize(9);
    table.add(std::move(cells));
  }
  table.write(out);
  for (const TensorDiff* t : shown) {
    if (t->elements.empty()) continue;
    out << "  " << style.bold(t->name.empty() ? "(array)" : escape(t->name)) << "\n";
    write_elements(*t, out);
  }
  const std::size_t changed = report.tensors.size() - report.count(TensorChange::same);
  if (!view.all && shown.size() < changed)
    out << fmt::format("  … {}\n", plural(changed - shown.size(), "tensor") + " more");
  constexpr std::size_t kMaxMetadataShown = 40;
  for (std::size_t i = 0; i < std::min(report.metadata.size(), kMaxMetadataShown); ++i) {
    const MetadataDiff& m = report.metadata[i];
    const auto text = [](const std::string& value) { return shortened(escape(value), kMaxValueColumns / 2); };
    out << (!m.a ? "  + " : !m.b ? "  - " : "  ~ ") << escape(m.path) << ": ";
    out << (!m.a ? text(*m.b) : !m.b ? text(*m.a) : text(*m.a) + " became " + text(*m.b)) << "\n";
  }
  if (report.num_metadata > kMaxMetadataShown)
    out << fmt::format("  … {} more\n", plural(report.num_metadata - kMaxMetadataShown, "value"));
  if (!report.complete()) {
    const std::uint64_t open = report.count(TensorChange::not_comparable) + report.count(TensorChange::unreadable);
    out << style.red("not known") << fmt::format(": {} could not be compared\n", plural(open, "tensor"));
  } else if (!report.differs) {
    out << style.green("the same") << fmt::format(": {}\n", plural(report.tensors.size(), "tensor"));
  }
  if (!report.differs) return;
  out << style.red("different") << fmt::format(": {} of {}", grouped(changed), plural(report.tensors.size(), "tensor"));
  if (report.num_metadata > 0) out << ", " << plural(report.num_metadata, "value") << " of the metadata";
  out << "\n";
}

}  // namespace netcl::ckpt::app
