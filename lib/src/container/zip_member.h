#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "container/zip_directory.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/source.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// Resolves where the member's data begins, from its local header, and compares that header with the
/// directory. One read. With `head`, the same read also returns up to `head_bytes` of what follows
/// the local header (the stored bytes).
struct ZipMemberData {
  std::uint64_t offset_bytes = 0;
  std::vector<std::byte> head;
};
Result<ZipMemberData> locate_zip_member(const SourcePtr& source, const ZipDirectory& directory, const ZipMember& member,
                                        std::size_t head_bytes, Problems& problems);

/// Whether a member's bytes are held to the CRC that the archive records.
enum class Checksum : std::uint8_t { compared, ignored };

/// The member's decoded bytes from `header_bytes` on, lazily; its reader inflates as far as asked
/// and checks the CRC when read through, unless `checksum` is ignored. Methods other than stored and deflate go through
/// libzip. `member` is one of `directory`. Errors: unsupported for a method that neither knows, encryption; corrupt
/// where the claimed size is beyond DEFLATE's own bound of 1032 times the stored size + 64.
Result<StoragePtr> zip_member_storage(const SourcePtr& source, const ZipDirectoryPtr& directory,
                                      const ZipMember& member, std::uint64_t data_offset, std::uint64_t header_bytes,
                                      Checksum checksum = Checksum::compared);

/// The first `num_bytes` decoded bytes of a member, or all where it has fewer: out of `data.head` where
/// that suffices, which costs no read.
/// Errors: as the storage's reader.
Result<std::vector<std::byte>> read_member_start(const ZipMember& member, const ZipMemberData& data,
                                                 const StoragePtr& storage, std::uint64_t num_bytes);

}  // namespace netcl::ckpt
