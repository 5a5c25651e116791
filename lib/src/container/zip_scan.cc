// Finds members without trusting any single record of an archive.
//
// Each fact about a member is written twice: in its local header (or the descriptor behind its data) and in the
// directory. One pass over the file finds whatever begins like a record. Then, from the front, each place where a
// member may begin is tried with every reading of its records that fits into the file, and the first is taken whose
// data decodes to the recorded CRC. So a damaged size, name length or signature costs nothing as long as one copy of
// it is left, and a signature that happens to be in some tensor's bytes is never taken for a member.
//
// PKWARE APPNOTE.TXT 6.3.9: 4.3.7 local header, 4.3.9 data descriptor, 4.3.12 central header, 4.3.16 end record.
// Rejected: to search for the next local header alone, as `zip -FF` does. It loses members that are whole behind a
// header of which one bit is wrong, and does not check what it keeps.
#include "container/zip_scan.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/cursor.h"
#include "base/text.h"
#include "base/try.h"
#include "container/zip_records.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kSignatureBytes = 4;
// What trying the members may read, as a multiple of the file: a hostile one could have all its headers claim all of
// it.
constexpr std::uint64_t kMaxReadings = 8;

enum class RecordKind : std::uint8_t { local, central, end, descriptor };

/// Where something begins like a record.
struct Record {
  std::uint64_t offset = 0;
  RecordKind kind = RecordKind::local;
};

/// A record of the directory.
struct Listed {
  ZipMember member;
  std::uint64_t offset = 0;  // of the record
};

/// What follows the data of a member whose writer could not seek.
struct Descriptor {
  std::uint64_t data_offset = 0;  // of the data that it would follow
  std::uint32_t crc32 = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t size_bytes = 0;
};

/// One reading of the records about a member.
struct Reading {
  ZipMember member;
  std::uint64_t data_offset = 0;
};

bool is_name(std::string_view name) { return !name.empty() && name.find('\0') == name.npos; }

class Scanner {
 public:
  Scanner(const SourcePtr& source, const Limits& limits, const std::function<Result<void>(std::uint64_t)>& advance)
      : source_(source),
        limits_(limits),
        advance_(advance),
        size_(source->size_bytes()),
        readable_bytes_(checked_mul(size_, kMaxReadings).value_or(~std::uint64_t{0})) {}

  Result<ZipScan> run() {
    CKPT_CHECK(find_records());
    CKPT_CHECK(read_listed());
    CKPT_CHECK(read_descriptors());
    CKPT_CHECK(try_members());
    keep_last_of_each_name();
    CKPT_CHECK(read_comment());
    return std::move(out_);
  }

 private:
  Result<void> find_records() {
    Buffer block(kBlockBytes);
    for (std::uint64_t at = 0; at + kSignatureBytes <= size_;) {
      const auto bytes = std::span(block).first(std::min<std::uint64_t>(block.size(), size_ - at));
      CKPT_CHECK(source_->read_at(at, bytes));
      for (std::size_t i = 0; i + kSignatureBytes <= bytes.size(); ++i) {
        const void* found = ::memmem(bytes.data() + i, bytes.size() - i, "PK", 2);
        if (found == nullptr) break;
        i = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
        if (i + kSignatureBytes > bytes.size()) break;
        const auto kind = record_kind(load_le<std::uint32_t>(bytes.data() + i));
        if (!kind) continue;
        if (records_.size() == limits_.max_members)
          return fail_at(ErrorCode::limit_exceeded, "", at + i, "more than {} zip records", limits_.max_members);
        records_.push_back({at + i, *kind});
      }
      const std::uint64_t done = bytes.size() - (kSignatureBytes - 1);  // a signature may lie across two blocks
      at += done;
      CKPT_CHECK(advance_(done));
    }
    return {};
  }

  static std::optional<RecordKind> record_kind(std::uint32_t signature) {
    switch (signature) {
      case kLocalSignature: return RecordKind::local;
      case kCentralSignature: return RecordKind::central;
      case kEndSignature: return RecordKind::end;
      case kDescriptorSignature: return RecordKind::descriptor;
      default: return std::nullopt;
    }
  }

  /// Up to `num_bytes` from `offset` on: less where the file ends.
  Result<std::vector<std::byte>> read(std::uint64_t offset, std::uint64_t num_bytes) const {
    std::vector<std::byte> bytes(std::min(num_bytes, size_ - offset));
    CKPT_CHECK(source_->read_at(offset, bytes));
    return bytes;
  }

