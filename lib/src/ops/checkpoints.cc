// A directory of checkpoints: what is there, which is the newest good one, which may go.
//
// Order comes from the numbers in the names, never from times: a clock that goes backwards, or a copy that
// gives all files one time, must not make an old checkpoint the newest. What is valid is found out by
// looking (format/peek.h), newest first, and only as far as the question needs.
#include "netcl/ckpt/checkpoints.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <tuple>

#include "base/parallel.h"
#include "base/try.h"
#include "format/peek.h"
#include "format/readers.h"
#include "io/directory_lock.h"
#include "model/scalar.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/verify.h"
#include "ops/checkpoint_name.h"
#include "ops/retention.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> io_error(const fs::path& path, int code, std::string_view what) {
  Error e;
  e.code = ErrorCode::io;
  e.os_errno = code;
  e.message = fmt::format("{}: {}", what, std::strerror(code));
  e.file = path.string();
  return tl::make_unexpected(std::move(e));
}

/// 64 bits of nanoseconds end in the year 2262, a file's time need not: the last one stands for all after it.
std::int64_t nanoseconds(const timespec& t) {
  std::int64_t out = 0;
  if (__builtin_mul_overflow(std::int64_t{t.tv_sec}, std::int64_t{1'000'000'000}, &out) ||
      __builtin_add_overflow(out, std::int64_t{t.tv_nsec}, &out)) {
    using Limits = std::numeric_limits<std::int64_t>;
    return t.tv_sec < 0 ? Limits::min() : Limits::max();
  }
  return out;
}

/// Size and time of all files below a folder; links are not followed.
void measure_folder(CheckpointInfo& info) {
  std::error_code failed;
  for (fs::recursive_directory_iterator it(info.path, failed), end; !failed && it != end; it.increment(failed)) {
    struct stat s;
    if (::lstat(it->path().c_str(), &s) != 0 || !S_ISREG(s.st_mode)) continue;
    info.size_bytes += static_cast<std::uint64_t>(s.st_size);
    info.modified_ns = std::max(info.modified_ns, nanoseconds(s.st_mtim));
  }
}

/// The numbers of a name that is a checkpoint's; nothing for other names.
std::optional<NameNumbers> recognise(const std::string& name, bool folder, const std::string& pattern) {
  if (!pattern.empty()) return match_checkpoint_name(name, pattern);
  if (!folder) {
    const auto stem = checkpoint_stem(name);
    return stem ? std::optional(parse_checkpoint_name(*stem)) : std::nullopt;
  }
  NameNumbers numbers = parse_checkpoint_name(name);
  // tmp-checkpoint-1000 is where transformers writes before it renames.
  const bool numbered = (numbers.step || numbers.epoch) && !name.starts_with("tmp");
  return numbered ? std::optional(std::move(numbers)) : std::nullopt;
}

auto order_of(const CheckpointInfo& c) {
  const int kind = !c.numbered ? 0 : c.step ? 2 : 1;
  const std::uint64_t number = kind == 2 ? *c.step : kind == 1 ? *c.epoch : 0;
  return std::tuple(kind, number, c.modified_ns, c.path);
}

/// All checkpoints by name, oldest first. `linked` receives the names that links in the directory point to.
Result<std::vector<CheckpointInfo>> scan(const fs::path& directory, const ScanOptions& options,
                                         std::set<std::string>* linked) {
  if (!options.pattern.empty() && !is_name_pattern(options.pattern)) {
    return fail(ErrorCode::invalid_argument, "the pattern '{}' is no file name with {{step}} or {{epoch}} in it",
                options.pattern);
  }
  std::vector<CheckpointInfo> out;
  std::error_code failed;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (linked != nullptr && it->is_symlink(ignored)) {
      const fs::path target = fs::read_symlink(it->path(), ignored).lexically_normal();
      linked->insert((target.filename().empty() ? target.parent_path() : target).filename().string());
    }
    struct stat s;
    if (name.starts_with('.') || ::stat(it->path().c_str(), &s) != 0) continue;
    const bool folder = S_ISDIR(s.st_mode);
    if (!folder && !S_ISREG(s.st_mode)) continue;  // a pipe would block
    auto numbers = recognise(name, folder, options.pattern);
    if (!numbers) continue;
    CheckpointInfo info;
    info.path = it->path();
    info.is_folder = folder;
    info.step = numbers->step;
    info.epoch = numbers->epoch;
    info.numbered = info.step || info.epoch;
    info.metrics = std::move(numbers->metrics);
    info.modified_ns = nanoseconds(s.st_mtim);
    if (folder) {
      measure_folder(info);
    } else {
      info.size_bytes = static_cast<std::uint64_t>(s.st_size);
      info.changed_ns = nanoseconds(s.st_ctim);
      info.inode = s.st_ino;
    }
    out.push_back(std::move(info));
  }
  if (failed) return io_error(directory, failed.value(), "cannot read the directory");
  std::sort(out.begin(), out.end(),
            [](const CheckpointInfo& a, const CheckpointInfo& b) { return order_of(a) < order_of(b); });
  return out;
}

// ---- looking at one ---------------------------------------------------------------------------------

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

void look_at_file(const fs::path& path, const ScanOptions& options, CheckpointInfo& info) {
  PeekOptions peek;
  peek.limits = options.limits;
  peek.values = options.values && !info.is_folder;
  peek.wanted = is_wanted;
  const auto opened = peek_checkpoint(path, peek);
  if (!opened) return set_defect(info, opened.error());
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
  verify_options.jobs = 1;
  const auto report = verify(path, verify_options);
  if (!report) return set_defect(info, report.error());
  take_problems(report->problems, info);
}

Result<Tree> read_json(const fs::path& path, const Limits& limits, ValueId& root) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 20;
  CKPT_TRY(const SourcePtr source, open_file(path));
  if (source->size_bytes() > kMaxBytes) return fail(ErrorCode::limit_exceeded, "too large for a list of files");
  std::string text(source->size_bytes(), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(text))));
  Tree tree;
  CKPT_TRY(root, parse_json(text, limits, tree));
  return tree;
}

