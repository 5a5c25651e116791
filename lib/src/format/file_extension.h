#pragma once

#include <filesystem>
#include <optional>

#include "netcl/ckpt/checkpoint.h"

namespace netcl::ckpt {

/// The format that a name of this extension promises.
std::optional<Format> format_of_extension(const std::filesystem::path& path);

/// The format that is written under this name, by its extension; nothing where that says none.
std::optional<Format> written_format(const std::filesystem::path& path);

}  // namespace netcl::ckpt
