#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace netcl::ckpt::app {

/// A bar on standard error while a write takes longer than half a second; nothing where standard error
/// is no terminal. Threads: update() from any.
class Progress {
 public:
  explicit Progress(bool wanted);
  ~Progress();  ///< wipes the bar
  void update(std::uint64_t done_bytes, std::uint64_t total_bytes);

 private:
  using Clock = std::chrono::steady_clock;
  const bool wanted_;
  const Clock::time_point start_ = Clock::now();
  std::mutex mutex_;
  Clock::time_point next_;
  bool drawn_ = false;
};

/// Turns Ctrl-C and SIGTERM into a request to stop, so that a write can be undone; a second signal ends
/// the process at once. Lifetime: static storage.
const std::atomic<bool>& stop_requested();

}  // namespace netcl::ckpt::app
