// Reports as JSON: RFC 8259 whatever the file held. NaN and Inf are strings, names that are not UTF-8
// are escaped, and nesting is bounded by the library, because the JSON library recurses.
#include "render_json.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "log.h"
#include "render_ci.h"

namespace netcl::ckpt::app {
namespace {

using Json = nlohmann::ordered_json;

// ASCII only would be safe for terminals too, but makes real names unreadable; C1 and direction
// marks are escaped by hand instead.
std::string dump(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  // Outside of strings JSON is ASCII, and inside "\u009b" means what the character does.
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x7f) {
      out += text[i++];
      continue;
    }
    const std::size_t n = c == 0x7f ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    const std::string_view character = std::string_view(text).substr(i, n);
    if (escape(character) == character) {
      out += character;
    } else {
      const std::string quoted = Json(character).dump(-1, ' ', true, Json::error_handler_t::replace);
      out += c == 0x7f ? "\\u007f" : quoted.substr(1, quoted.size() - 2);
    }
    i += n;
  }
  return out;
}

Json number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

constexpr std::size_t kMaxShownBytes = 64;

Json bytes_value(std::string_view bytes) {
  if (bytes.size() > kMaxShownBytes) return {{"bytes", bytes.size()}};
  std::string hex;
  for (char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return {{"bytes", hex}};
}

/// A value without parts.
Json leaf_json(const Tree& tree, ValueId id) {
  switch (tree.kind(id)) {
    case ValueKind::boolean: return tree.boolean(id);
    case ValueKind::integer: return tree.integer(id);
    case ValueKind::big_integer:
    case ValueKind::name:
    case ValueKind::string: return escape_invalid(tree.text(id));
    case ValueKind::real: return number(tree.real(id));
    case ValueKind::complex: return {{"real", number(tree.real(id))}, {"imag", number(tree.imaginary(id))}};
    case ValueKind::bytes: return bytes_value(tree.text(id));
    default: return nullptr;
  }
}

/// A value of a report's metadata, which is a tree at most kMaxMetadataDepth deep. Not as one Json: to
/// add a key to an ordered object it looks at all that are there.
void write_value(Output& out, const Tree& tree, ValueId id) {
  const char* separator = "";
  switch (tree.kind(id)) {
    case ValueKind::dict:
      out << "{";
      for (const Tree::Entry& e : tree.entries(id)) {
        out << separator << dump(escape_invalid(tree.text(e.key))) << ":";
        write_value(out, tree, e.value);
        separator = ",";
      }
      out << "}";
      return;
    case ValueKind::list:
    case ValueKind::tuple:
    case ValueKind::set:
    case ValueKind::frozenset:
      out << "[";
      for (ValueId item : tree.items(id)) {
        out << separator;
        write_value(out, tree, item);
        separator = ",";
      }
      out << "]";
      return;
    case ValueKind::opaque:
      out << "{\"opaque\":" << dump(escape_invalid(tree.text(id)));
      for (ValueId attributes : tree.items(id)) {
        out << ",\"attributes\":";
        write_value(out, tree, attributes);
      }
      out << "}";
      return;
    default: out << dump(leaf_json(tree, id));
  }
}

/// A minimum or maximum: digit for digit where it is an integer.
Json extreme(long double value) {
  if (value == std::trunc(value)) {
    if (value >= 0 && value <= static_cast<long double>(UINT64_MAX)) return static_cast<std::uint64_t>(value);
    if (value < 0 && value >= static_cast<long double>(INT64_MIN)) return static_cast<std::int64_t>(value);
  }
  return number(static_cast<double>(value));
}

bool is_integral(ScalarType type) { return type <= ScalarType::uint64; }

Json stats_json(const TensorStats& s, const DType& dtype) {
  const auto end = [&](long double v) { return is_integral(dtype.type) ? extreme(v) : number(static_cast<double>(v)); };
  Json out;
  out["min"] = end(s.min);
  out["max"] = end(s.max);
  out["mean"] = number(s.mean);
  out["std"] = number(s.std);
  out["zeros"] = s.zeros;
  out["nan"] = s.nan;
  out["inf"] = s.inf;
  out["histogram"] = s.histogram;
  return out;
}

Json tensor_json(const TensorInfo& t) {
  Json out;
  out["name"] = escape_invalid(t.name);
  out["dtype"] = escape_invalid(t.dtype.name());
  out["descr"] = escape_invalid(t.dtype.descr());
  out["shape"] = t.shape;
  out["order"] = t.fortran_order ? "F" : "C";
  out["group"] = to_string(t.group);
  out["nbytes"] = t.size_bytes;
  out["stored_bytes"] = t.stored_bytes;
  out["compression"] = to_string(t.compression);
  out["crc32"] = t.crc32 ? Json(*t.crc32) : Json(nullptr);
  if (!t.sha256.empty()) out["sha256"] = t.sha256;
  if (t.stats) out["stats"] = stats_json(*t.stats, t.dtype);
  return out;
}

Json problem_json(const Problem& p) {
  Json out;
  out["code"] = to_string(p.code);
  out["severity"] = to_string(p.severity);
  out["where"] = escape_invalid(p.where);
  out["offset"] = p.offset_bytes ? Json(*p.offset_bytes) : Json(nullptr);
  out["message"] = escape_invalid(p.message);
  if (!p.global.empty()) out["global"] = escape_invalid(p.global);
  return out;
}

/// `"key": [` a line for each item `]`
template <class Items, class Convert>
void write_array(Output& out, const char* key, const Items& items, Convert convert) {
  out << ",\n \"" << key << "\": [";
  const char* separator = "\n  ";
  for (const auto& item : items) {
    out << separator << dump(convert(item));
    separator = ",\n  ";
  }
  out << "]";
}

void write_field(Output& out, const char* key, const Json& value) { out << ",\n \"" << key << "\": " << dump(value); }

}  // namespace

