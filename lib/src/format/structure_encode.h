#pragma once

#include <string>

#include "format/structure.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// The structure of `checkpoint`, or "" where a flat list of tensors says it all and `even_if_flat` is
/// not set. `name_dtypes`: write the dtypes that NumPy lacks. `with_attributes`: attributes too, and with
/// `even_if_none` that there are none.
/// Errors: unsafe for an opaque value; unsupported for a value that contains itself.
Result<std::string> encode_structure(const Checkpoint& checkpoint, bool name_dtypes, bool with_attributes,
                                     bool even_if_flat = false, bool even_if_none = false);

/// A value as plain JSON, for netcl's sidecar: as Python's json.dump writes it (NaN, Infinity).
/// Errors: unsupported, naming the value that JSON cannot hold.
Result<std::string> to_plain_json(const Tree& tree, ValueId id);

}  // namespace netcl::ckpt
