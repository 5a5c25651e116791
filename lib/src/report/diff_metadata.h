#pragma once

#include <string>
#include <vector>

#include "model/compare.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/diff.h"

namespace netcl::ckpt {

/// Which dotted names are compared: those that an include glob matches, all where there is none, and no
/// exclude glob.
struct NameFilter {
  const std::vector<std::string>& include;
  const std::vector<std::string>& exclude;

  bool selects(const std::string& name) const;
  bool selects_all() const { return include.empty() && exclude.empty(); }
};

/// Compares the values that are no tensors, and fills report.metadata and num_metadata. Numbers are the
/// same within the criterion's tolerances.
/// Errors: limit_exceeded where sharing would give too many pairs of values.
Result<void> diff_metadata(const Checkpoint& a, const Checkpoint& b, const Criterion& criterion,
                           const NameFilter& filter, const Limits& limits, DiffReport& report);

}  // namespace netcl::ckpt
