#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/cursor.h"
#include "container/zip_directory.h"

// The records of a zip archive as they lie in a file, for those who read them by the directory and for those
// who must do without it.

namespace netcl::ckpt {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::uint32_t kDescriptorSignature = 0x08074b50;

// Without the name, extra fields and comment that follow.
constexpr std::size_t kLocalBytes = 30;
constexpr std::size_t kCentralBytes = 46;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::size_t kLocator64Bytes = 20;
constexpr std::size_t kMaxCentralBytes = kCentralBytes + 3 * 0xffff;
constexpr std::size_t kMaxCommentBytes = 0xffff;

constexpr std::uint16_t kEncryptedFlag = 0x0001;
constexpr std::uint16_t kDescriptorFlag = 0x0008;
constexpr std::uint16_t kPatchFlag = 0x0020;
constexpr std::uint16_t kStrongEncryptionFlag = 0x0040;
constexpr std::uint16_t kUtf8Flag = 0x0800;
constexpr std::uint16_t kMaskedFlag = 0x2000;

constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kDeflated = 8;

/// In a number's place: it is in the zip64 extra field.
constexpr std::uint32_t kMax32 = 0xffffffff;
constexpr std::uint16_t kZip64Id = 0x0001;

/// A local header without its name and extra fields, which follow it.
struct ZipLocalHeader {
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t stored_bytes = 0;   ///< apply_zip64() has still to be called
  std::uint64_t decoded_bytes = 0;  ///< likewise
  std::uint16_t name_bytes = 0;
  std::uint16_t extra_bytes = 0;
  std::uint64_t size_bytes() const { return kLocalBytes + name_bytes + extra_bytes; }
};

/// The local header at the cursor, which then stands at the name. Nothing where there is none.
std::optional<ZipLocalHeader> parse_local_header(ByteCursor& cursor);

/// The record of the directory at the cursor, which lies at `at` in the file.
/// Errors: corrupt, unsupported (split archives).
Result<ZipMember> parse_central_header(ByteCursor& cursor, std::uint64_t at);

/// Replaces the numbers that say 0xffffffff by the zip64 extra field's, in the order given.
/// False where the field is needed and missing, or too short, or extra fields overrun.
bool apply_zip64(std::string_view extra, std::initializer_list<std::uint64_t*> values);

/// What a name without the UTF-8 flag is by the specification.
std::string from_code_page_437(std::string_view name);

}  // namespace netcl::ckpt
