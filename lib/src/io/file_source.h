#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// Reads `fd`, which it takes: a file where it lies, what cannot be read at a place as a copy of all that it gives.
/// Errors: io.
Result<SourcePtr> source_of_descriptor(int fd, const std::string& name);

/// The file of this name in the folder that `path` is in, opened for each read anew.
/// Errors: corrupt where there is none; unsupported where `name` is no plain name of a regular file: it has a
/// separator, is "." or "..", or is a link's, which might lead out of the folder; io.
Result<SourcePtr> open_beside(const std::filesystem::path& path, std::string_view name);

}  // namespace netcl::ckpt
