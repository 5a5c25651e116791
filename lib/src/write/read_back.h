#pragma once

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Compares every value of what was written, as its own reader gives it, with what it was made from, and every tensor:
/// its name and shape, with options.verify its elements too. So no writer needs to know its reader's limits, and none
/// reports success for what the reader refuses.
/// Errors: unsupported, naming the tensor or value that came back otherwise; internal; those of the reader; cancelled.
Result<void> verify_written(const Result<Checkpoint>& read, const Checkpoint& from, const ConvertOptions& options);

}  // namespace netcl::ckpt