void render_json(const InspectReport& report, Output& out) {
  out << "{\"schema\": \"netcl-ckpt.inspect/1\"";
  write_field(out, "path", escape_invalid(report.path));
  write_field(out, "format", to_string(report.format));
  write_field(out, "file_bytes", report.file_bytes);
  write_array(out, "tensors", report.tensors, tensor_json);
  out << ",\n \"metadata\": ";
  write_value(out, report.metadata, report.metadata_root);
  const InspectTotals& t = report.totals;
  write_field(out, "totals",
              {{"tensors", t.num_tensors},
               {"parameters", t.num_parameters},
               {"nbytes", t.size_bytes},
               {"stored_bytes", t.stored_bytes}});
  if (!report.identity.empty()) write_field(out, "identity", report.identity);
  write_array(out, "warnings", report.problems, problem_json);
  out << "}";
}

void render_json(const VerifyReport& report, Output& out) {
  out << "{\"path\": " << dump(escape_invalid(report.path));
  write_field(out, "format", report.format ? Json(to_string(*report.format)) : Json(nullptr));
  write_field(out, "sound", report.sound());
  if (!report.device.empty())
    write_field(out, "device", {{"name", escape_invalid(report.device)}, {"unchanged_bytes", report.device_bytes}});
  write_array(out, "problems", report.problems, problem_json);
  out << "}";
}

void render_json(const std::string& path, const char* schema, const Error& error, Output& out) {
  Json e;
  e["code"] = to_string(error.code);
  e["message"] = escape_invalid(error_message(error));
  e["where"] = escape_invalid(error.member);
  e["offset"] = error.offset_bytes ? Json(*error.offset_bytes) : Json(nullptr);
  out << "{";
  if (schema != nullptr) out << "\"schema\": " << dump(schema) << ",\n ";
  out << "\"path\": " << dump(escape_invalid(path));
  write_field(out, "error", e);
  out << "}";
}

