#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// A file that appears under its name complete, or not at all. Bytes go to an unnamed temporary file
/// in the target's folder (a hidden random name if the file system has no O_TMPFILE); commit()
/// makes them durable and puts them in place in one step. Destroyed without commit(), it leaves
/// nothing behind and the target as it was.
/// Threads: write_at() may be called concurrently; everything else by one thread.
class NETCL_CKPT_EXPORT OutputFile {
 public:
  /// `replace`: whether an existing target may be replaced; its owner, permissions, access list and attributes are
  /// kept. A symbolic link is followed, so that the file it points to is replaced and the link stays.
  /// Errors: io; invalid_argument if the target exists and `replace` is false, or is a device, a pipe or a socket.
  static Result<OutputFile> create(const std::filesystem::path& target, bool replace);

  /// A file without a name, in TMPDIR, that is there to be read back with reopen(). It cannot be committed.
  /// Errors: io.
  static Result<OutputFile> scratch();

  /// Removes what writers that were killed left in a directory, files and folders; what is still being written stays.
  static void remove_abandoned(const std::filesystem::path& directory);

  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) noexcept;
  ~OutputFile();

  /// Claims `size_bytes` on the disk, so that a lack of space is found before the work.
  /// Errors: io (no space). A file system that cannot preallocate is no error.
  Result<void> preallocate(std::uint64_t size_bytes);

  /// Says that the file will not be larger than `size_bytes`, if that is all that is known. Claims nothing; it
  /// lets threads that write into a file in memory run side by side.
  void expect_at_most(std::uint64_t size_bytes);

  Result<void> write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes);

  /// What has been written so far, for reading back before the commit.
  /// Lifetime: independent of this object.
  Result<SourcePtr> reopen(std::uint64_t size_bytes) const;

  /// Cuts the file to `size_bytes` and syncs it: all of commit() that takes time or room.
  /// Errors: io.
  Result<void> sync(std::uint64_t size_bytes);

  /// Cuts the file to `size_bytes`, syncs it unless that is done, puts it in place of the target and syncs the folder.
  /// Errors: io; invalid_argument if the target appeared meanwhile and `replace` is false. The target is then as it
  /// was; if only the folder could not be synced, the new file is in place, and the message says so.
  /// Without `sync_folder` the caller syncs the folder, once for many files.
  Result<void> commit(std::uint64_t size_bytes, bool sync_folder = true);

 private:
  struct State;
  explicit OutputFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace netcl::ckpt
