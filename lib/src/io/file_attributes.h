#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Gives `fd` what the file or folder at `from` has, whose status is `old`: owner and group as far as this process may,
/// permissions, access lists and the attributes that users set. Where the owner or the group cannot be kept, nobody
/// gets more than he had.
/// Errors: io, under the name `shown`, if the permissions, an access list or an attribute cannot be kept.
Result<void> keep_attributes(int fd, const std::filesystem::path& from, const struct stat& old,
                             const std::string& shown);

}  // namespace netcl::ckpt
