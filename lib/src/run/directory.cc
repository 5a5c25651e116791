// A directory of checkpoints: what is there, which is the newest good one, which may go.
//
// Order comes from the numbers in the names, never from times: a clock that goes backwards, or a copy that
// gives all files one time, must not make an old checkpoint the newest. What is valid is found out by
// looking (format/peek.h), newest first, and only as far as the question needs.
#include "netcl/ckpt/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "base/parallel.h"
#include "base/try.h"
#include "format/peek.h"
#include "format/readers.h"
#include "io/directory_lock.h"
#include "model/scalar.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/verify.h"
#include "run/checkpoint_name.h"
#include "run/retention.h"

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

constexpr std::string_view kPrunedPrefix = ".netcl-ckpt-pruned-";

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

constexpr int kMaxFolderDepth = 4;  // a checkpoint's own: iter_0001000/mp_rank_00/model_optim_rng.pt

/// The regular files below a folder, sorted; links are not followed, hidden folders are passed over.
Result<std::vector<fs::path>> files_below(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    const bool hidden = it->path().filename().string().starts_with('.');
    if (it.depth() >= kMaxFolderDepth || (hidden && it->is_directory(ignored))) it.disable_recursion_pending();
    if (fs::is_regular_file(it->symlink_status(ignored))) out.push_back(it->path());
  }
  if (failed) return io_error(folder, failed.value(), "cannot read the directory");
  std::sort(out.begin(), out.end());
  return out;
}

/// Whether a file of a folder is one to look at.
bool is_part(const fs::path& file) { return checkpoint_stem(file.filename().string()) || file.extension() == ".bin"; }

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

/// A folder whose name is but a number may be a checkpoint (020000/pretrained_model/) or the run of that number, which
/// holds checkpoints of its own.
bool is_checkpoint_folder(const fs::path& folder) {
  const auto files = files_below(folder);
  if (!files) return true;  // looking at it says why
  bool any = false;
  for (const fs::path& file : *files) {
    if (!is_part(file)) continue;
    any = true;
    for (const fs::path& name : file.lexically_relative(folder)) {
      const NameNumbers numbers = parse_checkpoint_name(name.stem().string());
      if (numbers.step || numbers.epoch) return false;
    }
  }
  return any;
}

/// The numbers of a name that may be a checkpoint's; nothing for other names.
std::optional<NameNumbers> recognise(const fs::path& path, bool folder, const std::string& pattern) {
  const std::string name = path.filename().string();
  if (!pattern.empty()) return match_checkpoint_name(name, pattern);
  if (folder) {
    NameNumbers numbers = parse_checkpoint_name(name);
    // tmp-checkpoint-1000 is where transformers writes before it renames.
    if (name.starts_with("tmp")) return std::nullopt;
    const bool named = numbers.step || numbers.epoch;
    const bool counts = named || (numbers.last && numbers.apart && is_checkpoint_folder(path));
    return counts ? std::optional(std::move(numbers)) : std::nullopt;
  }
  if (const auto stem = checkpoint_stem(name)) return parse_checkpoint_name(*stem);
  // Chainer's snapshot_iter_1000 has no extension, and .bin is many things: their content tells.
  const bool bin = path.extension() == ".bin";
  if (!bin && name.find('.') != name.npos) return std::nullopt;
  NameNumbers numbers = parse_checkpoint_name(bin ? path.stem().string() : name);
  const bool counts = (numbers.step || numbers.epoch || (numbers.last && numbers.apart)) && looks_like_checkpoint(path);
  return counts ? std::optional(std::move(numbers)) : std::nullopt;
}

/// Of two files of one number the model is the checkpoint, and its optimizer comes along.
bool is_optimizer_file(const fs::path& path) {
  return path.extension() == ".pdopt" || path.filename().string().find("optim") != std::string::npos;
}

auto order_of(const CheckpointInfo& c) {
  const std::uint64_t number = c.numbered_by == NumberedBy::nothing ? 0
                               : c.numbered_by == NumberedBy::epoch ? *c.epoch
                                                                    : *c.step;
  return std::tuple(c.numbered_by, number, !is_optimizer_file(c.path), c.modified_ns, c.path);
}

