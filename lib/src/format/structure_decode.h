#pragma once

#include <string_view>

#include "format/structure.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"

namespace netcl::ckpt {

/// Rebuilds `checkpoint.root` and, where the document has them, its attributes from the flat dict that
/// root is now. A tensor that the document does not name stays at the top.
/// Errors: corrupt where the text is no such document; limit_exceeded.
Result<void> decode_structure(std::string_view json, const Limits& limits, Checkpoint& checkpoint);

}  // namespace netcl::ckpt