/// A sharded model's index, {"weight_map": {tensor: file}}: every file that it names is there.
void check_index(const fs::path& index, const ScanOptions& options, CheckpointInfo& info) {
  ValueId root = 0;
  const auto tree = read_json(index, options.limits, root);
  if (!tree) return set_defect(info, tree.error());
  const Tree::Entry* map = tree->find(root, "weight_map");
  if (map == nullptr || tree->kind(map->value) != ValueKind::dict) return;
  for (const Tree::Entry& e : tree->entries(map->value)) {
    if (tree->kind(e.value) != ValueKind::string) continue;
    const std::string shard(tree->text(e.value));
    std::error_code ignored;
    if (shard.find('/') != shard.npos || fs::exists(index.parent_path() / shard, ignored)) continue;
    Error e2;
    e2.code = ErrorCode::truncated;
    e2.message = "the index names this file, which is missing";
    e2.member = shard;
    return set_defect(info, std::move(e2));
  }
}

/// transformers' trainer_state.json: the last evaluation's numbers.
void take_trainer_state(const fs::path& path, const Limits& limits, CheckpointInfo& info) {
  ValueId root = 0;
  const auto tree = read_json(path, limits, root);
  if (!tree) return;
  const Tree::Entry* history = tree->find(root, "log_history");
  if (history == nullptr || tree->kind(history->value) != ValueKind::list) return;
  for (const ValueId entry : tree->items(history->value)) {
    if (tree->kind(entry) != ValueKind::dict) continue;
    for (const Tree::Entry& e : tree->entries(entry)) {
      const auto value = number_of(*tree, e.value);
      if (value && tree->text(e.key).starts_with("eval_")) set_metric(info.metrics, tree->text(e.key), *value);
    }
  }
}

/// A folder is valid where each checkpoint in it is, and there is one.
void look_at_folder(const ScanOptions& options, CheckpointInfo& info) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::directory_iterator it(info.path, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) files.push_back(it->path());
  }
  if (failed) return set_defect(info, io_error(info.path, failed.value(), "cannot read the directory").value());
  std::sort(files.begin(), files.end());
  Validity all = Validity::unknown;
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    if (name == "trainer_state.json" && options.values) take_trainer_state(file, options.limits, info);
    if (name.ends_with(".index.json")) {
      info.validity = Validity::valid;
      check_index(file, options, info);
    } else if (checkpoint_stem(name) || file.extension() == ".bin") {
      look_at_file(file, options, info);
    } else {
      continue;
    }
    if (info.validity != Validity::valid) {
      if (info.defect && info.defect->member.empty()) info.defect->member = name;
      return;
    }
    all = Validity::valid;
  }
  info.validity = all;
  if (all == Validity::valid) return;
  Error e;
  e.code = ErrorCode::unsupported;
  e.message = "holds no file of a format that is read here";
  set_defect(info, std::move(e));
}