struct Found {
  CheckpointInfo info;
  NameNumbers numbers;
};

/// What the names say, once all are known: a number that no word explains is a series' where there is another of it.
std::vector<CheckpointInfo> number(std::vector<Found> found) {
  std::map<std::string, std::set<std::uint64_t>> series;
  for (const Found& f : found) {
    if (f.numbers.last) series[f.numbers.series].insert(*f.numbers.last);
  }
  std::vector<CheckpointInfo> out;
  for (auto& [info, numbers] : found) {
    const bool one_of_many = numbers.last && series[numbers.series].size() > 1;
    info.step = numbers.step;
    info.epoch = numbers.epoch;
    info.metrics = std::move(numbers.metrics);
    if (numbers.last && (numbers.apart || one_of_many)) info.step = numbers.last;
    info.numbered_by = numbers.step ? NumberedBy::step
                       : info.step  ? NumberedBy::number
                       : info.epoch ? NumberedBy::epoch
                                    : NumberedBy::nothing;
    info.numbered = numbers.step || numbers.epoch || (one_of_many && numbers.apart && !info.is_folder);
    out.push_back(std::move(info));
  }
  std::sort(out.begin(), out.end(),
            [](const CheckpointInfo& a, const CheckpointInfo& b) { return order_of(a) < order_of(b); });
  return out;
}

/// All checkpoints by name, oldest first. `linked` receives the names that links in the directory point to.
Result<std::vector<CheckpointInfo>> scan(const fs::path& directory, const ScanOptions& options,
                                         std::set<std::string>* linked) {
  if (!options.pattern.empty() && !is_name_pattern(options.pattern)) {
    return fail(ErrorCode::invalid_argument, "the pattern '{}' is no file name with {{step}} or {{epoch}} in it",
                options.pattern);
  }
  std::vector<Found> found;
  std::error_code failed;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    if (linked != nullptr && it->is_symlink(ignored)) {
      const fs::path target = fs::read_symlink(it->path(), ignored).lexically_normal();
      linked->insert((target.filename().empty() ? target.parent_path() : target).filename().string());
    }
    if (it->path().filename().string().starts_with('.')) continue;
    struct stat s;
    if (::stat(it->path().c_str(), &s) != 0) {
      // A link that leads nowhere, or what was removed meanwhile.
      if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR) continue;
      return io_error(it->path(), errno, "cannot look at it");
    }
    const bool folder = S_ISDIR(s.st_mode);
    if (!folder && !S_ISREG(s.st_mode)) continue;  // a pipe would block
    auto numbers = recognise(it->path(), folder, options.pattern);
    if (!numbers) continue;
    CheckpointInfo info;
    info.path = it->path();
    info.is_folder = folder;
    info.modified_ns = nanoseconds(s.st_mtim);
    if (folder) {
      measure_folder(info);
    } else {
      info.size_bytes = static_cast<std::uint64_t>(s.st_size);
      info.changed_ns = nanoseconds(s.st_ctim);
      info.inode = s.st_ino;
    }
    found.push_back({std::move(info), std::move(*numbers)});
  }
  if (failed) return io_error(directory, failed.value(), "cannot read the directory");
  return number(std::move(found));
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

/// Whether it was the machine that did not let us look, and not the checkpoint: no permission, EIO, too many open
/// files. What was removed meanwhile is gone, and no reason to stop.
bool could_not_look(const CheckpointInfo& c) {
  if (!c.defect || c.defect->code != ErrorCode::io) return false;
  const int number = c.defect->os_errno;
  return number != ENOENT && number != ENOTDIR && number != ESTALE;
}

