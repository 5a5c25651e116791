#pragma once

#include <cstdint>
#include <filesystem>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// The right to change the checkpoints of a directory, held by one process at a time: flock(2) on it and on a hidden
/// file in it. The kernel lets go of it when its holder dies, so that a file left behind is no obstacle; it
/// is never removed, for a lock on a removed file excludes nobody.
/// Lifetime: held until destroyed; a child after fork() does not hold it.
class DirectoryLock {
 public:
  static constexpr const char* kFileName = ".netcl-ckpt.lock";

  /// `create`: make the file where there is none; without it a missing file is nothing to lock.
  /// Errors: invalid_argument where another holds it, naming that process; io. A file system without locks
  /// is no error.
  static Result<DirectoryLock> take(const std::filesystem::path& directory, bool create);

  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  ~DirectoryLock();

 private:
  DirectoryLock() = default;
  std::uint64_t folder_ = 0, file_ = 0;  // of the descriptors; 0 is none
};

}  // namespace netcl::ckpt
