#pragma once

#include <string>
#include <vector>

#include "base/glob.h"
#include "model/compare.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/diff.h"

namespace netcl::ckpt {

/// Compares the values that are no tensors, and fills report.metadata and num_metadata. Numbers are the
/// same within the criterion's tolerances.
/// Errors: limit_exceeded where sharing would give too many pairs of values.
Result<void> diff_metadata(const Checkpoint& a, const Checkpoint& b, const Criterion& criterion,
                           const NameFilter& filter, const Limits& limits, DiffReport& report);

}  // namespace netcl::ckpt
