// A member of a zip: where its data begins, by its local header, and its decoded bytes.
#include "container/zip_member.h"

#include <algorithm>
#include <optional>

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
    problems.push_back(make_problem(
        ProblemCode::zip_local_differs, member.name, at,
        fmt::format("the local header and the directory disagree on the {}: readers may see different files", what)));
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

}  // namespace netcl::ckpt
