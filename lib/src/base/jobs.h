#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/try.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

inline tl::unexpected<Error> fail_cancelled() { return fail(ErrorCode::cancelled, "stopped before it was done"); }

/// The same run without its progress: of a step beside the one whose progress is told.
inline Run quiet(const Run& run) {
  Run out = run;
  out.progress = nullptr;
  return out;
}

/// What the threads of one Run share: the first error, whether to go on, and how many bytes are done.
/// Threads: all members may be called concurrently, result() once the threads have ended.
class RunState {
 public:
  /// Lifetime: borrows `run`.
  RunState(const Run& run, std::uint64_t total_bytes) : run_(run), total_bytes_(total_bytes) {}

  /// True after an error, and once the run is cancelled.
  bool stopped() {
    if (failed_.load(std::memory_order_relaxed)) return true;
    if (!run_.cancelled()) return false;
    add(fail_cancelled().value());
    return true;
  }

  void add(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    failed_ = true;
  }

  void advance(std::uint64_t bytes) {
    const std::uint64_t done = done_bytes_ += bytes;
    if (run_.progress) run_.progress(done, total_bytes_);
  }

  Result<void> result() const {
    if (error_) return tl::make_unexpected(*error_);
    return {};
  }

 private:
  const Run& run_;
  std::uint64_t total_bytes_;
  std::atomic<std::uint64_t> done_bytes_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::optional<Error> error_;
};

/// Calls worker(i) for each i of `cost_bytes`: the costliest first, so that no thread is left with it at the end, and
/// of equal ones in order. Each thread has a worker of its own from `make_worker`; little work gets one thread. Errors:
/// cancelled, between two calls.
template <class MakeWorker>
Result<void> run_jobs(const Run& run, std::span<const std::uint64_t> cost_bytes, const MakeWorker& make_worker) {
  constexpr std::uint64_t kWorthThreadsBytes = std::uint64_t{1} << 20;
  std::uint64_t total_bytes = 0;
  for (const std::uint64_t cost : cost_bytes) total_bytes += std::min(cost, ~std::uint64_t{0} - total_bytes);
  std::vector<std::size_t> order(cost_bytes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return cost_bytes[a] > cost_bytes[b]; });
  const unsigned threads = order.size() < 2 || total_bytes < kWorthThreadsBytes ? 1 : thread_count(run.jobs);
  RunState state(run, total_bytes);
  std::atomic<std::size_t> next = 0;
  run_on_threads(threads, [&] {
    auto worker = make_worker();
    for (std::size_t i = next++; i < order.size() && !state.stopped(); i = next++) {
      worker(order[i]);
      state.advance(cost_bytes[order[i]]);
    }
  });
  return state.result();
}

}  // namespace netcl::ckpt
