#pragma once

#include <filesystem>

#include "format/write_plan.h"
#include "netcl/ckpt/error.h"
#include "write/write_file.h"

namespace netcl::ckpt {

/// Pulls every part of `plan` into a file of its own in `folder`, each synced; the folder is not.
/// Returns the sum of their sizes in bytes.
/// Errors: as write_file().
Result<std::uint64_t> write_folder(const WritePlan& plan, const std::filesystem::path& folder, const Run& run);

}  // namespace netcl::ckpt
