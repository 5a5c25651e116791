// Whether a checkpoint is whole, and what it says of itself: step, epoch, metrics. What is valid is found out by
// looking (format/peek.h), and only as far as the question needs.
#include "run/check.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <map>
#include <set>

#include "base/parallel.h"
#include "base/try.h"
#include "format/peek.h"
#include "format/readers.h"
#include "model/scalar.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/verify.h"
#include "run/scan.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kStepKeys = {"step", "global_step", "iteration", "iter"};
constexpr std::string_view kEpochKey = "epoch";
constexpr std::string_view kMetricsKey = "metrics";
constexpr std::string_view kMetricsPrefix = "metrics.";

bool is_step_key(std::string_view key) { return std::find(kStepKeys.begin(), kStepKeys.end(), key) != kStepKeys.end(); }

/// Of a flat npz, where everything is an array: the names that say something of the checkpoint itself.
bool is_wanted(std::string_view name) {
  return is_step_key(name) || name == kEpochKey || name.starts_with(kMetricsPrefix);
}

/// Later ones count: what the checkpoint says is more exact than its name.
void set_metric(Metrics& metrics, std::string_view key, double value) {
  for (auto& [name, old] : metrics) {
    if (name == key) {
      old = value;
      return;
    }
  }
  metrics.emplace_back(key, value);
}

void set_number(std::optional<std::uint64_t>& number, double value) {
  constexpr double kMax = 9007199254740992;  // exact up to here
  if (!number && value >= 0 && value <= kMax && value == std::floor(value)) number = static_cast<std::uint64_t>(value);
}

/// step, epoch and `metrics` of a dict. `loose`: lone reals beside them are metrics too, as in the dicts
/// that people give torch.save: {"epoch": 3, "model": …, "val_loss": 0.25}.
void take_values(const Tree& tree, ValueId dict, bool loose, CheckpointInfo& info) {
  if (tree.kind(dict) != ValueKind::dict) return;
  for (const Tree::Entry& e : tree.entries(dict)) {
    if (tree.kind(e.key) != ValueKind::string) continue;
    const std::string_view key = tree.text(e.key);
    if (key == kMetricsKey && tree.kind(e.value) == ValueKind::dict) {
      for (const Tree::Entry& m : tree.entries(e.value)) {
        const auto value = number_of(tree, m.value);
        if (value && tree.kind(m.key) == ValueKind::string) set_metric(info.metrics, tree.text(m.key), *value);
      }
      continue;
    }
    const bool lone = loose && tree.kind(e.value) == ValueKind::real;
    if (!is_wanted(key) && !lone) continue;
    const auto value = number_of(tree, e.value);
    if (!value) continue;
    if (is_step_key(key)) {
      set_number(info.step, *value);
    } else if (key == kEpochKey) {
      set_number(info.epoch, *value);
    } else {
      set_metric(info.metrics, key.starts_with(kMetricsPrefix) ? key.substr(kMetricsPrefix.size()) : key, *value);
    }
  }
}

/// Whether it was the machine that did not let us look, and not the checkpoint: no permission, EIO, too many open
/// files. What was removed meanwhile is gone, and no reason to stop.
bool was_not_checked(const CheckpointInfo& c) {
  if (!c.defect || c.defect->code != ErrorCode::io) return false;
  const int number = c.defect->os_errno;
  return number != ENOENT && number != ENOTDIR && number != ESTALE;
}

Validity validity_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::truncated:
    case ErrorCode::corrupt:
    case ErrorCode::checksum_mismatch: return Validity::broken;
    default: return Validity::unknown;
  }
}

void set_defect(CheckpointInfo& info, Error error) {
  info.validity = validity_of(error.code);
  error.file = info.path.string();
  info.defect = std::move(error);
}

Error to_error(const Problem& p, ErrorCode code) {
  Error e;
  e.code = code;
  e.message = p.message;
  e.member = p.where;
  e.offset_bytes = p.offset_bytes;
  return e;
}

/// The first error among problems. What is unsafe is not broken: the program that wrote it loads it.
void take_problems(const Problems& problems, CheckpointInfo& info) {
  const auto it =
      std::find_if(problems.begin(), problems.end(), [](const Problem& p) { return p.severity == Severity::error; });
  if (it == problems.end()) return;
  set_defect(info, to_error(*it, ErrorCode::corrupt));
}

