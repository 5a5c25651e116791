// The records of a zip archive, to be put around payloads that others write.
//
//   local header | name | extra: zip64, padding | stored bytes      for each member
//   central header | name | extra: zip64, the caller's              for each member
//   [zip64 end record | zip64 locator]  end record
//
// PKWARE APPNOTE.TXT 6.3.9, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3.
// libzip writes archives too, but pulls members one after another through an 8 KiB buffer and cannot
// place them; the measurement that decided is in ARCHITECTURE.md.
#include "container/zip_writer.h"

#include <algorithm>
#include <concepts>

#include "base/endian.h"
#include "container/zip_records.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint16_t kPaddingId = 0xd935;   // as Android's zipalign pads: alignment, then zeros
constexpr std::uint16_t kDate = (1 << 5) | 1;  // 1980-01-01, the earliest that the format can say

template <std::unsigned_integral T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out.append(bytes, sizeof value);
}

// The stored size may grow past the decoded one by deflate's framing, so the choice leaves room.
bool needs_local_zip64(const ZipEntry& e) { return e.size_bytes >= 0xff000000; }

std::uint16_t flags(const ZipEntry& e) {
  const bool ascii =
      std::all_of(e.name.begin(), e.name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  return ascii ? 0 : kUtf8Flag;
}

std::uint32_t clamp32(std::uint64_t v) { return static_cast<std::uint32_t>(std::min<std::uint64_t>(v, kMax32)); }
std::uint16_t clamp16(std::uint64_t v) { return static_cast<std::uint16_t>(std::min<std::uint64_t>(v, 0xffff)); }

void put_common(std::string& out, const ZipEntry& e, bool zip64) {
  put(out, static_cast<std::uint16_t>(zip64 ? 45 : 20));
  put(out, flags(e));
  put(out, e.method);
  put(out, std::uint16_t{0});
  put(out, kDate);
  put(out, e.crc32);
}

}  // namespace

void place_zip_data(ZipEntry& entry, std::uint64_t alignment) {
  const std::uint64_t fixed =
      entry.header_offset + kLocalBytes + entry.name.size() + (needs_local_zip64(entry) ? 20 : 0);
  entry.data_offset = fixed;
  if (fixed % alignment != 0) {
    constexpr std::uint64_t kPaddingHeader = 6;
    entry.data_offset = (fixed + kPaddingHeader + alignment - 1) / alignment * alignment;
  }
}

std::string zip_local_header(const ZipEntry& entry) {
  const bool zip64 = needs_local_zip64(entry);
  std::string extra;
  if (zip64) {
    put(extra, kZip64Id);
    put(extra, std::uint16_t{16});
    put(extra, entry.size_bytes);
    put(extra, entry.stored_bytes);
  }
  const std::uint64_t end = entry.header_offset + kLocalBytes + entry.name.size() + extra.size();
  if (entry.data_offset > end) {
    const std::uint64_t padding = entry.data_offset - end;
    put(extra, kPaddingId);
    put(extra, static_cast<std::uint16_t>(padding - 4));
    extra.resize(extra.size() + padding - 4);
  }
  std::string out;
  put(out, kLocalSignature);
  put_common(out, entry, zip64);
  put(out, zip64 ? kMax32 : static_cast<std::uint32_t>(entry.stored_bytes));
  put(out, zip64 ? kMax32 : static_cast<std::uint32_t>(entry.size_bytes));
  put(out, static_cast<std::uint16_t>(entry.name.size()));
  put(out, static_cast<std::uint16_t>(extra.size()));
  return out + entry.name + extra;
}

std::string zip_central_directory(std::span<const ZipEntry> entries, std::uint64_t offset_bytes,
                                  std::string_view comment) {
  std::string out;
  for (const ZipEntry& e : entries) {
    std::string extra;
    for (const std::uint64_t v : {e.size_bytes, e.stored_bytes, e.header_offset}) {
      if (v >= kMax32) put(extra, v);
    }
    const bool zip64 = !extra.empty();
    if (zip64) {
      std::string header;
      put(header, kZip64Id);
      put(header, static_cast<std::uint16_t>(extra.size()));
      extra = header + extra;
    }
    extra += e.extra;
    put(out, kCentralSignature);
    put(out, std::uint16_t{(3 << 8) | 45});  // made by: Unix, so that the mode below counts
    put_common(out, e, zip64);
    put(out, clamp32(e.stored_bytes));
    put(out, clamp32(e.size_bytes));
    put(out, static_cast<std::uint16_t>(e.name.size()));
    put(out, static_cast<std::uint16_t>(extra.size()));
    put(out, std::uint16_t{0});               // comment
    put(out, std::uint16_t{0});               // disk
    put(out, std::uint16_t{0});               // internal attributes
    put(out, std::uint32_t{0100644U << 16});  // a regular file, rw-r--r--
    put(out, clamp32(e.header_offset));
    out += e.name;
    out += extra;
  }
  const std::uint64_t bytes = out.size();
  const std::uint64_t count = entries.size();
  if (count >= 0xffff || bytes >= kMax32 || offset_bytes >= kMax32) {
    put(out, kEnd64Signature);
    put(out, std::uint64_t{44});
    put(out, std::uint16_t{(3 << 8) | 45});
    put(out, std::uint16_t{45});
    put(out, std::uint32_t{0});
    put(out, std::uint32_t{0});
    put(out, count);
    put(out, count);
    put(out, bytes);
    put(out, offset_bytes);
    put(out, kLocator64Signature);
    put(out, std::uint32_t{0});
    put(out, offset_bytes + bytes);
    put(out, std::uint32_t{1});
  }
  put(out, kEndSignature);
  put(out, std::uint16_t{0});
  put(out, std::uint16_t{0});
  put(out, clamp16(count));
  put(out, clamp16(count));
  put(out, clamp32(bytes));
  put(out, clamp32(offset_bytes));
  put(out, static_cast<std::uint16_t>(comment.size()));
  return out.append(comment);
}

}  // namespace netcl::ckpt