  Result<void> read_listed() {
    for (const Record& r : records_) {
      if (r.kind != RecordKind::central) continue;
      CKPT_TRY(auto bytes, read(r.offset, kCentralBytes));
      if (bytes.size() < kCentralBytes) continue;
      const std::uint64_t rest = std::uint64_t{load_le<std::uint16_t>(bytes.data() + 28)} +
                                 load_le<std::uint16_t>(bytes.data() + 30) + load_le<std::uint16_t>(bytes.data() + 32);
      CKPT_TRY(bytes, read(r.offset, kCentralBytes + rest));
      ByteCursor cursor(bytes);
      auto member = parse_central_header(cursor, r.offset);
      if (!member || !is_name(member->name) || member->header_offset >= r.offset) continue;
      listed_.push_back({std::move(*member), r.offset});
    }
    // The last directory of a file is its own; one before it may be of a zip among its members.
    std::sort(listed_.begin(), listed_.end(), [](const Listed& a, const Listed& b) {
      return std::pair(a.member.header_offset, b.offset) < std::pair(b.member.header_offset, a.offset);
    });
    return {};
  }

  Result<void> read_descriptors() {
    for (const Record& r : records_) {
      if (r.kind != RecordKind::descriptor) continue;
      CKPT_TRY(const auto bytes, read(r.offset, 24));
      ByteCursor narrow(bytes), wide(bytes);
      for (ByteCursor* cursor : {&narrow, &wide}) {
        cursor->skip(4);
        Descriptor d;
        d.crc32 = cursor->u32();
        d.stored_bytes = cursor == &narrow ? cursor->u32() : cursor->u64();
        d.size_bytes = cursor == &narrow ? cursor->u32() : cursor->u64();
        if (!cursor->ok() || d.stored_bytes > r.offset) continue;
        d.data_offset = r.offset - d.stored_bytes;
        descriptors_.push_back(d);
      }
    }
    std::stable_sort(descriptors_.begin(), descriptors_.end(),
                     [](const Descriptor& a, const Descriptor& b) { return a.data_offset < b.data_offset; });
    return {};
  }

  /// The first place at or behind `offset` where a record may begin, or the end of the file.
  std::uint64_t next_record(std::uint64_t offset) const {
    const auto it = std::lower_bound(records_.begin(), records_.end(), offset,
                                     [](const Record& r, std::uint64_t o) { return r.offset < o; });
    return it == records_.end() ? size_ : it->offset;
  }

  const Listed* listed_at(std::uint64_t offset) const {
    const auto it = std::lower_bound(listed_.begin(), listed_.end(), offset,
                                     [](const Listed& l, std::uint64_t o) { return l.member.header_offset < o; });
    return it == listed_.end() || it->member.header_offset != offset ? nullptr : &*it;
  }

  Result<void> try_members() {
    std::vector<std::uint64_t> places;
    for (const Record& r : records_) {
      if (r.kind == RecordKind::local) places.push_back(r.offset);
    }
    for (const Listed& l : listed_) places.push_back(l.member.header_offset);
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    for (const std::uint64_t at : places) {
      if (at >= covered_) CKPT_CHECK(try_member(at));
    }
    forget_foreign_listings();
    return {};
  }

  /// Where the directory alone knows of a member, its record may be of a directory inside of a member's data (a zip
  /// in the zip), or its offset may be what is damaged.
  void forget_foreign_listings() {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> data;  // of members that are whole, by offset
    std::unordered_set<std::string_view> names;
    for (const ScannedMember& m : out_.members) {
      if (!m.fault.empty()) continue;
      data.emplace_back(m.data_offset, m.data_offset + m.member.stored_bytes);
      names.insert(m.member.name);
    }
    std::erase_if(out_.members, [&](const ScannedMember& m) {
      if (m.fault.empty() || m.data_offset != 0) return false;  // a local header of its own
      const std::uint64_t record = listed_at(m.member.header_offset)->offset;
      const auto after = std::upper_bound(data.begin(), data.end(), std::pair(record, ~std::uint64_t{0}));
      return names.contains(m.member.name) || (after != data.begin() && record < std::prev(after)->second);
    });
  }