/// The first of `list` that could not be looked at, as an error.
Result<void> require_looks(std::span<const CheckpointInfo> list) {
  const auto it = std::find_if(list.begin(), list.end(), could_not_look);
  if (it == list.end()) return {};
  return tl::make_unexpected(*it->defect);
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

Error missing(std::string member, std::string message) {
  Error e;
  e.code = ErrorCode::truncated;
  e.message = std::move(message);
  e.member = std::move(member);
  return e;
}

/// A sharded model's index, {"weight_map": {tensor: file}}: every file that it names is there, and has that tensor.
void check_index(const fs::path& index, const ScanOptions& options, CheckpointInfo& info) {
  ValueId root = 0;
  const auto tree = read_json(index, options.limits, root);
  if (!tree) return set_defect(info, tree.error());
  const Tree::Entry* map = tree->find(root, "weight_map");
  if (map == nullptr || tree->kind(map->value) != ValueKind::dict) return;
  std::map<std::string, std::set<std::string>> shards;
  for (const Tree::Entry& e : tree->entries(map->value)) {
    if (tree->kind(e.value) != ValueKind::string || tree->kind(e.key) != ValueKind::string) continue;
    shards[std::string(tree->text(e.value))].emplace(tree->text(e.key));
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

/// What the Trainer of transformers leaves beside the model; trainer_state.json is the last that it writes.
bool lacks_trainer_state(const std::set<std::string>& names) {
  const bool trainer =
      names.contains("training_args.bin") || (names.contains("optimizer.pt") && names.contains("scheduler.pt"));
  return trainer && !names.contains("trainer_state.json");
}

/// A folder is valid if it is whole: each checkpoint in it is, there is one, and nothing that the others name is
/// missing.
void look_at_folder(const ScanOptions& options, CheckpointInfo& info) {
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
      look_at_file(file, options, info);
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

void look_at_all(std::vector<CheckpointInfo>& list, const ScanOptions& options,
                 const CheckpointIndex* index = nullptr) {
  constexpr std::size_t kWorthThreads = 64;
  parallel_for(list.size() < kWorthThreads ? 1 : thread_count(options.jobs), list.size(), [&](std::size_t i) {
    if (index == nullptr || !index->recall(list[i])) look_at(list[i], options);
  });
}

// ---- the best ---------------------------------------------------------------------------------------

Result<LatestReport> best_of(std::vector<CheckpointInfo> list, const LatestOptions& options) {
  ScanOptions quick = options.scan;
  quick.check = Check::quick;
  quick.values = true;
  look_at_all(list, quick);
  CKPT_CHECK(require_looks(list));
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
    if (options.scan.check == Check::full) {
      look_at(info, options.scan);
      CKPT_CHECK(require_looks({&info, 1}));
    }
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
  if (sidecar.empty() || sidecar.stem() != npz.stem() || !is_netcl_sidecar(sidecar)) return std::nullopt;
  return sidecar;
}

/// What an earlier run that was interrupted left of the folders that it removed.
Result<void> remove_rests(const fs::path& directory) {
  std::error_code failed;
  std::vector<fs::path> rests;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().filename().string().starts_with(kPrunedPrefix)) rests.push_back(it->path());
  }
  for (const fs::path& rest : rests) {
    fs::remove_all(rest, failed);
    if (failed) return io_error(rest, failed.value(), "cannot remove the rest of a pruned checkpoint");
  }
  return {};
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
    const auto unnumbered = std::count_if(list.begin(), list.end(),
                                          [](const CheckpointInfo& c) { return c.numbered_by == NumberedBy::nothing; });
    for (; !list.empty(); list.pop_back()) {
      CheckpointInfo& info = list.back();
      if (!options.any) {
        look_at(info, options.scan);
        CKPT_CHECK(require_looks({&info, 1}));
      }
      if (options.any || info.validity == Validity::valid) {
        report.by_time = info.numbered_by == NumberedBy::nothing && unnumbered > 1;
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
    // Of a long name the end goes: 255 bytes are all that a file's may have.
    const std::string name = (std::string(kPrunedPrefix) + info.path.filename().string()).substr(0, 255);
    const fs::path gone = info.path.parent_path() / name;
    std::error_code failed;
    fs::remove_all(gone, failed);
    if (!failed) fs::rename(info.path, gone, failed);
    if (failed) return io_error(info.path, failed.value(), "cannot remove it");
    fs::remove_all(gone, failed);
    if (failed) return io_error(gone, failed.value(), "cannot remove the rest of a pruned checkpoint");
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
    CKPT_CHECK(require_looks(list));
    if (options.remove) CKPT_CHECK(remove_rests(directory));

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