void check_file(const fs::path& path, const ScanOptions& options, CheckpointInfo& info) {
  PeekOptions peek;
  peek.limits = options.limits;
  peek.values = options.values && !info.is_folder;
  peek.wanted = is_wanted;
  const auto opened = peek_checkpoint(path, peek);
  if (!opened) {
    Error error = opened.error();
    // Of a file that is cut within its first bytes these no longer say what it was.
    constexpr std::uint64_t kMagicBytes = 4;
    if (error.code == ErrorCode::unsupported && !info.is_folder && info.size_bytes < kMagicBytes)
      error.code = ErrorCode::truncated;
    return set_defect(info, std::move(error));
  }
  info.validity = Validity::valid;
  take_problems(opened->problems, info);
  if (peek.values) {
    const Tree& tree = opened->tree;
    take_values(tree, opened->root, true, info);
    take_values(tree, opened->attributes, false, info);
    if (const auto* config = tree.find(opened->attributes, "config")) take_values(tree, config->value, false, info);
  }
  if (options.check != Check::full || info.validity != Validity::valid) return;
  VerifyOptions verify_options;
  verify_options.limits = options.limits;
  verify_options.run.jobs = 1;
  const auto report = verify(path, verify_options);
  if (!report) return set_defect(info, report.error());
  take_problems(report->problems, info);
}

Result<JsonFile> read_small_json(const fs::path& path, Limits limits) {
  limits.max_json_bytes = std::min(limits.max_json_bytes, std::uint64_t{16} << 20);
  return read_json_file(path, limits);
}

Error missing(std::string member, std::string message) {
  Error e;
  e.code = ErrorCode::truncated;
  e.message = std::move(message);
  e.member = std::move(member);
  return e;
}

/// A sharded model's index, {"weight_map": {tensor: file}}: every file that it names is there, and has that tensor.
void check_index(const fs::path& index, const ScanOptions& options, CheckpointInfo& info) {
  const auto json = read_small_json(index, options.limits);
  if (!json) return set_defect(info, json.error());
  const Tree& tree = json->tree;
  const Tree::Entry* map = tree.find(json->root, "weight_map");
  if (map == nullptr || tree.kind(map->value) != ValueKind::dict) return;
  std::map<std::string, std::set<std::string>> shards;
  for (const Tree::Entry& e : tree.entries(map->value)) {
    if (tree.kind(e.value) != ValueKind::string || tree.kind(e.key) != ValueKind::string) continue;
    shards[std::string(tree.text(e.value))].emplace(tree.text(e.key));
  }
  for (auto& [shard, tensors] : shards) {
    if (shard.find('/') != shard.npos) continue;
    const fs::path path = index.parent_path() / shard;
    std::error_code ignored;
    if (!fs::exists(path, ignored))
      return set_defect(info, missing(shard, "the index names this file, which is missing"));
    OpenOptions read;
    read.limits = options.limits;
    read.sidecar = false;
    const auto opened = open_checkpoint(path, read);
    const auto named = opened ? list_tensors(*opened, options.limits) : tl::make_unexpected(opened.error());
    if (!named) {
      set_defect(info, named.error());
      if (info.defect->member.empty()) info.defect->member = shard;
      return;
    }
    for (const NamedTensor& t : *named) tensors.erase(t.name);
    if (!tensors.empty())
      return set_defect(info,
                        missing(*tensors.begin(), fmt::format("the index has it in '{}', where it is not", shard)));
  }
}

/// torch.distributed.checkpoint: .metadata, which is written last, names the files that each rank wrote. The names
/// stand in its pickle as they are.
void check_distributed(const fs::path& folder, bool has_files, CheckpointInfo& info) {
  constexpr std::string_view kEnd = ".distcp";
  constexpr std::uint64_t kMaxMetadataBytes = std::uint64_t{64} << 20;
  const fs::path path = folder / ".metadata";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    if (has_files) set_defect(info, missing(".metadata", "is missing, which is written last"));
    return;
  }
  const auto source = open_file(path);
  if (!source) return set_defect(info, source.error());
  if ((*source)->size_bytes() > kMaxMetadataBytes) return;
  std::string text((*source)->size_bytes(), '\0');
  if (auto read = (*source)->read_at(0, std::as_writable_bytes(std::span(text))); !read)
    return set_defect(info, read.error());
  for (std::size_t end = text.find(kEnd); end != text.npos; end = text.find(kEnd, end + 1)) {
    std::size_t begin = end;
    while (begin > 0 && (text[begin - 1] == '_' || (text[begin - 1] >= '0' && text[begin - 1] <= '9'))) --begin;
    const std::string file = text.substr(begin, end + kEnd.size() - begin);
    if (file.starts_with("__") && !fs::exists(folder / file, ignored))
      return set_defect(info, missing(file, "the metadata names this file, which is missing"));
  }
}

