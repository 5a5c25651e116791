#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// All checkpoints of a directory by name, oldest first; none is opened. `linked`, which may be null, receives the
/// names that links in the directory point to. Errors: io; invalid_argument for a pattern without a number.
Result<std::vector<CheckpointInfo>> scan_checkpoints(const std::filesystem::path& directory, const ScanOptions& options,
                                                     std::set<std::string>* linked);

/// The regular files below a checkpoint's folder, sorted; links are not followed, hidden folders are passed over.
/// Errors: io.
Result<std::vector<std::filesystem::path>> files_below(const std::filesystem::path& folder);

/// Whether a file of a checkpoint's folder is one to look at, by its name.
bool is_part(const std::filesystem::path& file);

}  // namespace netcl::ckpt