namespace {

/// A path as a URI reference: RFC 3986's unreserved characters and "/" stay.
std::string uri(std::string_view path) {
  std::string out;
  for (char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += '%';
      for (unsigned digit : {static_cast<unsigned char>(c) >> 4, c & 15}) out += "0123456789ABCDEF"[digit];
    }
  }
  return out;
}

Json sarif_result(const std::string& path, const std::string& code, const char* level, const std::string& text) {
  Json location;
  location["physicalLocation"]["artifactLocation"]["uri"] = uri(path);
  return {{"ruleId", code}, {"level", level}, {"message", {{"text", text}}}, {"locations", {location}}};
}

}  // namespace

void render_sarif(const std::vector<VerifiedFile>& files, Output& out) {
  Json results = Json::array();
  std::set<std::string> codes;
  for (const VerifiedFile& f : files) {
    if (!f.report) {
      const Error& e = f.report.error();
      codes.insert(to_string(e.code));
      results.push_back(sarif_result(f.path, to_string(e.code), "error", escape_invalid(error_message(e))));
      continue;
    }
    for (const Problem& p : f.report->problems) {
      const char* level = p.severity == Severity::note ? "note" : p.severity == Severity::warning ? "warning" : "error";
      codes.insert(to_string(p.code));
      Json result = sarif_result(f.path, to_string(p.code), level, escape_invalid(problem_text(p)));
      if (!p.where.empty())
        result["locations"][0]["logicalLocations"] = Json::array({{{"name", escape_invalid(p.where)}}});
      results.push_back(std::move(result));
    }
  }
  Json driver = {{"name", "netcl-ckpt"}, {"version", NETCL_CKPT_VERSION}, {"rules", Json::array()}};
  for (const std::string& code : codes) driver["rules"].push_back({{"id", code}});
  Json run = {{"tool", {{"driver", std::move(driver)}}}, {"results", std::move(results)}};
  out << dump({{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
               {"version", "2.1.0"},
               {"runs", Json::array({std::move(run)})}})
      << "\n";
}

namespace {

Json to_json(const ConvertReport& report, bool dry_run) {
  Json names = Json::array();
  for (const std::string& name : report.tensors) names.push_back(escape_invalid(name));
  Json j = {{"path", escape_invalid(report.path)}, {"format", to_string(report.format)},  {"dry_run", dry_run},
            {"file_bytes", report.file_bytes},     {"source_bytes", report.source_bytes}, {"tensors", std::move(names)},
            {"nbytes", report.tensor_bytes},       {"overflows", report.overflows}};
  if (report.sidecar) j["sidecar"] = escape_invalid(*report.sidecar);
  return j;
}

}  // namespace

void render_json(const ConvertReport& report, bool dry_run, Output& out) {
  Json j = {{"schema", "netcl-ckpt.convert/1"}};
  j.update(to_json(report, dry_run));
  out << dump(j) << "\n";
}

void render_json(const StripReport& report, bool dry_run, Output& out) {
  Json j = {{"schema", "netcl-ckpt.strip/1"}};
  j.update(to_json(report.written, dry_run));
  Json dropped = Json::array();
  for (const std::string& name : report.dropped) dropped.push_back(escape_invalid(name));
  j["found"] = report.found;
  j["dropped"] = std::move(dropped);
  j["dropped_nbytes"] = report.dropped_bytes;
  out << dump(j) << "\n";
}

void render_json(const RepairReport& report, Output& out) {
  out << "{\"schema\": \"netcl-ckpt.repair/1\",\n \"path\": " << dump(escape_invalid(report.path));
  write_field(out, "complete", report.complete());
  write_field(out, "end_lost", report.end_lost);
  write_field(out, "source_bytes", report.source_bytes);
  write_field(out, "file_bytes", report.file_bytes);
  const auto text = [](const std::string& name) { return Json(escape_invalid(name)); };
  write_array(out, "kept", report.kept, text);
  write_array(out, "lost", report.lost, [](const RepairReport::Loss& l) {
    Json j;
    j["member"] = escape_invalid(l.member);
    j["offset"] = l.offset_bytes;
    j["message"] = escape_invalid(l.message);
    return j;
  });
  write_array(out, "lost_tensors", report.lost_tensors, text);
  write_array(out, "doubtful", report.doubtful, text);
  write_field(out, "num_tensors", report.num_tensors);
  write_array(out, "problems", report.problems, problem_json);
  out << "}\n";
}

namespace {

/// "2026-11-24T09:30:00Z"
std::string utc_text(std::int64_t modified_ns) {
  const time_t seconds = static_cast<time_t>(modified_ns / 1'000'000'000);
  struct tm parts;
  char text[32];
  if (::gmtime_r(&seconds, &parts) == nullptr) return "";
  return {text, ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

Json checkpoint_json(const CheckpointInfo& c) {
  auto optional = [](const std::optional<std::uint64_t>& n) { return n ? Json(*n) : Json(nullptr); };
  Json out;
  out["path"] = escape_invalid(c.path.string());
  out["step"] = optional(c.step);
  out["epoch"] = optional(c.epoch);
  out["modified"] = utc_text(c.modified_ns);
  out["file_bytes"] = c.size_bytes;
  Json metrics = Json::object();
  for (const auto& [name, value] : c.metrics) metrics[escape_invalid(name)] = number(value);
  out["metrics"] = std::move(metrics);
  out["validity"] = to_string(c.validity);
  if (c.defect) {
    out["problem"] = {{"code", to_string(c.defect->code)},
                      {"where", escape_invalid(c.defect->member)},
                      {"message", escape_invalid(c.defect->message)}};
  }
  return out;
}

void begin_directory(Output& out, const char* schema, const std::string& directory) {
  out << "{\"schema\": " << dump(schema);
  write_field(out, "path", escape_invalid(directory));
}

}  // namespace

void render_json(const std::string& directory, const std::vector<CheckpointInfo>& list, Output& out) {
  begin_directory(out, "netcl-ckpt.list/1", directory);
  write_array(out, "checkpoints", list, checkpoint_json);
  out << "}\n";
}

void render_json(const std::string& directory, const LatestReport& report, Output& out) {
  begin_directory(out, "netcl-ckpt.latest/1", directory);
  write_field(out, "checkpoint", report.found ? checkpoint_json(*report.found) : Json(nullptr));
  write_array(out, "skipped", report.skipped, checkpoint_json);
  out << "}\n";
}

void render_json(const std::string& directory, const PruneReport& report, bool dry_run, Output& out) {
  begin_directory(out, "netcl-ckpt.prune/1", directory);
  write_field(out, "dry_run", dry_run);
  write_field(out, "removed_bytes", report.removed_bytes);
  write_array(out, "checkpoints", report.verdicts, [](const PruneReport::Verdict& v) {
    Json c = checkpoint_json(v.checkpoint);
    c["keep"] = v.keep;
    c["reason"] = v.reason;
    return c;
  });
  out << "}\n";
}

namespace {

Json side_json(const std::shared_ptr<const DiffSide>& side) {
  if (!side) return nullptr;
  return {{"name", escape_invalid(side->name)}, {"dtype", escape_invalid(side->dtype.name())}, {"shape", side->shape}};
}

Json peak_json(const std::optional<DiffPeak>& peak, bool integral) {
  if (!peak) return nullptr;
  return {{"value", integral ? extreme(peak->value) : number(static_cast<double>(peak->value))},
          {"index", peak->index}};
}

Json diff_json(const TensorDiff* t) {
  Json out = {{"name", escape_invalid(t->name)},
              {"change", to_string(t->change)},
              {"group", to_string(t->group)},
              {"a", side_json(t->a)},
              {"b", side_json(t->b)}};
  if (t->change == TensorChange::values || t->change == TensorChange::same) {
    out["elements"] = t->num_elements;
    out["differing"] = t->differing;
  }
  if (t->figures) {
    const DiffFigures& f = *t->figures;
    const auto optional = [](const std::optional<double>& v) { return v ? number(*v) : Json(nullptr); };
    const bool integral = t->b && is_integral(t->b->dtype.type);
    out["max_abs"] = peak_json(f.max_abs, integral);
    out["max_rel"] = peak_json(f.max_rel, false);
    out["max_ulp"] = f.max_ulp ? Json(*f.max_ulp) : Json(nullptr);
    out["rms"] = number(f.rms);
    out["cosine"] = optional(f.cosine);
    out["moved"] = optional(f.moved);
    out["nan_appeared"] = f.nan_appeared;
    out["nan_vanished"] = f.nan_vanished;
    out["inf_appeared"] = f.inf_appeared;
    out["inf_vanished"] = f.inf_vanished;
    if (f.histogram) out["decades"] = *f.histogram;
  }
  if (!t->elements.empty()) {
    Json list = Json::array();
    for (const DiffElement& e : t->elements)
      list.push_back({{"index", e.index}, {"a", escape_invalid(e.a)}, {"b", escape_invalid(e.b)}});
    out["listed"] = std::move(list);
  }
  if (t->error) out["error"] = escape_invalid(error_text(*t->error));
  return out;
}

Json metadata_diff_json(const MetadataDiff& m) {
  const auto side = [](const std::optional<std::string>& text) {
    return text ? Json(escape_invalid(*text)) : Json(nullptr);
  };
  return {{"path", escape_invalid(m.path)}, {"a", side(m.a)}, {"b", side(m.b)}};
}

}  // namespace

void render_json(const DiffReport& report, const DiffView& view, Output& out) {
  out << "{\"schema\": \"netcl-ckpt.diff/1\"";
  write_field(out, "a", escape_invalid(view.a));
  write_field(out, "b", escape_invalid(view.b));
  write_field(out, "differs", report.differs);
  Json totals = {{"tensors", report.tensors.size()}};
  for (const TensorChange c :
       {TensorChange::same, TensorChange::values, TensorChange::dtype, TensorChange::shape, TensorChange::only_in_a,
        TensorChange::only_in_b, TensorChange::not_comparable, TensorChange::unreadable}) {
    std::string key = to_string(c);
    std::replace(key.begin(), key.end(), '-', '_');
    totals[key] = report.count(c);
  }
  totals["metadata"] = report.num_metadata;
  write_field(out, "totals", totals);
  write_array(out, "tensors", shown_tensors(report, view), diff_json);
  write_array(out, "metadata", report.metadata, metadata_diff_json);
  out << "}\n";
}

void render_json(const std::vector<DeviceInfo>& devices, Output& out) {
  out << "{\"schema\": \"netcl-ckpt.devices/1\"";
  write_array(out, "devices", devices, [](const DeviceInfo& d) {
    return Json{{"index", d.index},
                {"platform", escape_invalid(d.platform)},
                {"name", escape_invalid(d.name)},
                {"vendor", escape_invalid(d.vendor)},
                {"driver", escape_invalid(d.driver)},
                {"version", escape_invalid(d.version)},
                {"type", to_string(d.type)},
                {"memory_bytes", d.memory_bytes},
                {"max_allocation_bytes", d.max_allocation_bytes},
                {"fp16", d.fp16},
                {"fp64", d.fp64},
                {"unified_memory", d.unified_memory},
                {"svm", d.svm}};
  });
  out << "}\n";
}

void render_json(const std::string& path, const ManifestReport& report, Output& out) {
  out << "{\"path\": " << dump(escape_invalid(path));
  write_field(out, "same", report.findings.empty());
  write_field(out, "files", report.num_files);
  write_array(out, "findings", report.findings, [](const ManifestFinding& f) -> Json {
    return {
        {"path", escape_invalid(f.path)}, {"tensor", escape_invalid(f.tensor)}, {"message", escape_invalid(f.message)}};
  });
  out << "}";
}

}  // namespace netcl::ckpt::app
