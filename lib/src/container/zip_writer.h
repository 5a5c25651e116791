#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace netcl::ckpt {

/// One member of an archive that is being written.
struct ZipEntry {
  std::string name;          ///< UTF-8
  std::string extra;         ///< extra fields for the central directory only
  std::uint16_t method = 0;  ///< 0 stored, 8 deflated
  std::uint32_t crc32 = 0;   ///< of the decoded bytes
  std::uint64_t stored_bytes = 0;
  std::uint64_t size_bytes = 0;     ///< decoded
  std::uint64_t header_offset = 0;  ///< of the local header
  std::uint64_t data_offset = 0;    ///< of the stored bytes
};

/// What a name or an extra field may have at most; the format counts them in 16 bits.
inline constexpr std::size_t kMaxZipFieldBytes = 0xffff;

/// Sets entry.data_offset from name, size_bytes and header_offset: after the local header, which is
/// padded so that the stored bytes begin at a multiple of `alignment` (a power of two).
void place_zip_data(ZipEntry& entry, std::uint64_t alignment);

/// The local header, exactly data_offset - header_offset bytes.
std::string zip_local_header(const ZipEntry& entry);

/// The central directory and the end records, zip64 where a number needs it, for a directory that
/// begins at `offset_bytes`; `comment` is under 64 KiB. The same entries give the same bytes: times are 1980-01-01.
std::string zip_central_directory(std::span<const ZipEntry> entries, std::uint64_t offset_bytes,
                                  std::string_view comment);

}  // namespace netcl::ckpt
