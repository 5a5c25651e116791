#pragma once

#include <filesystem>

#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/error.h"
#include "run/checkpoint_index.h"

namespace netcl::ckpt {

/// Removes one checkpoint: its file, then netcl's sidecar; or a folder, which disappears in one step.
/// Errors: io.
Result<void> remove_checkpoint(const CheckpointInfo& checkpoint);

/// prune_checkpoints() for whoever holds the directory already. Without a rule all stay. What `index`, which may
/// be null, knows of a checkpoint is believed.
Result<PruneReport> prune_held(const std::filesystem::path& directory, const PruneOptions& options,
                               const CheckpointIndex* index);

}  // namespace netcl::ckpt
