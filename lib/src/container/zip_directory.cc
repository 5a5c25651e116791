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

Result<ZipMemberData> locate_zip_member(const SourcePtr& source, const ZipDirectory& directory, const ZipMember& member,
                                        std::size_t head_bytes, Problems& problems) {
  const std::uint64_t end = directory.central_offset;  // members lie before the directory
  const std::uint64_t at = member.header_offset;
  auto bad = [&](std::string_view what) { return fail_at(ErrorCode::corrupt, member.name, at, "{}", what); };
  if (at > end || end - at < kLocalBytes) return bad("its local header would lie beyond the directory");
  // Header, name and extras are mostly under 200 bytes; the same read brings what the caller wants.
  const std::size_t guess = kLocalBytes + member.name.size() + 160 + head_bytes;
  std::vector<std::byte> bytes(std::min<std::uint64_t>(guess, end - at));
  CKPT_CHECK(source->read_at(at, bytes));
  ByteCursor cursor(bytes);
  auto header = parse_local_header(cursor);
  if (!header) return bad("there is no local header where the directory says");

  ZipMemberData data;
  data.offset_bytes = at + header->size_bytes();
  if (data.offset_bytes > end || member.stored_bytes > end - data.offset_bytes)
    return bad("its data would reach into the directory");
  const std::uint64_t wanted = header->size_bytes() + std::min<std::uint64_t>(head_bytes, member.stored_bytes);
  if (bytes.size() < wanted) {
    const std::size_t have = bytes.size();
    bytes.resize(wanted);
    CKPT_CHECK(source->read_at(at + have, std::span(bytes).subspan(have)));
  }
  ByteCursor rest{std::span(bytes).subspan(kLocalBytes)};
  const std::string_view name = rest.text(header->name_bytes);
  const std::string_view extra = rest.text(header->extra_bytes);
  const auto head = rest.take(std::min<std::uint64_t>(head_bytes, member.stored_bytes));
  data.head.assign(head.begin(), head.end());

  auto differs = [&](const char* what) {
    add(problems, ProblemCode::zip_local_differs, member.name, at,
        fmt::format("the local header and the directory disagree on the {}: readers may see different files", what));
  };
  // Names without the flag are in code page 437, which is ASCII where the name is.
  if (name != member.name && ((header->flags & kUtf8Flag) != 0 || from_code_page_437(name) != member.name))
    differs("name");
  if (header->method != member.method) differs("method");
  constexpr std::uint16_t kMatter = kEncryptedFlag | kDescriptorFlag | kPatchFlag | kStrongEncryptionFlag | kMaskedFlag;
  if (((header->flags ^ member.flags) & kMatter) != 0) differs("flags");
  if (!apply_zip64(extra, {&header->decoded_bytes, &header->stored_bytes})) differs("sizes");
  // With a data descriptor the local header may leave these three empty.
  const bool streamed = (header->flags & kDescriptorFlag) != 0;
  if (!(streamed && header->crc32 == 0) && header->crc32 != member.crc32) differs("CRC");
  if (!(streamed && header->decoded_bytes == 0) && header->decoded_bytes != member.size_bytes) differs("size");
  if (!(streamed && header->stored_bytes == 0) && header->stored_bytes != member.stored_bytes) differs("stored size");
  return data;
}

namespace {

/// Reads a stored or deflated member, and checks its CRC where it is read through in order.
class MemberReader final : public StorageReader {
 public:
  MemberReader(const StoredForm& form, std::shared_ptr<const ZipMember> member)
      : source_(form.source),
        member_ptr_(std::move(member)),
        member_(*member_ptr_),
        data_offset_(form.offset_bytes),
        header_bytes_(form.header_bytes),
        crc32_(form.crc32) {}

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    const std::uint64_t size = member_.size_bytes - header_bytes_;
    if (offset_bytes > size || dst.size() > size - offset_bytes)
      return fail(ErrorCode::internal, "read past the end of a member");
    auto done = member_.method == kDeflated ? read_deflated(offset_bytes, dst) : read_stored(offset_bytes, dst);
    if (!done && done.error().member.empty()) done.error().member = member_.name;
    return done;
  }

 private:
  Result<void> read_stored(std::uint64_t offset_bytes, std::span<std::byte> dst) {
    CKPT_CHECK(source_->read_at(data_offset_ + header_bytes_ + offset_bytes, dst));
    if (offset_bytes == 0) {  // in order from the start: begin with the header that comes before
      std::vector<std::byte> header(header_bytes_);
      CKPT_CHECK(source_->read_at(data_offset_, header));
      crc_ = crc32(0, header);
      summed_ = header_bytes_;
    }
    return sum(header_bytes_ + offset_bytes, dst);
  }

