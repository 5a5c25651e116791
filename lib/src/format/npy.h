#pragma once

#include "container/npy_header.h"
#include "format/readers.h"

namespace netcl::ckpt {

/// The tensor that `header` describes, over `payload` (the bytes after the header). An object array
/// gets no storage; its pickle is read into `out.problems` and `out.tree`.
/// Errors: corrupt, truncated, limit_exceeded.
Result<Tensor> make_npy_tensor(const NpyHeader& header, const StoragePtr& payload, const std::string& where,
                               const ReadOptions& options, Checkpoint& out);

}  // namespace netcl::ckpt
