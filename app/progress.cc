// The progress bar, and stopping cleanly.
#include "progress.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "render_human.h"

namespace netcl::ckpt::app {
namespace {

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free, "it is set by a signal handler");

void on_signal(int number) {
  stop = true;
  ::signal(number, SIG_DFL);
}

}  // namespace

const std::atomic<bool>& stop_requested() {
  for (const int number : {SIGINT, SIGTERM}) {
    // A signal that the parent told us to ignore (nohup) stays ignored.
    if (::signal(number, on_signal) == SIG_IGN) ::signal(number, SIG_IGN);
  }
  return stop;
}

Progress::Progress(bool wanted)
    : wanted_(wanted && ::isatty(STDERR_FILENO) == 1), next_(start_ + std::chrono::milliseconds(500)) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (!wanted_) return;
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double share = total_bytes == 0 ? 1 : static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  const double rate = static_cast<double>(done_bytes) / seconds;
  constexpr int kWidth = 30;
  const int filled = std::clamp(static_cast<int>(share * kWidth), 0, kWidth);
  fmt::print(stderr, "\r\x1b[K{:#>{}}{:.>{}} {:3.0f} %  {}  {}/s  {:.0f} s left", "", filled, "", kWidth - filled,
             share * 100, bytes_text(done_bytes), bytes_text(static_cast<std::uint64_t>(rate)),
             share > 0 ? seconds / share - seconds : 0.0);
}

}  // namespace netcl::ckpt::app
