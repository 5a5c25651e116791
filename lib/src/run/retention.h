#pragma once

#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/directory.h"

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

}  // namespace netcl::ckpt
