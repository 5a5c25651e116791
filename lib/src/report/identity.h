#pragma once

#include <span>
#include <string>

#include "netcl/ckpt/inspect.h"

namespace netcl::ckpt {

/// The content identity of tensors that have been hashed, as netcl-ckpt-inspect(1) defines it; "" where one
/// of them has no hash.
std::string content_identity(std::span<const TensorInfo> tensors);

}  // namespace netcl::ckpt