  Result<void> read_deflated(std::uint64_t offset_bytes, std::span<std::byte> dst) {
    const std::uint64_t wanted = header_bytes_ + offset_bytes;
    if (!inflater_ || wanted < position_) {
      inflater_.emplace(source_, data_offset_, member_.stored_bytes);
      position_ = 0;
      summed_ = 0;
      crc_ = 0;
    }
    std::vector<std::byte> skipped;
    while (position_ < wanted) {
      skipped.resize(std::min<std::uint64_t>(wanted - position_, std::uint64_t{64} << 10));
      CKPT_CHECK(inflate(skipped));
    }
    return inflate(dst);
  }

  Result<void> inflate(std::span<std::byte> dst) {
    CKPT_CHECK(inflater_->read(dst));
    const std::uint64_t at = position_;
    position_ += dst.size();
    if (position_ == member_.size_bytes) CKPT_CHECK(inflater_->finish());
    return sum(at, dst);
  }

  /// `at` counts from the member's start.
  Result<void> sum(std::uint64_t at, std::span<const std::byte> bytes) {
    if (at != summed_) return {};
    crc_ = crc32(crc_, bytes);
    summed_ += bytes.size();
    if (summed_ == member_.size_bytes && crc32_ && crc_ != *crc32_) {
      return fail_at(ErrorCode::checksum_mismatch, member_.name, std::nullopt,
                     "CRC-32 is {:08x}, the archive records {:08x}: the data is damaged", crc_, *crc32_);
    }
    return {};
  }

  SourcePtr source_;
  std::shared_ptr<const ZipMember> member_ptr_;
  const ZipMember& member_;
  std::uint64_t data_offset_;
  std::uint64_t header_bytes_;
  std::optional<std::uint32_t> crc32_;
  std::optional<Inflater> inflater_;
  std::uint64_t position_ = 0;  // decoded bytes so far
  std::uint64_t summed_ = 0;
  std::uint32_t crc_ = 0;
};

class MemberStorage final : public Storage {
 public:
  MemberStorage(std::shared_ptr<const ZipMember> member, StoredForm form)
      : member_(std::move(member)), form_(std::move(form)) {}
  std::uint64_t size_bytes() const override { return member_->size_bytes - form_.header_bytes; }
  bool seekable() const override { return form_.compression == Compression::none; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    if (form_.compression != Compression::none && form_.compression != Compression::deflate) {
      return open_with_libzip(form_, *member_);
    }
    return std::unique_ptr<StorageReader>(std::make_unique<MemberReader>(form_, member_));
  }

 private:
  std::shared_ptr<const ZipMember> member_;  // keeps the directory that holds it
  StoredForm form_;
};

std::optional<Compression> compression_of(std::uint16_t method) {
  switch (method) {
    case kStored: return Compression::none;
    case kDeflated: return Compression::deflate;
    case 12: return Compression::bzip2;
    case 14: return Compression::lzma;
    case 93: return Compression::zstd;
    case 95: return Compression::xz;
    default: return std::nullopt;
  }
}

}  // namespace

Result<StoragePtr> zip_member_storage(const SourcePtr& source, const ZipDirectoryPtr& directory,
                                      const ZipMember& member, std::uint64_t data_offset, std::uint64_t header_bytes,
                                      Checksum checksum) {
  auto bad = [&](ErrorCode code, std::string what) {
    return fail_at(code, member.name, member.header_offset, "{}", what);
  };
  if ((member.flags & (kEncryptedFlag | kStrongEncryptionFlag | kMaskedFlag)) != 0) {
    return bad(ErrorCode::unsupported, "the member is encrypted");
  }
  if ((member.flags & kPatchFlag) != 0) return bad(ErrorCode::unsupported, "the member is a patch to another file");
  const auto compression = compression_of(member.method);
  if (!compression || (*compression > Compression::deflate && !libzip_decodes(member.method))) {
    return bad(ErrorCode::unsupported, fmt::format("compression method {} is not supported", member.method));
  }
  if (*compression == Compression::none && member.stored_bytes != member.size_bytes) {
    return bad(ErrorCode::corrupt, "a stored member has two different sizes");
  }
  if (*compression == Compression::deflate) {
    const auto bound = checked_mul(member.stored_bytes, kMaxInflateRatio);
    if (bound && member.size_bytes > *bound + kMaxInflateSlack) {
      return bad(ErrorCode::corrupt,
                 fmt::format("{} compressed bytes cannot hold {}", member.stored_bytes, member.size_bytes));
    }
  }
  if (header_bytes > member.size_bytes) return fail(ErrorCode::internal, "header beyond the member");
  return StoragePtr(std::make_shared<MemberStorage>(
      std::shared_ptr<const ZipMember>(directory, &member),
      StoredForm{source, data_offset, member.stored_bytes, *compression,
                 checksum == Checksum::compared ? std::optional(member.crc32) : std::nullopt, header_bytes}));
}

Result<std::vector<std::byte>> read_member_start(const ZipMember& member, const ZipMemberData& data,
                                                 const StoragePtr& storage, std::uint64_t num_bytes) {
  std::vector<std::byte> out(std::min(num_bytes, member.size_bytes));
  const Compression compression = storage->stored_form().compression;
  if (compression == Compression::none && out.size() <= data.head.size()) {
    std::copy_n(data.head.begin(), out.size(), out.begin());
    return out;
  }
  if (compression == Compression::deflate && inflate_start(data.head, out)) return out;
  CKPT_TRY(auto reader, storage->open());
  CKPT_CHECK(reader->read(0, out));
  return out;
}

