#pragma once

#include <filesystem>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// A folder that appears under its name with all its files, or not at all. They are written into a
/// hidden folder beside the target. Destroyed without commit(), it leaves nothing behind; a process that is killed
/// leaves the hidden folder, for a folder cannot be without a name as a file can, until the next one clears it away.
class OutputFolder {
 public:
  /// An existing folder's owner, permissions and access lists are kept.
  /// Errors: io; invalid_argument where the target exists, is not an empty folder and `replace` is false.
  static Result<OutputFolder> create(const std::filesystem::path& target, bool replace);

  OutputFolder(OutputFolder&& other) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder();

  /// Where the files are to be written.
  const std::filesystem::path& path() const { return temporary_; }

  /// Syncs the folder and puts it in the target's place, in one step if the file system can exchange two names; the
  /// old one is then removed. The caller has synced the files.
  /// Errors: io. The message says so if the new folder is in place all the same: not surely durable, or with the old
  /// one beside it that could not be removed.
  Result<void> commit();

 private:
  OutputFolder(std::filesystem::path target, std::filesystem::path temporary, int lock)
      : target_(std::move(target)), temporary_(std::move(temporary)), lock_(lock) {}
  /// The new one for the old; afterwards `temporary_` is the old one.
  Result<void> exchange();

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once nothing is left to remove
  int lock_ = -1;                    // a descriptor of it: io/temporary.h
};

}  // namespace netcl::ckpt
