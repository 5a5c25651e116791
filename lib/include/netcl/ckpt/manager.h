#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/save.h"

namespace netcl::ckpt {

struct ManagerOptions {
  /// A save is due if any of these says so; 0 never does.
  std::uint64_t every_steps = 0;
  std::uint64_t every_epochs = 0;
  double every_seconds = 0;  ///< since the last save, by a clock that nobody sets
  /// What stays of the files that `pattern` names; without a rule all do.
  Retention retention;
  std::string pattern = "iter_{step}.npz";  ///< with `{step}`, `{epoch}` or both, and the format's extension
  bool async = false;                       ///< maybe_save() copies the state and returns; the writing goes on
  CompressionChoice compression = CompressionChoice::none;
  CompressionChoice final_compression = CompressionChoice::fast;
  Run run;
};

struct Restored {
  CheckpointInfo info;
  Checkpoint checkpoint;                ///< for load_parameters() and load_optimizer()
  std::vector<CheckpointInfo> skipped;  ///< newer (better) ones that are not valid, with what is wrong with them
};

/// The checkpoints of one training run, in one directory. The directory is the truth; `index.json` in it is a
/// cache that is made anew wherever it is wrong or missing.
///
///   auto manager = CheckpointManager::open("runs/7", {.every_steps = 500, .retention = {.keep_last = 3}});
///   if (!manager) return manager.error();
///   auto last = manager->restore_latest();
///   for (step = …) {
///     train();
///     auto saved = manager->maybe_save(step, epoch, state, {{"val_loss", loss}});
///     if (!saved) return saved.error();
///   }
///   return manager->save_final(step, epoch, state);
///
/// One save runs at a time. If one is due while an earlier one is still being written, the call waits for the
/// earlier one: training slows down to the disk, and no more than one copy of the state exists.
/// An error is returned by the call during which it comes up, one of a background save by the next call. If the
/// save failed, that call saves nothing itself, and the save stays due; if only an old file could not be removed,
/// it saves first. Whoever destroys a manager that has such an error, unread,
/// ends the program, as with PendingSave.
/// Old checkpoints go after the new one is durable. Those that stay whatever the rules say: the newest valid one,
/// the one that was restored, protected ones, and every file that is not named by `pattern`.
/// A new one is read back and compared before it takes its place, so that older ones never go for one that cannot be
/// restored.
/// Threads: one, request_save() excepted. A child after fork() does not hold the directory, and gets errors.
class NETCL_CKPT_EXPORT CheckpointManager {
 public:
  /// Makes the directory if it is missing, and holds it until destroyed. What a killed run leaves, its lock and
  /// its half-written files, is cleared away.
  /// Errors: invalid_argument if another manager holds it, or for a pattern without a number, with numbers that
  /// cannot be told apart ("{step}{epoch}.npz") or with an extension that cannot be written; io.
  static Result<CheckpointManager> open(const std::filesystem::path& directory, ManagerOptions options = {});

  CheckpointManager(CheckpointManager&&) noexcept;
  CheckpointManager& operator=(CheckpointManager&&) = delete;
  ~CheckpointManager();

  /// Saves if that is due. The state, a dict, gets "step", "epoch" and "metrics" if it has none of its own.
  /// Call it once a step; the same step is not saved twice.
  /// Returns: whether it saved, or (async) began to.
  /// Errors: as save_state(); io if the new one is saved and an old one cannot be removed.
  Result<bool> maybe_save(std::uint64_t step, std::uint64_t epoch, const Value& state, const Metrics& metrics = {});

  /// The last one of a run: compressed, due or not, and durable when it returns.
  /// Errors: as maybe_save().
  Result<void> save_final(std::uint64_t step, std::uint64_t epoch, const Value& state, const Metrics& metrics = {});

  /// The newest checkpoint whose every checksum holds; nothing if there is none. It is not removed while this
  /// manager lives.
  /// Errors: as latest_checkpoint(); that of the newest if there is none to restore and one that is neither torn nor
  /// damaged could not be read.
  Result<std::optional<Restored>> restore_latest();
  /// The best by retention.keep_best.
  /// Errors: invalid_argument without that rule.
  Result<std::optional<Restored>> restore_best();

  /// This step's checkpoint stays, whatever the rules say.
  void protect(std::uint64_t step, std::uint64_t epoch = 0);

  /// Returns when no save is under way.
  /// Errors: of the background save.
  Result<void> wait();

  /// The next maybe_save() saves, and returns when that is durable. For a handler of SIGTERM: async-signal-safe,
  /// and safe from any thread.
  void request_save() noexcept;

 private:
  struct State;
  explicit CheckpointManager(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace netcl::ckpt
