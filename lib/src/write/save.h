#pragma once

#include <filesystem>
#include <optional>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/save.h"

namespace netcl::ckpt {

/// Where a state that is saved as `path` goes: a path without an extension that is known gets ".npz".
std::filesystem::path saved_path(std::filesystem::path path);

/// save_state() of what is a checkpoint already. `format`: by default that of the extension.
Result<void> save_opened(Checkpoint checkpoint, const std::filesystem::path& path, std::optional<Format> format,
                         const SaveOptions& options);

}  // namespace netcl::ckpt