void look_at_all(std::vector<CheckpointInfo>& list, const ScanOptions& options,
                 const CheckpointIndex* index = nullptr) {
  constexpr std::size_t kWorthThreads = 64;
  parallel_for(list.size() < kWorthThreads ? 1 : thread_count(options.jobs), list.size(), [&](std::size_t i) {
    if (index == nullptr || !index->recall(list[i])) look_at(list[i], options);
  });
}

// ---- the best ---------------------------------------------------------------------------------------

LatestReport best_of(std::vector<CheckpointInfo> list, const LatestOptions& options) {
  ScanOptions quick = options.scan;
  quick.check = Check::quick;
  quick.values = true;
  look_at_all(list, quick);
  std::reverse(list.begin(), list.end());  // of equal ones the newest
  LatestReport report;
  std::vector<CheckpointInfo> candidates;
  for (CheckpointInfo& info : list) {
    if (info.validity != Validity::valid) {
      report.skipped.push_back(std::move(info));
    } else if (metric_of(info, options.best->metric)) {
      candidates.push_back(std::move(info));
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(), [&](const CheckpointInfo& a, const CheckpointInfo& b) {
    return is_better(*options.best, *metric_of(a, options.best->metric), *metric_of(b, options.best->metric));
  });
  for (CheckpointInfo& info : candidates) {
    if (options.scan.check == Check::full) look_at(info, options.scan);
    if (info.validity == Validity::valid) {
      report.found = std::move(info);
      break;
    }
    report.skipped.push_back(std::move(info));
  }
  return report;
}

bool contains_word(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return text.find(w) != text.npos; });
}

/// The sidecar that goes with an npz: of its own name, and surely netcl's.
std::optional<fs::path> own_sidecar(const fs::path& npz) {
  const fs::path sidecar = find_sidecar(npz);
  if (sidecar.empty() || sidecar.stem() != npz.stem()) return std::nullopt;
  constexpr std::string_view kFirstWords = "{\"optim_state\"";  // of a torn one too
  const auto source = open_file(sidecar);
  std::string head(kFirstWords.size(), '\0');
  if (source && (*source)->read_at(0, std::as_writable_bytes(std::span(head))) && head == kFirstWords) return sidecar;
  ValueId root = 0;
  const auto tree = read_json(sidecar, {}, root);
  const bool ours = tree && tree->kind(root) == ValueKind::dict &&
                    (tree->find(root, "optim_state") != nullptr || tree->find(root, "config") != nullptr);
  return ours ? std::optional(sidecar) : std::nullopt;
}

}  // namespace

const char* to_string(Validity validity) {
  switch (validity) {
    case Validity::unchecked: return "unchecked";
    case Validity::valid: return "valid";
    case Validity::broken: return "broken";
    case Validity::unknown: return "unknown";
  }
  return "unknown";
}

void look_at(CheckpointInfo& info, const ScanOptions& options) {
  info.validity = Validity::unchecked;
  info.defect.reset();
  if (options.check == Check::none) return;
  auto outcome = guarded([&]() -> Result<void> {
    if (info.is_folder) {
      look_at_folder(options, info);
    } else if (info.size_bytes == 0) {
      return fail(ErrorCode::truncated, "the file is empty");
    } else {
      look_at_file(info.path, options, info);
    }
    return {};
  });
  if (!outcome) set_defect(info, outcome.error());
}

Result<std::vector<CheckpointInfo>> list_checkpoints(const fs::path& directory, const ScanOptions& options) {
  return guarded([&]() -> Result<std::vector<CheckpointInfo>> {
    CKPT_TRY(auto list, scan(directory, options, nullptr));
    look_at_all(list, options);
    for (CheckpointInfo& info : list) {
      std::error_code ignored;
      const fs::path sidecar = info.is_folder ? fs::path() : find_sidecar(info.path);
      const auto more = sidecar.empty() ? 0 : fs::file_size(sidecar, ignored);
      if (!ignored) info.size_bytes += more;
    }
    return list;
  });
}

