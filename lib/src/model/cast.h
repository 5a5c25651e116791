#pragma once

#include <atomic>
#include <memory>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/tensor.h"

namespace netcl::ckpt {

/// True for the types that casts convert between: float16, bfloat16, float32, float64.
bool is_castable(ScalarType type);

/// Counts finite numbers that a cast turned into Inf. Threads: shared by many readers.
using OverflowCount = std::atomic<std::uint64_t>;

/// `tensor` with its elements converted to `type` while they are read, round-to-nearest-even, NaN
/// stays NaN. Payload bytes are C order, little-endian. An element's overflow is added to `overflows` once, however
/// often it is read.
Tensor cast_tensor(Tensor tensor, ScalarType type, std::shared_ptr<OverflowCount> overflows);

}  // namespace netcl::ckpt
