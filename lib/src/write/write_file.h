#pragma once

#include <cstdint>

#include "format/write_plan.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/output_file.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

/// Pulls every part of `plan` into `out`, which the caller then commits. Memory is at most a few MiB
/// a thread, whatever the sizes.
/// Returns the file's size in bytes.
/// Errors: those of the payloads' readers, io, cancelled.
Result<std::uint64_t> write_file(const WritePlan& plan, OutputFile& out, const Run& run);

}  // namespace netcl::ckpt
