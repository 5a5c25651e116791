#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "netcl/ckpt/open.h"

namespace netcl::ckpt {

/// The file that holds the tensor `name` in a folder of npy files: the name and ".npy", with "%XX" for
/// what a file name should not hold: control characters, "/", "\", "%", a dot at the start; "%" for "".
std::string npy_file_name(std::string_view name);

/// The name of the tensor that `file` holds; nothing where that is no name that npy_file_name() gives.
std::optional<std::string> npy_tensor_name(std::string_view file);

/// Errors: io; what is wrong with a single file is a problem of the checkpoint.
Result<Checkpoint> read_npy_folder(const std::filesystem::path& path, const OpenOptions& options);

}  // namespace netcl::ckpt
