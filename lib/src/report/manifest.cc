// Manifests: what files and tensors were, so that bit-rot is noticed years later. A zip's CRC tells the same of
// its members, but safetensors and pickles have none, and no CRC tells that a file was replaced by another.
#include "netcl/ckpt/manifest.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/buffer.h"
#include "base/jobs.h"
#include "base/text.h"
#include "base/try.h"
#include "codec/sha256.h"
#include "format/readers.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/open.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSchema = "netcl-ckpt.manifest/1";
constexpr std::string_view kExtension = ".manifest.json";

Result<std::string> hash_file(const SourcePtr& source, RunState& state) {
  const auto block = thread_buffer(std::size_t{1} << 20);
  Sha256 hash;
  for (std::uint64_t at = 0; at < source->size_bytes();) {
    if (state.stopped()) return fail_cancelled();
    const auto bytes = block.first(std::min<std::uint64_t>(block.size(), source->size_bytes() - at));
    CKPT_CHECK(source->read_at(at, bytes));
    hash.update(bytes);
    at += bytes.size();
    state.advance(bytes.size());
  }
  return hash.hex_digest();
}

/// The tensors of a checkpoint with their hashes; those that cannot be read have none, and a problem says why.
Result<InspectReport> hash_tensors(const SourcePtr& source, const fs::path& path, const ManifestOptions& options) {
  OpenOptions read;
  read.limits = options.limits;
  read.sidecar = false;  // a file of its own
  CKPT_TRY(const Checkpoint checkpoint, open_checkpoint(source, path, read));
  InspectOptions hashing;
  hashing.limits = options.limits;
  hashing.hash = true;
  hashing.identity = true;
  hashing.run = options.run;
  return inspect(checkpoint, hashing);
}

/// The first problem that kept a tensor from being read.
const Problem* damage_of(const InspectReport& report) {
  for (const Problem& p : report.problems) {
    if (p.severity == Severity::error) return &p;
  }
  return nullptr;
}

Result<ManifestFile> describe(const fs::path& path, std::string name, const ManifestOptions& options) {
  ManifestFile out;
  out.path = std::move(name);
  CKPT_TRY(const SourcePtr source, open_file(path));
  out.file_bytes = source->size_bytes();
  Result<std::string> sha256 = std::string();
  Result<InspectReport> report = InspectReport();
  parallel_for(thread_count(options.run.jobs), 2, [&](std::size_t i) {
    if (i == 0) {
      const Run quietly = quiet(options.run);  // the progress is that of the tensors
      RunState state(quietly, 0);
      sha256 = guarded([&] { return hash_file(source, state); });
    }
    if (i == 1) report = guarded([&] { return hash_tensors(source, path, options); });
  });
  CKPT_TRY(out.sha256, std::move(sha256));
  if (!report) {
    if (report.error().code == ErrorCode::unsupported) return out;  // no checkpoint
    return tl::make_unexpected(std::move(report.error()));
  }
  if (const Problem* p = damage_of(*report)) {
    return in_file(Result<ManifestFile>(fail_at(ErrorCode::corrupt, p->where, p->offset_bytes, "{}", p->message)),
                   path.string());
  }
  out.format = to_string(report->format);
  out.identity = report->identity;
  for (const TensorInfo& t : report->tensors)
    out.tensors.push_back({to_valid_utf8(t.name), t.dtype.name(), t.shape, t.sha256});
  return out;
}

bool is_listed(const fs::path& file) {
  const std::string name = file.filename().string();
  return !name.starts_with('.') && !name.ends_with(kExtension);
}

