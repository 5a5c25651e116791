// The checkpoints of a run. What makes it safe lies elsewhere: one file is replaced in one step
// (io/output_file), order and validity come from the directory (scan.cc, check.cc), the rules only ever keep
// (retention.cc), and the kernel's lock ends with its holder (io/directory_lock). Here they are put in order:
// first the new one is durable, then old ones go.
#include "netcl/ckpt/manager.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>

#include "base/try.h"
#include "format/file_extension.h"
#include "io/directory_lock.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/output_file.h"
#include "run/checkpoint_index.h"
#include "run/checkpoint_name.h"
#include "run/prune.h"
#include "run/retention.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;  // the other one is set, by people and by daemons

bool has_rule(const Retention& r) { return r.keep_last > 0 || r.keep_every > 0 || r.keep_best; }

Value metrics_value(const Metrics& metrics) {
  Value::Entries entries;
  for (const auto& [name, value] : metrics) entries.emplace_back(name, value);
  return Value::dict(std::move(entries));
}

Result<Value> numbered_state(const Value& state, std::uint64_t step, std::uint64_t epoch, const Metrics& metrics) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (!state.is_dict()) return fail(ErrorCode::invalid_argument, "the state of a run is a dict");
  if (step > kMax || epoch > kMax) return fail(ErrorCode::invalid_argument, "no such step or epoch");
  return state.with_default("step", step).with_default("epoch", epoch).with_default("metrics", metrics_value(metrics));
}

}  // namespace

struct CheckpointManager::State {
  State(fs::path folder, ManagerOptions manager_options, DirectoryLock directory_lock)
      : directory(std::move(folder)), options(std::move(manager_options)), lock(std::move(directory_lock)) {}

  const fs::path directory;
  const ManagerOptions options;
  const DirectoryLock lock;
  const pid_t owner = ::getpid();

  /// The state of a manager that may be used; one that was moved from has none, one in a child after fork() has no
  /// lock, and perhaps a save under way whose thread it lacks.
  static Result<State*> of(const std::unique_ptr<State>& state) {
    if (!state) return fail(ErrorCode::invalid_argument, "this manager was moved from");
    if (::getpid() != state->owner) {
      return fail(ErrorCode::invalid_argument, "this manager is process {}'s; a child after fork() opens its own",
                  state->owner);
    }
    return state.get();
  }

  std::atomic<bool> requested = false;
  static_assert(std::atomic<bool>::is_always_lock_free, "request_save() is called in signal handlers");
  bool overdue = false;  // a save failed
  std::optional<std::uint64_t> last_step;
  std::uint64_t last_epoch = 0;
  Clock::time_point last_time = Clock::now();

  std::mutex mutex;  // of what the thread that writes uses too
  std::vector<std::string> kept_names;
  std::optional<CheckpointIndex> index;
  Result<void> tidied;  // of the last save

  std::optional<PendingSave> pending;  // destroyed first: it uses all of the above

  bool is_due(std::uint64_t step, std::uint64_t epoch) const {
    if (last_step == step) return false;
    const ManagerOptions& o = options;
    return overdue || requested || (o.every_steps > 0 && step % o.every_steps == 0) ||
           (o.every_epochs > 0 && epoch > last_epoch && epoch % o.every_epochs == 0) ||
           (o.every_seconds > 0 && Clock::now() - last_time >= std::chrono::duration<double>(o.every_seconds));
  }

  Result<void> finish_pending() {
    if (!pending) return {};
    auto outcome = pending->wait();
    pending.reset();
    if (!outcome) {
      overdue = true;
      last_step.reset();
    }
    return outcome;
  }

  Result<void> wait() {
    CKPT_CHECK(finish_pending());
    return outcome_of_tidying();
  }

  /// Not a failure of the save, which need not be made again.
  Result<void> outcome_of_tidying() {
    const std::lock_guard held(mutex);
    return std::exchange(tidied, {});
  }

  void keep(std::string name) {
    const std::lock_guard held(mutex);
    kept_names.push_back(std::move(name));
  }

  /// After a save, in the thread that wrote it.
  Result<void> tidy() {
    if (!index) index = CheckpointIndex::read(directory);
    PruneOptions prune;
    prune.scan.pattern = options.pattern;
    prune.scan.run = options.run;
    prune.retention = options.retention;
    prune.protect = kept_names;
    prune.remove = has_rule(options.retention);
    CKPT_TRY(PruneReport report, prune_held(directory, prune, &*index));
    std::vector<CheckpointInfo> left;
    for (auto& verdict : report.verdicts) {
      if (verdict.keep || !prune.remove) left.push_back(std::move(verdict.checkpoint));
    }
    return index->update(directory, left);
  }

  Result<void> save(std::uint64_t step, std::uint64_t epoch, const Value& state, const Metrics& metrics,
                    CompressionChoice compression, bool may_be_background) {
    CKPT_CHECK(finish_pending());
    const Result<void> tidied_before = outcome_of_tidying();
    const bool asked = requested.exchange(false);  // whoever asks from now on asks for the next one
    const bool background = may_be_background && !asked;
    if (auto begun = write(step, epoch, state, metrics, compression, background); !begun) {
      overdue = true;
      if (asked) requested = true;
      return begun;
    }
    overdue = false;
    last_step = step;
    last_epoch = epoch;
    last_time = Clock::now();
    if (!tidied_before) return tidied_before;
    return background ? Result<void>() : outcome_of_tidying();
  }