  /// What the local header at `at` says; its name and sizes are plausible.
  Result<std::optional<Reading>> read_local(std::uint64_t at) const {
    CKPT_TRY(auto bytes, read(at, kLocalBytes));
    ByteCursor fixed(bytes);
    auto header = parse_local_header(fixed);
    if (!header) return std::optional<Reading>();
    CKPT_TRY(bytes, read(at, header->size_bytes()));
    ByteCursor cursor(bytes);
    cursor.skip(kLocalBytes);
    const std::string_view name = cursor.text(header->name_bytes);
    const std::string_view extra = cursor.text(header->extra_bytes);
    if (!cursor.ok() || !is_name(name) || !apply_zip64(extra, {&header->decoded_bytes, &header->stored_bytes}))
      return std::optional<Reading>();
    Reading r;
    r.member.name = (header->flags & kUtf8Flag) != 0 || is_ascii(name) ? std::string(name) : from_code_page_437(name);
    if (!is_utf8(r.member.name)) return std::optional<Reading>();
    r.member.method = header->method;
    r.member.flags = header->flags;
    r.member.crc32 = header->crc32;
    r.member.stored_bytes = header->stored_bytes;
    r.member.size_bytes = header->decoded_bytes;
    r.member.header_offset = at;
    r.data_offset = at + header->size_bytes();
    return std::optional(r);
  }

  /// Every reading of the records about the member at `at` that fits into the file, the likeliest first.
  std::vector<Reading> readings(std::uint64_t at, const std::optional<Reading>& local, const Listed* listed) const {
    std::vector<Reading> out;
    auto add = [&](const ZipMember& member, std::uint64_t data_offset) {
      if (data_offset > size_ || member.stored_bytes > size_ - data_offset) return;
      const bool known = std::any_of(out.begin(), out.end(), [&](const Reading& r) {
        return r.data_offset == data_offset && r.member.stored_bytes == member.stored_bytes &&
               r.member.size_bytes == member.size_bytes && r.member.crc32 == member.crc32 &&
               r.member.method == member.method && r.member.flags == member.flags;
      });
      if (!known) out.push_back({member, data_offset});
    };
    if (local) {
      ZipMember member = local->member;
      if (listed != nullptr) add(listed->member, local->data_offset);
      const bool streamed = (member.flags & kDescriptorFlag) != 0;
      if (!streamed || member.stored_bytes > 0) add(member, local->data_offset);
      if (streamed) {
        auto d = std::lower_bound(descriptors_.begin(), descriptors_.end(), local->data_offset,
                                  [](const Descriptor& a, std::uint64_t o) { return a.data_offset < o; });
        for (; d != descriptors_.end() && d->data_offset == local->data_offset; ++d) {
          member.crc32 = d->crc32;
          member.stored_bytes = d->stored_bytes;
          member.size_bytes = d->size_bytes;
          add(member, local->data_offset);
        }
      }
      // The size may be what is damaged.
      member = local->member;
      const std::uint64_t next = next_record(local->data_offset);
      if (next > local->data_offset) {
        member.stored_bytes = next - local->data_offset;
        if (member.method == kStored) member.size_bytes = member.stored_bytes;
        add(member, local->data_offset);
      }
    }
    if (listed != nullptr) {  // or the length of the local header
      const ZipMember& member = listed->member;
      const std::uint64_t next = next_record(at + kLocalBytes);
      const bool room = next >= at + kLocalBytes && next - at - kLocalBytes >= member.stored_bytes;
      const bool likely = member.stored_bytes > 0 || next == at + kLocalBytes + member.name.size();
      if (room && likely) add(member, next - member.stored_bytes);
    }
    return out;
  }

  Result<void> try_member(std::uint64_t at) {
    CKPT_TRY(const auto local, read_local(at));
    const Listed* listed = listed_at(at);
    if (!local && listed == nullptr) return {};  // bytes of a tensor
    std::string fault;
    for (const Reading& r : readings(at, local, listed)) {
      const auto whole = read_through(r, listed != nullptr);
      if (whole) {
        if (r.member.stored_bytes > 0) covered_ = r.data_offset + r.member.stored_bytes;
        out_.members.push_back({r.member, r.data_offset, ""});
        if (local && local->member.name != r.member.name) {
          out_.problems.push_back({"zip-local-differs", Severity::warning, r.member.name, at,
                                   fmt::format("its local header calls it '{}'", local->member.name), ""});
        }
        return {};
      }
      const Error& e = whole.error();
      if (e.code != ErrorCode::corrupt && e.code != ErrorCode::checksum_mismatch && e.code != ErrorCode::unsupported &&
          e.code != ErrorCode::truncated)
        return whole;
      if (fault.empty()) fault = e.message;
    }
    add_lost(local, listed, std::move(fault));
    return {};
  }

