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
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/zip_member.h"
#include "container/zip_records.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kSignatureBytes = 4;
// What trying the members may read, as a multiple of the file: a hostile one could have all its headers claim all of
// it.
constexpr std::uint64_t kMaxReadings = 8;
// Descriptors that are tried for one member: some bytes of its data may look like one.
constexpr int kMaxDescriptors = 4;

enum class RecordKind : std::uint8_t { local, central, end, descriptor };

/// Where something begins like a record.
struct Record {
  std::uint64_t offset = 0;
  RecordKind kind = RecordKind::local;
};

/// A record of the directory.
struct DirectoryEntry {
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

/// One reading of the records about a member. Its name is apart: it may have 64 KiB, and every member has several
/// readings.
struct Reading {
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t data_offset = 0;
  bool operator==(const Reading&) const = default;

  static Reading of(const ZipMember& m, std::uint64_t data_offset) {
    return {m.method, m.flags, m.crc32, m.stored_bytes, m.size_bytes, data_offset};
  }
};

/// What a local header says.
struct Local {
  std::string name;
  Reading reading;
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

  /// False where so many bytes more are beyond what any file that is not hostile would have read of it.
  bool afford(std::uint64_t num_bytes) {
    if (num_bytes > readable_bytes_) return false;
    readable_bytes_ -= num_bytes;
    return true;
  }