  Result<void> write(std::uint64_t step, std::uint64_t epoch, const Value& state, const Metrics& metrics,
                     CompressionChoice compression, bool background) {
    CKPT_TRY(const Value whole, numbered_state(state, step, epoch, metrics));
    SaveOptions save_options;
    save_options.compression = compression;
    save_options.run = options.run;
    save_options.verify = true;  // before older ones go for it
    save_options.on_durable = [this]() -> Result<void> {
      const std::lock_guard held(mutex);
      tidied = guarded([&] { return tidy(); });
      return {};
    };
    const fs::path path = directory / format_checkpoint_name(options.pattern, step, epoch);
    if (background) {
      CKPT_TRY(PendingSave begun, save_async(whole, path, save_options));
      pending.emplace(std::move(begun));
      return {};
    }
    return save_state(whole, path, save_options);
  }

  Result<std::optional<Restored>> restore(const std::optional<BestBy>& best) {
    CKPT_CHECK(wait());
    LatestOptions latest;
    latest.scan.pattern = options.pattern;
    latest.scan.run = options.run;
    latest.scan.check = Check::full;  // it is about to be read as a whole
    latest.best = best;
    CKPT_TRY(LatestReport report, latest_checkpoint(directory, latest));
    // Only what is torn or damaged is surely no checkpoint: whoever begins anew for any other reason overwrites a run.
    if (!report.found) {
      for (const CheckpointInfo& c : report.skipped) {
        if (c.validity == Validity::unknown && c.defect) return tl::make_unexpected(*c.defect);
      }
      return std::nullopt;
    }
    CKPT_TRY(Checkpoint checkpoint, open_checkpoint(report.found->path));
    keep(report.found->path.filename().string());
    last_step = report.found->step;  // the run goes on from here
    last_epoch = report.found->epoch.value_or(0);
    return Restored{std::move(*report.found), std::move(checkpoint), std::move(report.skipped)};
  }
};

CheckpointManager::CheckpointManager(std::unique_ptr<State> state) : state_(std::move(state)) {}
CheckpointManager::CheckpointManager(CheckpointManager&&) noexcept = default;
CheckpointManager::~CheckpointManager() {
  // In a child the thread of a save that is under way is not there to wait for, nor to let go of what it holds.
  if (state_ && ::getpid() != state_->owner) static_cast<void>(state_.release());
}

Result<CheckpointManager> CheckpointManager::open(const fs::path& directory, ManagerOptions options) {
  return guarded([&]() -> Result<CheckpointManager> {
    if (!is_name_pattern(options.pattern) || !written_format(options.pattern)) {
      return fail(ErrorCode::invalid_argument,
                  "the pattern '{}' is no file name with {{step}} or {{epoch}} in it and an extension of a format "
                  "that is written, as 'iter_{{step}}.npz'",
                  options.pattern);
    }
    if (!tells_numbers_apart(options.pattern)) {
      return fail(ErrorCode::invalid_argument,
                  "the pattern '{}' gives different steps or epochs one name; put something between the numbers, as in "
                  "'e{{epoch}}-s{{step}}.npz'",
                  options.pattern);
    }
    std::error_code failed;
    fs::create_directories(directory, failed);
    if (failed) return fail_io(failed.value(), directory.string(), "cannot make the directory");
    CKPT_TRY(DirectoryLock lock, DirectoryLock::take(directory, true));
    OutputFile::remove_abandoned(directory);
    return CheckpointManager(std::make_unique<State>(directory, std::move(options), std::move(lock)));
  });
}

Result<bool> CheckpointManager::maybe_save(std::uint64_t step, std::uint64_t epoch, const Value& state,
                                           const Metrics& metrics) {
  return guarded([&]() -> Result<bool> {
    CKPT_TRY(State * own, State::of(state_));
    if (!own->is_due(step, epoch)) return false;
    CKPT_CHECK(own->save(step, epoch, state, metrics, own->options.compression, own->options.async));
    return true;
  });
}

Result<void> CheckpointManager::save_final(std::uint64_t step, std::uint64_t epoch, const Value& state,
                                           const Metrics& metrics) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(State * own, State::of(state_));
    return own->save(step, epoch, state, metrics, own->options.final_compression, false);
  });
}

Result<std::optional<Restored>> CheckpointManager::restore_latest() {
  return guarded([&]() -> Result<std::optional<Restored>> {
    CKPT_TRY(State * own, State::of(state_));
    return own->restore(std::nullopt);
  });
}

Result<std::optional<Restored>> CheckpointManager::restore_best() {
  return guarded([&]() -> Result<std::optional<Restored>> {
    CKPT_TRY(State * own, State::of(state_));
    const auto& best = own->options.retention.keep_best;
    if (!best) return fail(ErrorCode::invalid_argument, "retention.keep_best does not say what is best");
    return own->restore(best);
  });
}

void CheckpointManager::protect(std::uint64_t step, std::uint64_t epoch) {
  if (State::of(state_)) state_->keep(format_checkpoint_name(state_->options.pattern, step, epoch));
}

Result<void> CheckpointManager::wait() {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(State * own, State::of(state_));
    return own->wait();
  });
}

void CheckpointManager::request_save() noexcept {
  if (state_) state_->requested = true;
}

}  // namespace netcl::ckpt