namespace {

/// zipfile takes the last end record's signature in the file, libzip the first record that fits: where
/// there is a second one, they may list other members.
void check_end_records(const ByteSource& source, const ZipDirectory& directory, Problems& problems) {
  const std::uint64_t size = source.size_bytes();
  std::vector<std::byte> tail(std::min<std::uint64_t>(size, kEndBytes + kMaxCommentBytes));
  if (!source.read_at(size - tail.size(), tail)) return;
  for (std::size_t i = 0; i + kEndBytes <= tail.size(); ++i) {
    const std::uint64_t at = size - tail.size() + i;
    if (at == directory.end_offset || load_le<std::uint32_t>(tail.data() + i) != kEndSignature) continue;
    const bool fits = at + kEndBytes + load_le<std::uint16_t>(tail.data() + i + 20) == size;
    if (!fits && at < directory.end_offset) continue;  // in a member's data, such as a zip in a zip
    add(problems, ProblemCode::zip_end, "", at, "a second end record: readers may list other members");
    return;
  }
}

}  // namespace

void check_zip_layout(const SourcePtr& source, const ZipDirectory& directory,
                      std::span<const std::uint64_t> data_offsets, Problems& problems) {
  check_end_records(*source, directory, problems);
  struct Range {
    std::uint64_t begin, end;
    std::size_t member;
  };
  std::vector<Range> ranges;
  std::unordered_map<std::string_view, std::size_t> names;
  for (std::size_t i = 0; i < directory.members.size(); ++i) {
    const ZipMember& m = directory.members[i];
    if (!names.emplace(m.name, i).second) {
      add(problems, ProblemCode::duplicate_name, m.name, m.header_offset,
          "two members have this name: readers differ on which counts");
    }
    const std::string_view name = m.name;
    // "C:/" is a drive; netcl's "1:weight" is a layer.
    const bool drive = name.size() > 2 && name[1] == ':' && (name[2] == '/' || name[2] == '\\');
    if (name.starts_with('/') || drive) {
      add(problems, ProblemCode::absolute_name, m.name, m.header_offset,
          "an absolute path: extracting it writes outside the folder");
    }
    if (name == ".." || name.starts_with("../") || name.ends_with("/..") || name.find("/../") != name.npos) {
      add(problems, ProblemCode::parent_name, m.name, m.header_offset,
          "a path with '..': extracting it writes outside the folder");
    }
    if (data_offsets[i] == 0) continue;  // its header could not be read, which has been said
    std::uint64_t end = data_offsets[i] + m.stored_bytes;
    if ((m.flags & kDescriptorFlag) != 0) {
      // crc, stored size, size; with or without a signature, the sizes in 4 or 8 bytes.
      std::array<std::byte, 24> bytes{};
      const std::uint64_t room = std::min<std::uint64_t>(bytes.size(), directory.central_offset - end);
      std::uint64_t length = 0;
      if (source->read_at(end, std::span(bytes).first(room))) {
        for (const bool signature : {true, false}) {
          for (const std::size_t width : {std::size_t{4}, std::size_t{8}}) {
            const std::size_t start = signature ? 4 : 0;
            if (length > 0 || start + 4 + 2 * width > room) continue;
            auto number = [&](std::size_t at) {
              return width == 8 ? load_le<std::uint64_t>(bytes.data() + at) : load_le<std::uint32_t>(bytes.data() + at);
            };
            const bool fits = (!signature || load_le<std::uint32_t>(bytes.data()) == kDescriptorSignature) &&
                              load_le<std::uint32_t>(bytes.data() + start) == m.crc32 &&
                              number(start + 4) == m.stored_bytes && number(start + 4 + width) == m.size_bytes;
            if (fits) length = start + 4 + 2 * width;
          }
        }
      }
      if (length == 0) {
        add(problems, ProblemCode::zip_descriptor, m.name, end,
            "the data descriptor is missing or contradicts the directory");
      }
      end += length;
    }
    ranges.push_back({m.header_offset, end, i});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::uint64_t covered = 0;
  for (const Range& r : ranges) {
    const std::string& name = directory.members[r.member].name;
    if (r.begin < covered) {
      add(problems, ProblemCode::zip_overlap, name, r.begin, "its bytes belong to another member too");
    } else if (r.begin > covered) {
      add(problems, covered == 0 ? ProblemCode::zip_prefix : ProblemCode::zip_gap, "", covered,
          fmt::format("{} bytes belong to no member", r.begin - covered));
    }
    covered = std::max(covered, r.end);
  }
  if (covered < directory.central_offset) {
    add(problems, ProblemCode::zip_gap, "", covered,
        fmt::format("{} bytes belong to no member", directory.central_offset - covered));
  }
}

}  // namespace netcl::ckpt
