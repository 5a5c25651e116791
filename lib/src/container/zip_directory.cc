// A strict reader of zip directories.
//
//   [prefix] { local header | name | extra | stored bytes [| data descriptor] }… [gap]
//   { central header | name | extra | comment }… [zip64 end record | zip64 locator] end record | comment
//
// PKWARE APPNOTE.TXT 6.3.9: 4.3.7 local header, 4.3.9 data descriptor, 4.3.12 central header, 4.3.14
// and 4.3.15 zip64 end records, 4.3.16 end record, 4.5.3 zip64 extra field.
//
// Why not libzip for this: it gives no member's offset, which bulk reads need, and lets duplicates and
// headers that disagree pass. Where readers differ on a file (zipfile, libzip, unzip), that file can
// show different tensors to different programs, so here it is an error, not a choice.
#include "container/zip_directory.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "codec/crc32.h"
#include "codec/inflate.h"
#include "container/zip_reader.h"
#include "container/zip_records.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kWindowBytes = std::size_t{512} << 10;

void add(Problems& problems, ProblemCode code, const std::string& where, std::uint64_t offset, std::string message,
         std::optional<Severity> severity = {}) {
  problems.push_back(make_problem(code, where, offset, std::move(message), severity));
}

struct EndRecord {
  std::uint64_t offset = 0;        // of the first end record, zip64 or not: where the directory must end
  std::uint64_t short_offset = 0;  // of the record that is not zip64
  std::uint64_t count = 0;
  std::uint64_t central_bytes = 0;
  std::uint64_t central_offset = 0;
  std::string comment;
};

tl::unexpected<Error> damaged(std::uint64_t offset, std::string_view what) {
  return fail_at(ErrorCode::corrupt, "", offset, "{}", what);
}

/// The record at the very end; its comment must reach the end exactly.
Result<EndRecord> find_end(const ByteSource& source, Problems& problems) {
  const std::uint64_t size = source.size_bytes();
  const std::uint64_t tail_bytes = std::min<std::uint64_t>(size, kEndBytes + kMaxCommentBytes);
  const std::uint64_t base = size - tail_bytes;
  std::vector<std::byte> tail(tail_bytes);
  // Nearly every archive has no comment: one small read finds the record.
  const std::uint64_t small = std::min<std::uint64_t>(tail_bytes, 4096);
  CKPT_CHECK(source.read_at(size - small, std::span(tail).last(small)));
  std::optional<std::uint64_t> at, at_with_rest;
  std::uint64_t searched = small;
  for (;;) {
    for (std::uint64_t i = tail_bytes - searched; i + kEndBytes <= tail_bytes; ++i) {
      if (load_le<std::uint32_t>(tail.data() + i) != kEndSignature) continue;
      const std::uint64_t comment = load_le<std::uint16_t>(tail.data() + i + 20);
      if (i + kEndBytes + comment == tail_bytes) at = i;
      if (i + kEndBytes + comment < tail_bytes) at_with_rest = i;
    }
    if (at || searched == tail_bytes) break;
    CKPT_CHECK(source.read_at(base, tail));
    searched = tail_bytes;
  }
  if (!at && at_with_rest) {
    at = at_with_rest;
    const std::uint64_t end = *at + kEndBytes + load_le<std::uint16_t>(tail.data() + *at + 20);
    add(problems, ProblemCode::trailing_bytes, "", base + end,
        fmt::format("{} bytes follow the end of the archive", tail_bytes - end), Severity::error);
  }
  if (!at) {
    return fail_at(ErrorCode::truncated, "", size,
                   "the zip has no end record: the file was cut short, or more than 64 KiB follow it");
  }

  ByteCursor cursor{std::span(tail).subspan(*at)};
  EndRecord end;
  end.offset = end.short_offset = base + *at;
  cursor.skip(4);
  const std::uint16_t disk = cursor.u16();
  const std::uint16_t central_disk = cursor.u16();
  const std::uint16_t count_here = cursor.u16();
  end.count = cursor.u16();
  end.central_bytes = cursor.u32();
  end.central_offset = cursor.u32();
  end.comment = cursor.text(cursor.u16());

  bool zip64 = false;
  if (end.offset >= kLocator64Bytes) {
    std::array<std::byte, kLocator64Bytes> locator;
    CKPT_CHECK(source.read_at(end.offset - kLocator64Bytes, locator));
    ByteCursor l(locator);
    zip64 = l.u32() == kLocator64Signature;
    if (zip64) {
      const std::uint32_t record_disk = l.u32();
      const std::uint64_t record = l.u64();
      const std::uint32_t disks = l.u32();
      const std::uint64_t expected = end.offset - kLocator64Bytes;
      if (record_disk != 0 || disks > 1)
        return fail_at(ErrorCode::unsupported, "", end.offset, "the zip is one part of several");
      if (record > expected || expected - record < kEnd64Bytes)
        return damaged(end.offset - kLocator64Bytes, "the zip64 locator points nowhere");
      std::array<std::byte, kEnd64Bytes> bytes;
      CKPT_CHECK(source.read_at(record, bytes));
      ByteCursor r(bytes);
      const bool signature = r.u32() == kEnd64Signature;
      const std::uint64_t record_bytes = r.u64();
      if (!signature || record_bytes < kEnd64Bytes - 12 || record_bytes != expected - record - 12) {
        return damaged(record, "the zip64 end record is damaged");
      }
      // Python looks right before the locator, others where it points.
      if (expected - record != kEnd64Bytes) {
        add(problems, ProblemCode::zip_end, "", record,
            "the zip64 end record is where Python does not look for it: readers may list other members");
      }
      r.skip(4);
      if (r.u32() != 0 || r.u32() != 0)
        return fail_at(ErrorCode::unsupported, "", record, "the zip is one part of several");
      const std::uint64_t here = r.u64();
      const std::uint64_t count = r.u64();
      const std::uint64_t central_bytes = r.u64();
      const std::uint64_t central_offset = r.u64();
      // Where the short record is not all ones it must agree, or readers that pick one disagree.
      const bool agrees = here == count && (end.count == 0xffff || end.count == count) &&
                          (end.central_bytes == kMax32 || end.central_bytes == central_bytes) &&
                          (end.central_offset == kMax32 || end.central_offset == central_offset);
      if (!agrees) return damaged(record, "the zip64 end record contradicts the end record");
      end.count = count;
      end.central_bytes = central_bytes;
      end.central_offset = central_offset;
      end.offset = record;
    }
  }
  if (!zip64 && (disk != 0 || central_disk != 0 || count_here != end.count)) {
    return fail_at(ErrorCode::unsupported, "", end.offset, "the zip is one part of several");
  }
  return end;
}

}  // namespace

