#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

enum class Validity : std::uint8_t {
  unchecked,  ///< nobody looked
  valid,      ///< complete, as far as ScanOptions::check looked
  broken,     ///< truncated, torn or damaged: `defect` says how
  unknown,    ///< it could not be looked at, or is of no format that is read here
};

/// "unchecked", "valid", "broken", "unknown". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(Validity validity);

/// How much of each checkpoint is read to call it valid.
enum class Check : std::uint8_t {
  none,   ///< only names, times and sizes
  quick,  ///< trailer, directory and pair are complete; a few reads each
  full,   ///< all of it, as `netcl-ckpt verify`: every checksum
};

using Metrics = std::vector<std::pair<std::string, double>>;

/// What of a checkpoint's name orders it among others, in this order.
enum class NumberedBy : std::uint8_t {
  nothing,  ///< its time alone
  number,   ///< the last number, which no word explains: model_0019999.pth
  epoch,
  step,
};

/// One checkpoint of a directory: a file, or a folder of files that belong together.
struct CheckpointInfo {
  std::filesystem::path path;
  bool is_folder = false;
  std::optional<std::uint64_t> step;
  std::optional<std::uint64_t> epoch;
  NumberedBy numbered_by = NumberedBy::nothing;
  /// Whether the name surely says a step or an epoch, by a word or as one of a series: only such are ever pruned.
  bool numbered = false;
  std::int64_t modified_ns = 0;  ///< since 1970
  std::int64_t changed_ns = 0;   ///< the same of its inode, which nobody can set; 0 of a folder
  std::uint64_t inode = 0;       ///< 0 of a folder
  std::uint64_t size_bytes = 0;  ///< with its sidecar, or all of a folder
  Metrics metrics;
  Validity validity = Validity::unchecked;
  std::optional<Error> defect;
};

struct ScanOptions {
  Limits limits;
  Check check = Check::quick;
  /// Also read step, epoch and metrics out of the checkpoints, if the names do not say them.
  bool values = true;
  /// Name with `{step}` or `{epoch}` for a number: only such are checkpoints. Without it the names in use are known:
  /// iter_1000.npz, epoch_12.pt, checkpoint-1000/, epoch=3-step=500-val_loss=0.2.ckpt; else the last number is the
  /// step.
  std::string pattern;
  Run run;
};

/// All checkpoints in `directory`, oldest first: those without numbers by time, then those with a number that no word
/// explains, those with an epoch alone, those with a step; equal ones by time and name. Hidden files are passed over.
/// Errors: io if the directory cannot be read; invalid_argument for a pattern without a number.
NETCL_CKPT_EXPORT Result<std::vector<CheckpointInfo>> list_checkpoints(const std::filesystem::path& directory,
                                                                       const ScanOptions& options = {});

/// A metric and which end of it is good.
struct BestBy {
  std::string metric;
  bool higher = false;
};

/// "val_loss:min", "acc:max"; without the end it is known for names with "loss", "error", "acc" and the like.
/// Errors: invalid_argument if it is not known.
NETCL_CKPT_EXPORT Result<BestBy> parse_best(std::string_view text);

struct LatestOptions {
  ScanOptions scan;
  std::optional<BestBy> best;  ///< the best by this metric instead of the newest
  bool any = false;            ///< the newest, valid or not; nothing is opened
};

struct LatestReport {
  std::optional<CheckpointInfo> found;
  std::vector<CheckpointInfo> skipped;  ///< newer or better ones that are not valid, in that order
  bool by_time = false;                 ///< no number says which is the newest of several, only their times
};

/// The newest valid checkpoint. Opens the newest first and no more than it must, so that ten thousand older
/// ones cost nothing; `best` has to open all.
/// Errors: as list_checkpoints(); io too if one on the way cannot be looked at (no permission, an error of the disk,
/// too many open files): it may be the newest. None found is no error.
NETCL_CKPT_EXPORT Result<LatestReport> latest_checkpoint(const std::filesystem::path& directory,
                                                         const LatestOptions& options = {});

/// Which checkpoints stay. One that any rule keeps is kept. Files of one step belong together.
struct Retention {
  std::size_t keep_last = 0;        ///< this many newest valid ones
  std::uint64_t keep_every = 0;     ///< those whose step (epoch, if they have none) is a multiple
  std::optional<BestBy> keep_best;  ///< the best by this metric; of equal ones the newest
};

struct PruneOptions {
  ScanOptions scan;
  Retention retention;
  std::vector<std::string> protect;  ///< file names that stay
  bool remove = false;               ///< without it nothing is touched
};

struct PruneReport {
  struct Verdict {
    CheckpointInfo checkpoint;
    bool keep = true;
    std::string reason;
  };
  std::vector<Verdict> verdicts;    ///< oldest first
  std::uint64_t removed_bytes = 0;  ///< of those that go
};

/// Removes what `retention` does not keep, oldest first. Never the newest valid one, one whose name has no
/// number, one that cannot be judged, one that a symbolic link in the directory points to, or a
/// broken one newer than the newest valid one, which may be still being written. Files of one number are valid
/// together. Errors: as latest_checkpoint(), and then all stay; invalid_argument if no rule keeps anything, or a
/// running manager holds the directory; io if one cannot be removed.
NETCL_CKPT_EXPORT Result<PruneReport> prune_checkpoints(const std::filesystem::path& directory,
                                                        const PruneOptions& options);

}  // namespace netcl::ckpt
