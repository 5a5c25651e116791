// What of a directory is a checkpoint, by names alone.
//
// Order comes from the numbers in the names, never from times: a clock that goes backwards, or a copy that
// gives all files one time, must not make an old checkpoint the newest.
#include "run/scan.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>
#include <tuple>

#include "base/try.h"
#include "netcl/ckpt/open.h"
#include "run/checkpoint_name.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxFolderDepth = 4;  // a checkpoint's own: iter_0001000/mp_rank_00/model_optim_rng.pt

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

}  // namespace

Result<std::vector<fs::path>> files_below(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    const bool hidden = it->path().filename().string().starts_with('.');
    if (it.depth() >= kMaxFolderDepth || (hidden && it->is_directory(ignored))) it.disable_recursion_pending();
    if (fs::is_regular_file(it->symlink_status(ignored))) out.push_back(it->path());
  }
  if (failed) return fail_io(failed.value(), folder.string(), "cannot read the directory");
  std::sort(out.begin(), out.end());
  return out;
}

bool is_part(const fs::path& file) { return checkpoint_stem(file.filename().string()) || file.extension() == ".bin"; }

Result<std::vector<CheckpointInfo>> scan_checkpoints(const fs::path& directory, const ScanOptions& options,
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
      return fail_io(errno, it->path().string(), "cannot look at it");
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
  if (failed) return fail_io(failed.value(), directory.string(), "cannot read the directory");
  return number(std::move(found));
}

}  // namespace netcl::ckpt