  /// Each name stands in the file for itself, in a local header and in the directory, so they fit into it twice.
  Result<void> count_name(std::string_view name) {
    name_bytes_ += name.size();
    if (name_bytes_ / 3 > size_)  // code page 437 takes up to three bytes for one
      return fail(ErrorCode::limit_exceeded, "the names of its members overlap");
    return {};
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
      if (!afford(kCentralBytes + rest)) break;
      CKPT_TRY(bytes, read(r.offset, kCentralBytes + rest));
      ByteCursor cursor(bytes);
      auto member = parse_central_header(cursor, r.offset);
      if (!member || !is_name(member->name) || member->header_offset >= r.offset) continue;
      CKPT_CHECK(count_name(member->name));
      listed_.push_back({std::move(*member), r.offset});
    }
    // The last directory of a file is its own; one before it may be of a zip among its members.
    std::sort(listed_.begin(), listed_.end(), [](const DirectoryEntry& a, const DirectoryEntry& b) {
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

  const DirectoryEntry* listed_at(std::uint64_t offset) const {
    const auto it =
        std::lower_bound(listed_.begin(), listed_.end(), offset,
                         [](const DirectoryEntry& l, std::uint64_t o) { return l.member.header_offset < o; });
    return it == listed_.end() || it->member.header_offset != offset ? nullptr : &*it;
  }

  Result<void> try_members() {
    std::vector<std::uint64_t> places;
    for (const Record& r : records_) {
      if (r.kind == RecordKind::local) places.push_back(r.offset);
    }
    for (const DirectoryEntry& l : listed_) places.push_back(l.member.header_offset);
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
    std::unordered_set<std::string> names;
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

  /// What the local header at `at` says; nothing where its name and sizes are not plausible.
  Result<std::optional<Local>> read_local(std::uint64_t at) {
    std::optional<Local> none;
    CKPT_TRY(auto bytes, read(at, kLocalBytes));
    ByteCursor fixed(bytes);
    auto header = parse_local_header(fixed);
    if (!header || header->size_bytes() > size_ - at || !afford(header->size_bytes())) return none;
    CKPT_TRY(bytes, read(at, header->size_bytes()));
    ByteCursor cursor(bytes);
    cursor.skip(kLocalBytes);
    const std::string_view name = cursor.text(header->name_bytes);
    const std::string_view extra = cursor.text(header->extra_bytes);
    if (!cursor.ok() || !is_name(name) || !apply_zip64(extra, {&header->decoded_bytes, &header->stored_bytes}))
      return none;
    Local local;
    local.name = (header->flags & kUtf8Flag) != 0 || is_ascii(name) ? std::string(name) : from_code_page_437(name);
    if (!is_utf8(local.name)) return none;
    local.reading = {header->method,       header->flags,         header->crc32,
                     header->stored_bytes, header->decoded_bytes, at + header->size_bytes()};
    return std::optional(std::move(local));
  }

  /// Every reading of the records about the member at `at` that fits into the file, the likeliest first.
  std::vector<Reading> readings(std::uint64_t at, const Local* local, const DirectoryEntry* listed) const {
    std::vector<Reading> out;
    auto add = [&](const Reading& r) {
      const bool fits = r.data_offset <= size_ && r.stored_bytes <= size_ - r.data_offset;
      if (fits && std::find(out.begin(), out.end(), r) == out.end()) out.push_back(r);
    };
    if (local != nullptr) {
      if (listed != nullptr) add(Reading::of(listed->member, local->reading.data_offset));
      Reading r = local->reading;
      const bool streamed = (r.flags & kDescriptorFlag) != 0;
      if (!streamed || r.stored_bytes > 0) add(r);
      if (streamed) {
        auto d = std::lower_bound(descriptors_.begin(), descriptors_.end(), r.data_offset,
                                  [](const Descriptor& a, std::uint64_t o) { return a.data_offset < o; });
        for (int n = 0; n < kMaxDescriptors && d != descriptors_.end() && d->data_offset == r.data_offset; ++n, ++d) {
          r.crc32 = d->crc32;
          r.stored_bytes = d->stored_bytes;
          r.size_bytes = d->size_bytes;
          add(r);
        }
      }
      // The size may be what is damaged.
      r = local->reading;
      const std::uint64_t next = next_record(r.data_offset);
      if (next > r.data_offset) {
        r.stored_bytes = next - r.data_offset;
        if (r.method == kStored) r.size_bytes = r.stored_bytes;
        add(r);
      }
    }
    if (listed != nullptr) {  // or the length of the local header
      const ZipMember& member = listed->member;
      const std::uint64_t next = next_record(at + kLocalBytes);
      const bool room = next >= at + kLocalBytes && next - at - kLocalBytes >= member.stored_bytes;
      const bool likely = member.stored_bytes > 0 || next == at + kLocalBytes + member.name.size();
      if (room && likely) add(Reading::of(member, next - member.stored_bytes));
    }
    return out;
  }

  Result<void> try_member(std::uint64_t at) {
    CKPT_TRY(const auto local, read_local(at));
    const DirectoryEntry* listed = listed_at(at);
    if (!local && listed == nullptr) return {};  // bytes of a tensor
    std::string fault;
    std::optional<Reading> doubtful;  // the first of which only the CRC is wrong
    for (const Reading& r : readings(at, local ? &*local : nullptr, listed)) {
      const bool as_listed = listed != nullptr && r == Reading::of(listed->member, r.data_offset);
      const std::string& name = as_listed || !local ? listed->member.name : local->name;
      const auto whole = read_through(r, name, listed != nullptr);
      if (whole) {
        if (local && local->name != name) {
          out_.problems.push_back(make_problem(ProblemCode::zip_local_differs, name, at,
                                               fmt::format("its local header calls it '{}'", local->name),
                                               Severity::warning));
        }
        if (r.stored_bytes > 0) covered_ = r.data_offset + r.stored_bytes;
        return add_found(name, at, r, "");
      }
      const Error& e = whole.error();
      if (e.code != ErrorCode::corrupt && e.code != ErrorCode::checksum_mismatch && e.code != ErrorCode::unsupported &&
          e.code != ErrorCode::truncated)
        return whole;
      if (fault.empty()) fault = e.message;
      const bool as_recorded = as_listed || (local && r == local->reading);
      if (!doubtful && as_recorded && e.code == ErrorCode::checksum_mismatch) doubtful = r;
    }
    if (doubtful && local) {
      const std::uint64_t end = doubtful->data_offset + doubtful->stored_bytes;
      if (next_record(end) == end) covered_ = end;
      CKPT_CHECK(add_found(local->name, at, *doubtful, std::move(fault)));
      out_.members.back().wrong_checksum = true;
      return {};
    }
    if (!local) {
      return add_found(listed->member.name, at, Reading::of(listed->member, 0),
                       "its local header is damaged, and its data is not where the directory says");
    }
    // What the directory says of another name is of another archive, inside of a member.
    const std::uint64_t data_offset = local->reading.data_offset;
    const bool same_name = listed != nullptr && listed->member.name == local->name;
    const Reading lost = same_name ? Reading::of(listed->member, data_offset) : local->reading;
    if (lost.stored_bytes > size_ - data_offset) {
      fault = fmt::format("cut short: {} of {} bytes are there", size_ - data_offset, lost.stored_bytes);
    } else if (lost.stored_bytes == 0) {
      fault = "cut short while it was being written";
    } else {
      // Where its data ends at a record it has its full length, and a zip inside of it is not ours.
      const std::uint64_t end = data_offset + lost.stored_bytes;
      if (next_record(end) == end) covered_ = end;
    }
    return add_found(local->name, at, lost, std::move(fault));
  }

  Result<void> add_found(const std::string& name, std::uint64_t header_offset, const Reading& r, std::string fault) {
    CKPT_CHECK(count_name(name));
    out_.members.push_back({member_of(r, name, header_offset), r.data_offset, std::move(fault)});
    return {};
  }

  static ZipMember member_of(const Reading& r, std::string name, std::uint64_t header_offset) {
    ZipMember m;
    m.name = std::move(name);
    m.method = r.method;
    m.flags = r.flags;
    m.crc32 = r.crc32;
    m.stored_bytes = r.stored_bytes;
    m.size_bytes = r.size_bytes;
    m.header_offset = header_offset;
    return m;
  }

  /// Decodes a member and checks its CRC. `listed`: the directory has it.
  Result<void> read_through(const Reading& r, const std::string& name, bool listed) {
    if (r.method != kStored && r.method != kDeflated) {
      return fail(ErrorCode::unsupported,
                  "compression method {}: only stored and deflated members can be taken out of a damaged archive",
                  r.method);
    }
    // NumPy fills in size and CRC when the data is written: till then they say that there is none.
    const bool empty = r.stored_bytes == 0 && r.method == kStored;
    const bool followed = next_record(r.data_offset) == r.data_offset || size_ - r.data_offset < kLocalBytes;
    if (empty && !listed && (name.ends_with(".npy") || !followed))
      return fail(ErrorCode::truncated, "cut short while it was being written");
    if (!afford(r.stored_bytes))
      return fail(ErrorCode::corrupt, "too many members claim the same bytes: not looked at");
    const auto directory = std::make_shared<ZipDirectory>();
    directory->members.push_back(member_of(r, "", 0));
    CKPT_TRY(const StoragePtr storage, zip_member_storage(source_, directory, directory->members[0], r.data_offset, 0));
    CKPT_TRY(auto reader, storage->open());
    const auto block = thread_buffer(kBlockBytes);
    std::uint64_t at = 0;
    do {  // once even where it is empty
      const auto part = block.first(std::min<std::uint64_t>(block.size(), r.size_bytes - at));
      CKPT_CHECK(reader->read(at, part));
      CKPT_CHECK(advance_(part.size()));
      at += part.size();
    } while (at < r.size_bytes);
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
  std::uint64_t name_bytes_ = 0;
  std::vector<Record> records_;          // by offset
  std::vector<DirectoryEntry> listed_;   // by header_offset
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