/// transformers' trainer_state.json: the last evaluation's numbers.
void take_trainer_state(const fs::path& path, const Limits& limits, CheckpointInfo& info) {
  const auto json = read_small_json(path, limits);
  if (!json) return;
  const Tree& tree = json->tree;
  const Tree::Entry* history = tree.find(json->root, "log_history");
  if (history == nullptr || tree.kind(history->value) != ValueKind::list) return;
  for (const ValueId entry : tree.items(history->value)) {
    if (tree.kind(entry) != ValueKind::dict) continue;
    for (const Tree::Entry& e : tree.entries(entry)) {
      const auto value = number_of(tree, e.value);
      if (value && tree.text(e.key).starts_with("eval_")) set_metric(info.metrics, tree.text(e.key), *value);
    }
  }
}

/// What the Trainer of transformers leaves beside the model; trainer_state.json is the last that it writes.
bool lacks_trainer_state(const std::set<std::string>& names) {
  const bool trainer =
      names.contains("training_args.bin") || (names.contains("optimizer.pt") && names.contains("scheduler.pt"));
  return trainer && !names.contains("trainer_state.json");
}

/// A folder is valid if it is whole: each checkpoint in it is, there is one, and nothing that the others name is
/// missing.
void check_folder(const ScanOptions& options, CheckpointInfo& info) {
  const auto files = files_below(info.path);
  if (!files) return set_defect(info, files.error());
  std::set<std::string> names;  // of its own files
  std::set<fs::path> distributed;
  for (const fs::path& file : *files) {
    if (file.parent_path() == info.path) names.insert(file.filename().string());
    if (file.extension() == ".distcp" || file.filename() == ".metadata") distributed.insert(file.parent_path());
  }
  bool any = false;
  const auto whole = [&](const std::string& member) {
    if (info.validity == Validity::valid) return any = true;
    if (info.defect && info.defect->member.empty()) info.defect->member = member;
    return false;
  };
  for (const fs::path& file : *files) {
    const std::string name = file.filename().string();
    if (name == "trainer_state.json" && options.values) take_trainer_state(file, options.limits, info);
    if (name.ends_with(".index.json")) {
      info.validity = Validity::valid;
      check_index(file, options, info);
    } else if (is_part(file)) {
      check_file(file, options, info);
    } else {
      continue;
    }
    if (!whole(file.lexically_relative(info.path).string())) return;
  }
  for (const fs::path& folder : distributed) {
    info.validity = Validity::valid;
    const bool has_files =
        std::any_of(files->begin(), files->end(), [](const fs::path& f) { return f.extension() == ".distcp"; });
    check_distributed(folder, has_files, info);
    if (!whole(folder.lexically_relative(info.path).string())) return;
  }
  if (any && lacks_trainer_state(names))
    return set_defect(info, missing("trainer_state.json", "is missing, which the Trainer writes last"));
  if (any) return;
  Error e;
  e.code = ErrorCode::unsupported;
  e.message = "holds no file of a format that is read here";
  set_defect(info, std::move(e));
}

}  // namespace

void check_checkpoint(CheckpointInfo& info, const ScanOptions& options) {
  info.validity = Validity::unchecked;
  info.defect.reset();
  if (options.check == Check::none) return;
  auto outcome = guarded([&]() -> Result<void> {
    if (info.is_folder) {
      check_folder(options, info);
    } else if (info.size_bytes == 0) {
      return fail(ErrorCode::truncated, "the file is empty");
    } else {
      check_file(info.path, options, info);
    }
    return {};
  });
  if (!outcome) set_defect(info, outcome.error());
}

void check_checkpoints(std::vector<CheckpointInfo>& list, const ScanOptions& options, const CheckpointIndex* index) {
  constexpr std::size_t kWorthThreads = 64;
  parallel_for(list.size() < kWorthThreads ? 1 : thread_count(options.run.jobs), list.size(), [&](std::size_t i) {
    if (index == nullptr || !index->recall(list[i])) check_checkpoint(list[i], options);
  });
}

Result<void> require_checked(std::span<const CheckpointInfo> list) {
  const auto it = std::find_if(list.begin(), list.end(), was_not_checked);
  if (it == list.end()) return {};
  return tl::make_unexpected(*it->defect);
}

}  // namespace netcl::ckpt
