#pragma once

#include <span>
#include <vector>

#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/error.h"
#include "run/checkpoint_index.h"

namespace netcl::ckpt {

/// Opens a checkpoint as far as options.check says, and fills in its validity and, with options.values, what it says of
/// itself.
void check_checkpoint(CheckpointInfo& checkpoint, const ScanOptions& options);

/// The same of all; what `index`, which may be null, knows of one is believed.
void check_checkpoints(std::vector<CheckpointInfo>& checkpoints, const ScanOptions& options,
                       const CheckpointIndex* index = nullptr);

/// Errors: the first of those that the machine did not let us look at: no permission, EIO, too many open files.
Result<void> require_checked(std::span<const CheckpointInfo> checkpoints);

}  // namespace netcl::ckpt
