#pragma once

#include <string>

#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// Reads `fd`, which it takes: a file where it lies, what cannot be read at a place as a copy of all that it gives.
/// Errors: io.
Result<SourcePtr> source_of_descriptor(int fd, const std::string& name);

}  // namespace netcl::ckpt