  void add_lost(const std::optional<Reading>& local, const Listed* listed, std::string fault) {
    ScannedMember lost;
    lost.member = listed != nullptr ? listed->member : local->member;
    lost.data_offset = local ? local->data_offset : 0;
    const std::uint64_t stored_bytes = lost.member.stored_bytes;
    if (!local) {
      lost.fault = "its local header is damaged, and its data is not where the directory says";
    } else if (stored_bytes > size_ - lost.data_offset) {
      lost.fault = fmt::format("cut short: {} of {} bytes are there", size_ - lost.data_offset, stored_bytes);
    } else if (stored_bytes == 0) {
      lost.fault = "cut short while it was being written";
    } else {
      lost.fault = std::move(fault);
      // Where its data ends at a record it has its full length, and a zip inside of it is not ours.
      const std::uint64_t end = lost.data_offset + stored_bytes;
      if (next_record(end) == end) covered_ = end;
    }
    out_.members.push_back(std::move(lost));
  }

  /// Decodes a member and checks its CRC. `listed`: the directory has it.
  Result<void> read_through(const Reading& r, bool listed) {
    const ZipMember& m = r.member;
    if (m.method != kStored && m.method != kDeflated) {
      return fail(ErrorCode::unsupported,
                  "compression method {}: only stored and deflated members can be taken out of a damaged archive",
                  m.method);
    }
    // NumPy fills in size and CRC when the data is written: till then they say that there is none.
    const bool empty = m.stored_bytes == 0 && m.method == kStored;
    const bool followed = next_record(r.data_offset) == r.data_offset || size_ - r.data_offset < kLocalBytes;
    if (empty && !listed && (m.name.ends_with(".npy") || !followed))
      return fail(ErrorCode::truncated, "cut short while it was being written");
    if (m.stored_bytes > readable_bytes_)
      return fail(ErrorCode::corrupt, "too many members claim the same bytes: not looked at");
    readable_bytes_ -= m.stored_bytes;
    const auto directory = std::make_shared<ZipDirectory>();
    directory->members.push_back(m);
    CKPT_TRY(const StoragePtr storage, zip_member_storage(source_, directory, directory->members[0], r.data_offset, 0));
    CKPT_TRY(auto reader, storage->open());
    const auto block = thread_buffer(kBlockBytes);
    std::uint64_t at = 0;
    do {  // once even where it is empty
      const auto part = block.first(std::min<std::uint64_t>(block.size(), m.size_bytes - at));
      CKPT_CHECK(reader->read(at, part));
      CKPT_CHECK(advance_(part.size()));
      at += part.size();
    } while (at < m.size_bytes);
    return {};
  }

  /// Appending to an archive puts the new version of a member behind the old one.
  void keep_last_of_each_name() {
    std::unordered_map<std::string_view, ScannedMember*> last;
    for (ScannedMember& m : out_.members) {
      if (!m.fault.empty()) continue;
      auto& known = last[m.member.name];
      if (known != nullptr) known->fault = "a later member has the same name";
      known = &m;
    }
  }

  Result<void> read_comment() {
    for (auto r = records_.rbegin(); r != records_.rend(); ++r) {
      if (r->kind != RecordKind::end || r->offset < covered_) continue;
      if (size_ - r->offset < kEndBytes || size_ - r->offset > kEndBytes + kMaxCommentBytes) continue;
      CKPT_TRY(const auto bytes, read(r->offset, kEndBytes + kMaxCommentBytes));
      if (kEndBytes + load_le<std::uint16_t>(bytes.data() + 20) != bytes.size()) continue;
      out_.comment.emplace(reinterpret_cast<const char*>(bytes.data()) + kEndBytes, bytes.size() - kEndBytes);
      return {};
    }
    return {};
  }

  const SourcePtr& source_;
  const Limits& limits_;
  const std::function<Result<void>(std::uint64_t)>& advance_;
  const std::uint64_t size_;
  std::uint64_t readable_bytes_;
  std::vector<Record> records_;          // by offset
  std::vector<Listed> listed_;           // by header_offset
  std::vector<Descriptor> descriptors_;  // by data_offset
  std::uint64_t covered_ = 0;            // what lies before belongs to a member that was seen
  ZipScan out_;
};

}  // namespace

Result<ZipScan> scan_zip(const SourcePtr& source, const Limits& limits,
                         const std::function<Result<void>(std::uint64_t)>& advance) {
  return Scanner(source, limits, advance).run();
}

}  // namespace netcl::ckpt