Result<bool> looks_like_zip(const ByteSource& source) {
  std::array<std::byte, 4> head;
  if (source.size_bytes() < kEndBytes) return false;
  CKPT_CHECK(source.read_at(0, head));
  const std::uint32_t signature = load_le<std::uint32_t>(head.data());
  return signature == kLocalSignature || signature == kEndSignature;
}

Result<ZipDirectoryPtr> read_zip_directory(const SourcePtr& source, const Limits& limits, Problems& problems) {
  CKPT_TRY(EndRecord end, find_end(*source, problems));
  if (end.central_offset > end.offset || end.central_bytes > end.offset - end.central_offset) {
    return damaged(end.offset, "the end record places the directory beyond itself: the file is cut or damaged");
  }
  if (end.central_offset + end.central_bytes != end.offset) {
    return damaged(end.offset, "the directory does not end where the end record begins");
  }
  if (end.count > limits.max_members) {
    return fail_at(ErrorCode::limit_exceeded, "", end.offset, "{} members, more than {}", end.count,
                   limits.max_members);
  }
  if (end.count > end.central_bytes / kCentralBytes)
    return damaged(end.offset, "the end record counts more members than the directory has room for");

  const auto directory_ptr = std::make_shared<ZipDirectory>();
  ZipDirectory& directory = *directory_ptr;
  directory.central_offset = end.central_offset;
  directory.central_bytes = end.central_bytes;
  directory.end_offset = end.short_offset;
  directory.comment = std::move(end.comment);
  directory.members.reserve(end.count);
  // In windows: a directory's size is the file's word, and in a sparse file it can be anything.
  std::vector<std::byte> window;
  std::uint64_t at = end.central_offset;
  while (at < end.offset) {
    window.resize(std::min<std::uint64_t>(kWindowBytes, end.offset - at));
    CKPT_CHECK(source->read_at(at, window));
    ByteCursor cursor(window);
    const std::size_t enough = at + window.size() == end.offset ? 1 : kMaxCentralBytes;
    while (cursor.remaining() >= enough) {
      CKPT_TRY(ZipMember m, parse_central_header(cursor, at + cursor.position()));
      m.index = static_cast<std::uint32_t>(directory.members.size());
      directory.members.push_back(std::move(m));
      if (directory.members.size() > limits.max_members)
        return fail_at(ErrorCode::limit_exceeded, "", at, "more than {} members", limits.max_members);
    }
    at += cursor.position();
  }
  if (directory.members.size() != end.count) {
    add(problems, ProblemCode::zip_count, "", end.offset,
        fmt::format("the end record counts {} members, the directory lists {}", end.count, directory.members.size()));
  }
  return ZipDirectoryPtr(directory_ptr);
}

}  // namespace netcl::ckpt
