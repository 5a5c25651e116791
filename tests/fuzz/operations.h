#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt::fuzz {

/// A folder of this process in memory, for what goes through files. Emptied at the first call.
const std::filesystem::path& scratch();

/// A file in it.
std::filesystem::path write_scratch(std::string_view name, std::span<const std::byte> bytes);

/// Does with any bytes what the commands do: verify, repair, inspect, diff, strip, and convert to each format, whose
/// output is read back. Aborts where a promise is broken.
void run_operations(std::span<const std::byte> bytes);

/// The same for what looks at a file in a directory: peek, list, latest, prune and manifests.
void run_directory_operations(std::span<const std::byte> bytes);

}  // namespace netcl::ckpt::fuzz
