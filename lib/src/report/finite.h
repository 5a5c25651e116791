#pragma once

#include <cstdint>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/tensor.h"

namespace netcl::ckpt {

/// How many elements are no finite numbers; of a complex one either part.
struct NotFinite {
  std::uint64_t nan = 0;
  std::uint64_t inf = 0;
};

/// False for a type that has neither NaN nor Inf.
bool has_not_finite_codes(ScalarType type);

/// Reads all of the tensor.
/// Errors: those of TensorReader.
Result<NotFinite> scan_finite(const Tensor& tensor);

}  // namespace netcl::ckpt
