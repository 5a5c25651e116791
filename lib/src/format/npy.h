#pragma once

#include "container/npy_header.h"
#include "format/readers.h"

namespace netcl::ckpt {

/// The array that `header` describes, over `payload` (the bytes after the header), as a value of `out.tree`. The
/// pickle of an object array is read: one of plain objects is a tensor without a storage, one that holds arrays, dicts
/// or lists is what they are.
/// Errors: corrupt, truncated, limit_exceeded.
Result<ValueId> add_npy_array(const NpyHeader& header, const StoragePtr& payload, const std::string& where,
                              const OpenOptions& options, Checkpoint& out);

/// The array in the npy file `source`. `where`: what problems and errors call it.
/// Errors: as add_npy_array(), unsupported, io.
Result<ValueId> add_npy_file(const SourcePtr& source, const std::string& where, const OpenOptions& options,
                             Checkpoint& out);

}  // namespace netcl::ckpt