Result<void> add_files(const fs::path& path, std::set<fs::path>& files) {
  std::error_code failed;
  if (!fs::is_directory(path, failed)) {
    files.insert(path);
    const fs::path sidecar = find_sidecar(path);
    if (!sidecar.empty()) files.insert(sidecar);
    return {};
  }
  for (fs::recursive_directory_iterator it(path, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    if (it->path().filename().string().starts_with('.') && it->is_directory(ignored)) it.disable_recursion_pending();
    if (it->is_regular_file(ignored) && is_listed(it->path())) files.insert(it->path());
  }
  if (failed) return fail_io(failed.value(), path.string(), "cannot read the directory");
  return {};
}

/// `path` as it is called from `base`, which it must be below.
Result<std::string> name_from(const fs::path& base, const fs::path& path) {
  std::error_code failed;
  const fs::path whole = fs::absolute(path, failed).lexically_normal();
  const fs::path from = failed ? fs::path() : fs::absolute(base / "", failed).lexically_normal();
  if (failed) return fail_io(failed.value(), path.string(), "cannot tell where it is");
  const fs::path relative = whole.lexically_relative(from);
  const std::string name = relative.generic_string();
  if (name.empty() || *relative.begin() == "..") {
    return fail_in(path.string(), ErrorCode::invalid_argument, "not below the manifest's folder '{}'", base.string());
  }
  if (!is_utf8(name)) {
    return fail_in(path.string(), ErrorCode::unsupported, "a name that is not UTF-8 cannot stand in a manifest");
  }
  return name;
}

// ---- JSON -------------------------------------------------------------------------------------------

std::string text_of(const Tree& tree, ValueId object, std::string_view key) {
  const Tree::Entry* e = tree.find(object, key);
  return e != nullptr && tree.kind(e->value) == ValueKind::string ? std::string(tree.text(e->value)) : "";
}

/// Nothing where there is no such list: that is damage, and an empty one is not.
std::optional<std::span<const ValueId>> list_of(const Tree& tree, ValueId object, std::string_view key) {
  const Tree::Entry* e = tree.find(object, key);
  if (e == nullptr || tree.kind(e->value) != ValueKind::list) return std::nullopt;
  return tree.items(e->value);
}

std::optional<std::uint64_t> natural_of(const Tree& tree, ValueId value) {
  if (tree.kind(value) != ValueKind::integer || tree.integer(value) < 0) return std::nullopt;
  return static_cast<std::uint64_t>(tree.integer(value));
}

bool is_hash(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// A manifest comes from somewhere else too: it must not make us read /etc/passwd.
bool is_inside(const std::string& name) {
  const fs::path path(name);
  return !name.empty() && path.is_relative() && name.find('\0') == name.npos &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

std::optional<ManifestTensor> parse_tensor(const Tree& tree, ValueId t) {
  ManifestTensor out{text_of(tree, t, "name"), text_of(tree, t, "dtype"), {}, text_of(tree, t, "sha256")};
  const auto shape = list_of(tree, t, "shape");
  if (!shape || out.dtype.empty() || !(out.sha256.empty() || is_hash(out.sha256))) return std::nullopt;
  for (const ValueId d : *shape) {
    const auto size = natural_of(tree, d);
    if (!size) return std::nullopt;
    out.shape.push_back(*size);
  }
  return out;
}

Result<ManifestFile> parse_file(const Tree& tree, ValueId f) {
  ManifestFile out;
  out.path = text_of(tree, f, "path");
  out.sha256 = text_of(tree, f, "sha256");
  out.format = text_of(tree, f, "format");
  out.identity = text_of(tree, f, "identity");
  if (!is_inside(out.path)) return fail(ErrorCode::corrupt, "it names a file outside of its folder, or none");
  const auto damaged = [&] { return fail(ErrorCode::corrupt, "its entry for '{}' is damaged", out.path); };
  const Tree::Entry* size = tree.find(f, "file_bytes");
  const auto file_bytes = size != nullptr ? natural_of(tree, size->value) : std::nullopt;
  if (!is_hash(out.sha256) || !file_bytes) return damaged();
  out.file_bytes = *file_bytes;
  const auto tensors = list_of(tree, f, "tensors");
  if (tensors.has_value() == out.format.empty()) return damaged();  // a checkpoint has both
  if (!tensors) return out;
  if (!out.identity.empty() && !is_hash(out.identity)) return damaged();  // none if a tensor has no hash
  for (const ValueId t : *tensors) {
    auto tensor = parse_tensor(tree, t);
    if (!tensor) return damaged();
    out.tensors.push_back(std::move(*tensor));
  }
  return out;
}

Result<Manifest> parse_manifest(const Tree& tree, ValueId root) {
  const auto files = list_of(tree, root, "files");
  if (text_of(tree, root, "schema") != kSchema || !files)
    return fail(ErrorCode::corrupt, "not a manifest of netcl-ckpt");
  Manifest out;
  for (const ValueId f : *files) {
    CKPT_TRY(ManifestFile file, parse_file(tree, f));
    out.files.push_back(std::move(file));
  }
  return out;
}

// ---- checking ---------------------------------------------------------------------------------------

class Checker {
 public:
  Checker(const fs::path& base, const ManifestOptions& options) : base_(base), options_(options) {}

  Result<ManifestReport> run(const Manifest& manifest) {
    std::uint64_t total_bytes = 0;
    for (const ManifestFile& file : manifest.files) total_bytes += std::min(file.file_bytes, ~total_bytes);
    RunState state(options_.run, total_bytes);
    for (const ManifestFile& file : manifest.files) {
      check(file, state);
      if (state.stopped()) return fail_cancelled();
    }
    report_.num_files = manifest.files.size();
    return std::move(report_);
  }

 private:
  void check(const ManifestFile& want, RunState& state) {
    const fs::path path = base_ / want.path;
    std::error_code failed;
    if (!fs::is_regular_file(path, failed)) return add(want, "", "it is missing");
    const auto source = open_file(path);
    if (!source) return add(want, "", source.error().message);
    const std::uint64_t size = (*source)->size_bytes();
    if (size == want.file_bytes) {
      const auto sha256 = guarded([&] { return hash_file(*source, state); });
      if (!sha256) return add(want, "", sha256.error().message);
      report_.checked_bytes += size;
      if (*sha256 == want.sha256) return;
    }
    const std::size_t before = report_.findings.size();
    if (!want.format.empty()) compare_tensors(want, *source, path);
    if (report_.findings.size() > before) return;
    const std::string how = size == want.file_bytes
                                ? "its bytes changed"
                                : fmt::format("its size was {} bytes, is {}", want.file_bytes, size);
    add(want, "", want.format.empty() ? how : how + "; all tensors are the same");
  }

  void compare_tensors(const ManifestFile& want, const SourcePtr& source, const fs::path& path) {
    const auto found = guarded([&] { return hash_tensors(source, path, options_); });
    if (!found) {
      Error e = found.error();
      e.file.clear();
      return add(want, "", "it cannot be opened any more: " + e.to_string());
    }
    std::map<std::string, const TensorInfo*> by_name;
    for (const TensorInfo& t : found->tensors) by_name.emplace(to_valid_utf8(t.name), &t);
    for (const ManifestTensor& t : want.tensors) {
      const auto it = by_name.find(t.name);
      if (it == by_name.end()) {
        add(want, t.name, "it is missing");
        continue;
      }
      const TensorInfo& now = *it->second;
      if (now.dtype.name() != t.dtype || now.shape != t.shape) {
        add(want, t.name, "its dtype or shape changed");
      } else if (now.sha256 != t.sha256) {
        add(want, t.name, now.sha256.empty() ? "it is damaged: " + why_unread(*found, t.name) : "its values changed");
      }
      by_name.erase(it);
    }
    for (const auto& [name, tensor] : by_name) add(want, name, "it is new");
  }

  static std::string why_unread(const InspectReport& report, const std::string& tensor) {
    for (const Problem& p : report.problems) {
      if (p.where == tensor || p.where == tensor + ".npy") return p.message;
    }
    return "it cannot be read";
  }

  void add(const ManifestFile& file, const std::string& tensor, std::string message) {
    report_.findings.push_back({file.path, tensor, std::move(message)});
  }

  const fs::path& base_;
  const ManifestOptions& options_;
  ManifestReport report_;
};

}  // namespace

Result<Manifest> create_manifest(const std::vector<fs::path>& paths, const fs::path& base,
                                 const ManifestOptions& options) {
  return guarded([&]() -> Result<Manifest> {
    std::set<fs::path> files;
    for (const fs::path& path : paths) CKPT_CHECK(add_files(path, files));
    Manifest out;
    for (const fs::path& file : files) {
      CKPT_TRY(std::string name, name_from(base, file));
      CKPT_TRY(ManifestFile described, describe(file, std::move(name), options));
      out.files.push_back(std::move(described));
    }
    std::sort(out.files.begin(), out.files.end(),
              [](const ManifestFile& a, const ManifestFile& b) { return a.path < b.path; });
    return out;
  });
}

std::string to_json(const Manifest& manifest) {
  std::string out = fmt::format("{{\"schema\": \"{}\",\n \"files\": [", kSchema);
  const char* file_separator = "\n  ";
  for (const ManifestFile& f : manifest.files) {
    out += fmt::format("{}{{\"path\": {}, \"file_bytes\": {}, \"sha256\": \"{}\"", file_separator, json_string(f.path),
                       f.file_bytes, f.sha256);
    file_separator = ",\n  ";
    if (!f.format.empty()) {
      out += fmt::format(", \"format\": \"{}\", \"identity\": \"{}\",\n   \"tensors\": [", f.format, f.identity);
      const char* separator = "\n    ";
      for (const ManifestTensor& t : f.tensors) {
        out +=
            fmt::format("{}{{\"name\": {}, \"dtype\": {}, \"shape\": [{}], \"sha256\": \"{}\"}}", separator,
                        json_string(t.name), json_string(to_valid_utf8(t.dtype)), fmt::join(t.shape, ", "), t.sha256);
        separator = ",\n    ";
      }
      out += "]";
    }
    out += "}";
  }
  return out + "]}\n";
}

Result<Manifest> read_manifest(const fs::path& path, const Limits& limits) {
  return guarded([&]() -> Result<Manifest> {
    CKPT_TRY(const JsonFile json, read_json_file(path, limits));
    return in_file(parse_manifest(json.tree, json.root), path.string());
  });
}

Result<ManifestReport> check_manifest(const Manifest& manifest, const fs::path& base, const ManifestOptions& options) {
  return guarded([&]() -> Result<ManifestReport> { return Checker(base, options).run(manifest); });
}

}  // namespace netcl::ckpt
