#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace netcl::ckpt {

/// How a call that takes time goes about it.
struct Run {
  unsigned jobs = 0;  ///< threads; 0 is one for each core
  /// Called by any thread with the bytes done and the bytes in all, at most once for each block.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
  /// Once this is true the call ends with `cancelled`, and has changed nothing. Null is never.
  const std::atomic<bool>* cancel = nullptr;

  bool cancelled() const { return cancel != nullptr && cancel->load(std::memory_order_relaxed); }
};

}  // namespace netcl::ckpt
