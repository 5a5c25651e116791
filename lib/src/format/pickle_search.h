#pragma once

#include <span>

#include "container/zip_directory.h"
#include "format/readers.h"

namespace netcl::ckpt {

/// Finds pickles in the members of an archive that no reader of a format takes for one, and names what they would
/// call. Programs load such members too: an archive's extra files, or what torch.package keeps.
class PickleSearch {
 public:
  /// `directory`: null where the archive is no zip. `script`: TorchScript's own classes count as known.
  PickleSearch(const SourcePtr& source, const ZipDirectoryPtr& directory, bool script, const OpenOptions& options,
               Checkpoint& out);

  /// Looks at a member whose data begins at `data_offset`. `start`: its first decoded bytes, two or more where it has
  /// them. A wrong CRC hides nothing: pickle.load has called by the time that zipfile compares it.
  /// Errors: io, out_of_memory; what is wrong with the member itself is a problem of the checkpoint, or its reader's.
  Result<void> search(const ZipMember& member, std::uint64_t data_offset, std::span<const std::byte> start);

  /// The same for a member that programs load as a pickle, whatever it begins with. Errors: likewise.
  Result<void> scan(const ZipMember& member, std::uint64_t data_offset);

  /// Both for a member whose decoded bytes are at hand.
  Result<void> search(const std::string& name, const Storage& bytes, std::span<const std::byte> start);
  Result<void> scan(const std::string& name, const Storage& bytes);

 private:
  Result<StoragePtr> bytes_of(const ZipMember& member, std::uint64_t data_offset) const;
  Result<void> read(const std::string& name, const Storage& bytes, bool certain);

  const SourcePtr& source_;
  const ZipDirectoryPtr& directory_;
  bool script_;
  Limits limits_;
  Checkpoint& out_;
  std::uint64_t readable_bytes_;  // of all members together: they may overlap, and be compressed
};

}  // namespace netcl::ckpt
