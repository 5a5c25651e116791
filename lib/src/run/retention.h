#pragma once

#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/directory.h"
#include "run/checkpoint_index.h"

namespace netcl::ckpt {

/// A checkpoint's metric, where it has one that is a number.
std::optional<double> metric_of(const CheckpointInfo& checkpoint, std::string_view name);

/// True where `a` is strictly better.
bool is_better(const BestBy& by, double a, double b);

struct RetentionVerdict {
  bool keep = true;
  const char* reason = "";  ///< static text: "last", "best", "broken", …
};

/// What stays of `checkpoints`, which are oldest first and have been looked at. Steps, epochs and numbers
/// that no word explains are judged apart, as if each had a directory of its own; all files of one number together.
std::vector<RetentionVerdict> apply_retention(std::span<const CheckpointInfo> checkpoints, const Retention& retention);

/// Removes one checkpoint: its file, then netcl's sidecar; or a folder, which disappears in one step.
/// Errors: io.
Result<void> remove_checkpoint(const CheckpointInfo& checkpoint);

/// prune_checkpoints() for whoever holds the directory already. Without a rule all stay. What `index`, which may
/// be null, knows of a checkpoint is believed.
Result<PruneReport> prune_held(const std::filesystem::path& directory, const PruneOptions& options,
                               const CheckpointIndex* index);

/// Looks at one checkpoint: validity, and with `options.values` what it says of itself.
void look_at(CheckpointInfo& checkpoint, const ScanOptions& options);

}  // namespace netcl::ckpt
