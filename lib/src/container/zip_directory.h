#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// One entry of a zip's central directory, zip64 fields resolved.
struct ZipMember {
  std::uint32_t index = 0;  ///< its place in the central directory
  std::string name;         ///< bytes as stored; CP437 names without the UTF-8 flag are converted
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t size_bytes = 0;     ///< decoded
  std::uint64_t header_offset = 0;  ///< of the local header in the file
};

struct ZipDirectory {
  std::vector<ZipMember> members;  ///< in the order of the central directory
  std::uint64_t central_offset = 0;
  std::uint64_t central_bytes = 0;
  std::uint64_t end_offset = 0;  ///< of the end record, the one that is not zip64
  std::string comment;
};

/// An entry that stands for a folder.
inline bool is_folder(const ZipMember& member) { return member.name.ends_with('/') && member.size_bytes == 0; }

/// Shared by the storages of its members, which would else keep a copy of their entry each.
using ZipDirectoryPtr = std::shared_ptr<const ZipDirectory>;

/// True where the source begins as a zip does: with a local header, or with an end record where it is empty.
Result<bool> looks_like_zip(const ByteSource& source);

/// Parses the end record, the zip64 records and the whole central directory; strict where readers
/// disagree. Findings that still allow listing go to `problems`.
/// Errors: truncated, corrupt, limit_exceeded, unsupported (split archives), io.
Result<ZipDirectoryPtr> read_zip_directory(const SourcePtr& source, const Limits& limits, Problems& problems);

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

/// Cross-member checks for verify: overlaps, data descriptors, gaps, a second end record,
/// duplicate, absolute and ".." names.
/// `data_offsets`: where each member's data begins, 0 where that could not be found out.
void check_zip_layout(const SourcePtr& source, const ZipDirectory& directory,
                      std::span<const std::uint64_t> data_offsets, Problems& problems);

}  // namespace netcl::ckpt
