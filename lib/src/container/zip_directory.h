#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"

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

}  // namespace netcl::ckpt