Result<BestBy> parse_best(std::string_view text) {
  return guarded([&]() -> Result<BestBy> {
    BestBy by;
    for (const auto& [end, higher] : {std::pair(std::string_view(":min"), false), {std::string_view(":max"), true}}) {
      if (text.size() <= end.size() || !text.ends_with(end)) continue;
      by.metric = text.substr(0, text.size() - end.size());
      by.higher = higher;
      return by;
    }
    by.metric = text;
    if (contains_word(text, {"loss", "err", "ppl", "perplexity", "mse", "mae"})) return by;
    by.higher = true;
    if (contains_word(text, {"acc", "auc", "bleu", "rouge", "iou", "dice", "psnr", "f1", "precision", "recall"}))
      return by;
    return fail(ErrorCode::invalid_argument, "is more or less of '{0}' better? Say {0}:max or {0}:min", text);
  });
}

Result<LatestReport> latest_checkpoint(const fs::path& directory, const LatestOptions& options) {
  return guarded([&]() -> Result<LatestReport> {
    CKPT_TRY(auto list, scan(directory, options.scan, nullptr));
    if (options.best) return best_of(std::move(list), options);
    LatestReport report;
    for (; !list.empty(); list.pop_back()) {
      CheckpointInfo& info = list.back();
      if (!options.any) look_at(info, options.scan);
      if (options.any || info.validity == Validity::valid) {
        report.found = std::move(info);
        break;
      }
      report.skipped.push_back(std::move(info));
    }
    return report;
  });
}

Result<void> remove_checkpoint(const CheckpointInfo& info) {
  return guarded([&]() -> Result<void> {
    if (!info.is_folder) {
      // The arrays first: a sidecar alone is nothing, but arrays alone would look like a whole checkpoint.
      const auto sidecar = own_sidecar(info.path);
      const fs::path manifest = info.path.string() + ".manifest.json";
      if (::unlink(info.path.c_str()) != 0 && errno != ENOENT) return io_error(info.path, errno, "cannot remove it");
      if (sidecar && ::unlink(sidecar->c_str()) != 0 && errno != ENOENT)
        return io_error(*sidecar, errno, "cannot remove it");
      if (read_manifest(manifest)) ::unlink(manifest.c_str());
      return {};
    }
    const fs::path gone = info.path.parent_path() / (".netcl-ckpt-pruned-" + info.path.filename().string());
    std::error_code failed;
    fs::remove_all(gone, failed);  // of an earlier, interrupted run
    if (!failed) fs::rename(info.path, gone, failed);
    if (!failed) fs::remove_all(gone, failed);
    if (failed) return io_error(info.path, failed.value(), "cannot remove it");
    return {};
  });
}

Result<PruneReport> prune_held(const fs::path& directory, const PruneOptions& options, const CheckpointIndex* index) {
  return guarded([&]() -> Result<PruneReport> {
    std::set<std::string> linked;
    ScanOptions scanning = options.scan;
    if (scanning.check == Check::none) scanning.check = Check::quick;
    scanning.values = options.retention.keep_best || index != nullptr;
    CKPT_TRY(auto list, scan(directory, scanning, &linked));
    look_at_all(list, scanning, index);

    const auto verdicts = apply_retention(list, options.retention);
    PruneReport report;
    Result<void> removed;  // one that cannot be removed does not keep the others
    for (std::size_t i = 0; i < list.size(); ++i) {
      PruneReport::Verdict v{std::move(list[i]), verdicts[i].keep, verdicts[i].reason};
      const std::string name = v.checkpoint.path.filename().string();
      if (!v.keep && linked.contains(name)) v = {std::move(v.checkpoint), true, "a link points to it"};
      if (!v.keep && std::find(options.protect.begin(), options.protect.end(), name) != options.protect.end()) {
        v = {std::move(v.checkpoint), true, "protected"};
      }
      if (!v.keep) {
        if (options.remove) {
          auto done = remove_checkpoint(v.checkpoint);
          if (!done && removed) removed = std::move(done);
        }
        report.removed_bytes += v.checkpoint.size_bytes;
      }
      report.verdicts.push_back(std::move(v));
    }
    CKPT_CHECK(removed);
    return report;
  });
}

Result<PruneReport> prune_checkpoints(const fs::path& directory, const PruneOptions& options) {
  const Retention& r = options.retention;
  if (r.keep_last == 0 && r.keep_every == 0 && !r.keep_best)
    return fail(ErrorCode::invalid_argument, "nothing says what to keep: the last N, every K-th or the best");
  if (!options.remove) return prune_held(directory, options, nullptr);
  CKPT_TRY(const DirectoryLock lock, DirectoryLock::take(directory, false));
  return prune_held(directory, options, nullptr);
}

}  // namespace netcl::ckpt
