#pragma once

#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/expectations.h"

namespace netcl::ckpt {

/// Adds a problem for each tensor that is missing, was not expected, or has another dtype or shape.
void compare_with_expected(const std::vector<ExpectedTensor>& expected, const Tree& tree,
                           const std::vector<NamedTensor>& tensors, Problems& problems);

}  // namespace netcl::ckpt
