#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "format/write_plan.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/output_file.h"

namespace netcl::ckpt {

struct WriteControl {
  unsigned jobs = 0;  ///< threads; 0 is one for each core
  /// Called with the bytes done and the bytes in all, by any thread, at most once for each block.
  std::function<void(std::uint64_t, std::uint64_t)> progress;
  /// Where it becomes true the write ends with `cancelled`. May be null.
  const std::atomic<bool>* cancel = nullptr;
};

/// Pulls every part of `plan` into `out`, which the caller then commits. Memory is at most a few MiB
/// a thread, whatever the sizes.
/// Returns the file's size in bytes.
/// Errors: those of the payloads' readers, io, cancelled.
Result<std::uint64_t> write_file(const WritePlan& plan, OutputFile& out, const WriteControl& control);

}  // namespace netcl::ckpt
