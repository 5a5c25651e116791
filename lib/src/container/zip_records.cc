// PKWARE APPNOTE.TXT 6.3.9: 4.3.7 local header, 4.3.12 central header, 4.5.3 zip64 extra field, appendix D names.
#include "container/zip_records.h"

#include <array>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// Code page 437 from 0x80 on, in Unicode: what a name without the UTF-8 flag is by the specification.
constexpr std::array<std::uint16_t, 128> kCodePage437 = {
    0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee,
    0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6,
    0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa,
    0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502,
    0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510, 0x2514,
    0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550,
    0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518, 0x250c,
    0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
    0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
    0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0};

}  // namespace

std::optional<ZipLocalHeader> parse_local_header(ByteCursor& cursor) {
  ZipLocalHeader h;
  const std::uint32_t signature = cursor.u32();
  cursor.skip(2);
  h.flags = cursor.u16();
  h.method = cursor.u16();
  cursor.skip(4);
  h.crc32 = cursor.u32();
  h.stored_bytes = cursor.u32();
  h.decoded_bytes = cursor.u32();
  h.name_bytes = cursor.u16();
  h.extra_bytes = cursor.u16();
  if (!cursor.ok() || signature != kLocalSignature) return std::nullopt;
  return h;
}

Result<ZipMember> parse_central_header(ByteCursor& cursor, std::uint64_t at) {
  auto bad = [at](std::string_view what) { return fail_at(ErrorCode::corrupt, "", at, "{}", what); };
  ZipMember m;
  const std::uint32_t signature = cursor.u32();
  cursor.skip(2);
  const auto version_needed = static_cast<std::uint8_t>(cursor.u16());  // the other byte is reserved
  m.flags = cursor.u16();
  m.method = cursor.u16();
  cursor.skip(4);
  m.crc32 = cursor.u32();
  m.stored_bytes = cursor.u32();
  m.size_bytes = cursor.u32();
  const std::uint16_t name_bytes = cursor.u16();
  const std::uint16_t extra_bytes = cursor.u16();
  const std::uint16_t comment_bytes = cursor.u16();
  const std::uint16_t disk = cursor.u16();
  cursor.skip(6);
  m.header_offset = cursor.u32();
  const std::string_view name = cursor.text(name_bytes);
  const std::string_view extra = cursor.text(extra_bytes);
  cursor.skip(comment_bytes);
  if (!cursor.ok() || signature != kCentralSignature) return bad("the zip directory is damaged");
  if (is_ascii(name)) {
    m.name = name;
  } else if ((m.flags & kUtf8Flag) == 0) {
    m.name = from_code_page_437(name);
  } else {
    if (!is_utf8(name)) return bad("a member's name says that it is UTF-8 and is not");
    m.name = name;
  }
  constexpr std::uint8_t kNewestVersion = 63;  // Python refuses the archive for a newer one
  if (version_needed > kNewestVersion) return bad("a member needs a version of the zip format that does not exist");
  if (m.name.find('\0') != std::string::npos) return bad("a member's name holds a NUL, where other readers end it");
  if (!apply_zip64(extra, {&m.size_bytes, &m.stored_bytes, &m.header_offset})) {
    return fail_at(ErrorCode::corrupt, m.name, at, "the zip64 sizes of this member are missing or damaged");
  }
  if (disk != 0) return fail_at(ErrorCode::unsupported, m.name, at, "the zip is one part of several");
  return m;
}

bool apply_zip64(std::string_view extra, std::initializer_list<std::uint64_t*> values) {
  std::size_t missing = 0;
  for (const std::uint64_t* v : values) missing += *v == kMax32;
  ByteCursor cursor(std::as_bytes(std::span(extra)));
  // Fewer than four bytes at the end are padding that some writers leave.
  while (cursor.ok() && cursor.remaining() >= 4) {
    const std::uint16_t id = cursor.u16();
    const std::uint16_t size = cursor.u16();
    const auto body = cursor.take(size);
    if (!cursor.ok()) return false;
    if (id != kZip64Id || missing == 0) continue;
    ByteCursor numbers(body);
    for (std::uint64_t* v : values) {
      if (*v == kMax32) *v = numbers.u64();
    }
    if (!numbers.ok()) return false;
    missing = 0;
  }
  return missing == 0;
}

std::string from_code_page_437(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      append_utf8(out, kCodePage437[byte - 0x80U]);
    }
  }
  return out;
}

}  // namespace netcl::ckpt
