#pragma once

#include <filesystem>
#include <string>

namespace netcl::ckpt {

// Hidden names of what is being written, ".netcl-ckpt-<random>.tmp", files and folders. Who writes one holds the
// kernel's lock on it, which ends with the process: what nobody holds was left by one that was killed.

std::string temporary_name();

/// Sixteen random digits and letters, for a name that nothing else has.
std::string random_suffix();

/// Takes the lock of a temporary that was just made; false if somebody removes it, who took it for abandoned.
bool claim_temporary(int fd);

/// Removes what nobody holds. If the file system has no locks, nothing is taken for abandoned.
void remove_abandoned_in(const std::filesystem::path& directory);

}  // namespace netcl::ckpt
