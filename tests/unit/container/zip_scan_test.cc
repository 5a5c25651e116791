// Archives are made of zip_writer's records and spoilt; the scan must find all that is still whole, and nothing else.
#include "container/zip_scan.h"

#include "base/try.h"
#include "bytes.h"
#include "catch.h"
#include "codec/crc32.h"
#include "container/zip_records.h"
#include "container/zip_writer.h"

namespace netcl::ckpt {
namespace {

std::uint32_t crc_of(std::string_view data) { return crc32(0, std::as_bytes(std::span(data))); }

/// DEFLATE of one stored block: the same bytes whatever the library.
std::string deflated(std::string_view data) {
  const auto n = static_cast<std::uint16_t>(data.size());
  return "\x01" + le(n) + le(static_cast<std::uint16_t>(~n)) + std::string(data);
}

struct Content {
  std::string name, data;
  bool deflate = false;
};

struct Archive {
  std::string bytes;
  std::vector<ZipEntry> entries;
  std::size_t central = 0;
};

Archive archive_of(const std::vector<Content>& members, const std::string& comment = "") {
  Archive a;
  for (const Content& m : members) {
    const std::string stored = m.deflate ? deflated(m.data) : m.data;
    ZipEntry e;
    e.name = m.name;
    e.method = m.deflate ? kDeflated : kStored;
    e.size_bytes = m.data.size();
    e.stored_bytes = stored.size();
    e.crc32 = crc_of(m.data);
    e.header_offset = a.bytes.size();
    place_zip_data(e, 1);
    a.bytes += zip_local_header(e) + stored;
    a.entries.push_back(e);
  }
  a.central = a.bytes.size();
  a.bytes += zip_central_directory(a.entries, a.central, comment);
  return a;
}

const std::vector<Content> kMembers = {
    {"a.npy", "first member"}, {"b.npy", "second, packed", true}, {"empty", ""}, {"dir/ä.npy", "the last one"}};

Result<ZipScan> scan(std::string_view bytes) {
  return scan_zip(source_of(bytes), {}, [](std::uint64_t) { return Result<void>(); });
}

/// Names of the members that are whole; each holds what it did.
std::vector<std::string> whole(const ZipScan& scan, std::string_view bytes, const std::vector<Content>& contents) {
  std::vector<std::string> names;
  for (const ScannedMember& m : scan.members) {
    if (!m.fault.empty()) continue;
    names.push_back(m.member.name);
    const std::string_view stored = bytes.substr(m.data_offset, m.member.stored_bytes);
    const bool known = std::any_of(contents.begin(), contents.end(), [&](const Content& c) {
      // The first byte of a deflate block has bits that mean nothing.
      const bool same =
          m.member.method == kDeflated ? stored.substr(1) == deflated(c.data).substr(1) : stored == c.data;
      return same && m.member.size_bytes == c.data.size();
    });
    CHECK(known);
  }
  return names;
}

using Names = std::vector<std::string>;

const Names kNames = {"a.npy", "b.npy", "empty", "dir/ä.npy"};

}  // namespace

TEST_CASE("zip_scan: a sound archive comes back whole", "[container]") {
  const Archive a = archive_of(kMembers, "the comment");
  const auto found = scan(a.bytes);
  REQUIRE(found);
  CHECK(whole(*found, a.bytes, kMembers) == kNames);
  CHECK(found->members.size() == 4);
  CHECK(found->comment.value() == "the comment");
  CHECK(found->problems.empty());
}

TEST_CASE("zip_scan: of a file cut anywhere it keeps the members that are all there", "[container][hostile]") {
  const Archive a = archive_of(kMembers, "comment");
  for (std::size_t length = 0; length < a.bytes.size(); ++length) {
    const std::string_view cut = std::string_view(a.bytes).substr(0, length);
    const auto found = scan(cut);
    REQUIRE(found);
    Names expected;
    for (const ZipEntry& e : a.entries) {
      if (e.data_offset + e.stored_bytes <= length) expected.push_back(e.name);
    }
    INFO("cut to " << length);
    CHECK(whole(*found, cut, kMembers) == expected);
    for (const ScannedMember& m : found->members) {
      if (!m.fault.empty()) CHECK(m.fault.find("cut short") == 0);
    }
    CHECK_FALSE(found->comment);
  }
}

TEST_CASE("zip_scan: one wrong byte costs one member at the most", "[container][hostile]") {
  const Archive a = archive_of(kMembers, "comment");
  for (std::size_t at = 0; at < a.bytes.size(); ++at) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      std::string spoilt = a.bytes;
      spoilt[at] = static_cast<char>(spoilt[at] ^ mask);
      const auto found = scan(spoilt);
      REQUIRE(found);
      std::size_t intact = 0;
      for (const ScannedMember& m : found->members) intact += m.fault.empty();
      // Data is written once; everything about it twice.
      const bool in_data = std::any_of(a.entries.begin(), a.entries.end(), [&](const ZipEntry& e) {
        return at >= e.data_offset && at < e.data_offset + e.stored_bytes;
      });
      INFO("byte " << at << " xor " << mask);
      CHECK(intact >= (in_data ? 3 : 4));
      CHECK(found->members.size() == 4);
      whole(*found, spoilt, kMembers);
    }
  }
}

TEST_CASE("zip_scan: without the directory a wrong byte costs one member at the most", "[container][hostile]") {
  const std::vector<Content> members = {kMembers[0], kMembers[1], kMembers[3]};
  Archive a = archive_of(members);
  a.bytes.resize(a.central);
  for (std::size_t at = 0; at < a.bytes.size(); ++at) {
    std::string spoilt = a.bytes;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 0xff);
    const auto found = scan(spoilt);
    REQUIRE(found);
    INFO("byte " << at);
    CHECK(whole(*found, spoilt, members).size() >= 2);
  }
}

TEST_CASE("zip_scan: members of a writer that could not seek end at their descriptors", "[container]") {
  const auto streamed = [](const std::string& name, const std::string& data, bool signature, bool wide) {
    std::string out = le(kLocalSignature) + le<std::uint16_t>(45) + le(kDescriptorFlag) + le(kStored) +
                      le<std::uint32_t>(0) + le<std::uint32_t>(0) + le<std::uint32_t>(0) + le<std::uint32_t>(0) +
                      le(static_cast<std::uint16_t>(name.size())) + le<std::uint16_t>(0) + name + data;
    if (signature) out += le(kDescriptorSignature);
    out += le(crc_of(data));
    const std::uint64_t n = data.size();
    return out + (wide ? le(n) + le(n) : le(static_cast<std::uint32_t>(n)) + le(static_cast<std::uint32_t>(n)));
  };
  const std::vector<Content> contents = {{"a", "some bytes"}, {"b", "more bytes"}, {"c", ""}};
  for (const bool wide : {false, true}) {
    const std::string bytes = streamed("a", "some bytes", true, wide) + streamed("b", "more bytes", true, wide) +
                              streamed("c", "", true, wide);
    const auto found = scan(bytes);
    REQUIRE(found);
    CHECK(whole(*found, bytes, contents) == Names{"a", "b", "c"});
    // In the middle of "b": its end is not known.
    const auto cut = scan(std::string_view(bytes).substr(0, bytes.find("more") + 6));
    REQUIRE(cut);
    REQUIRE(cut->members.size() == 2);
    CHECK(cut->members[0].fault.empty());
    CHECK(cut->members[1].fault == "cut short while it was being written");
  }
}

TEST_CASE("zip_scan: a zip in a zip is a member's data", "[container][hostile]") {
  const Archive inner = archive_of({{"inner.npy", "inside"}, {"deeper", "x"}}, "its comment");
  const std::vector<Content> contents = {{"inner.npz", inner.bytes}, {"after", "behind"}};
  const Archive outer = archive_of(contents);
  auto found = scan(outer.bytes);
  REQUIRE(found);
  CHECK(whole(*found, outer.bytes, contents) == Names{"inner.npz", "after"});
  CHECK(found->members.size() == 2);
  CHECK(found->comment.value().empty());

  // Nor are its members taken where it is damaged itself.
  std::string spoilt = outer.bytes;
  spoilt[spoilt.find("its comment")] ^= 1;
  found = scan(spoilt);
  REQUIRE(found);
  CHECK(whole(*found, spoilt, contents) == Names{"after"});
  CHECK(found->members.size() == 2);
}

TEST_CASE("zip_scan: an array that NumPy was writing when it ended is lost, and named", "[container]") {
  Archive a = archive_of({{"done.npy", "done"}});
  a.bytes.resize(a.central);
  ZipEntry torn;  // NumPy fills in the sizes at the end
  torn.name = "torn.npy";
  torn.header_offset = a.bytes.size();
  place_zip_data(torn, 1);
  a.bytes += zip_local_header(torn);
  for (const char* rest : {"", "half of its da"}) {
    const auto found = scan(a.bytes + rest);
    REQUIRE(found);
    REQUIRE(found->members.size() == 2);
    CHECK(found->members[0].fault.empty());
    CHECK(found->members[1].member.name == "torn.npy");
    CHECK(found->members[1].fault == "cut short while it was being written");
  }
}

TEST_CASE("zip_scan: of two members with one name the later counts", "[container]") {
  const std::vector<Content> contents = {{"a", "old"}, {"b", "b"}, {"a", "new"}};
  const Archive a = archive_of(contents);
  const auto found = scan(a.bytes);
  REQUIRE(found);
  CHECK(whole(*found, a.bytes, contents) == Names{"b", "a"});
  CHECK(found->members[0].fault.find("later") != std::string::npos);
}

TEST_CASE("zip_scan: what only looks like a record is none", "[container][hostile]") {
  CHECK(scan("")->members.empty());
  CHECK(scan("PK\3\4")->members.empty());
  CHECK(scan(std::string(100, 'P'))->members.empty());
  std::string headers;
  for (int i = 0; i < 100; ++i) headers += "PK\3\4";
  CHECK(scan(headers)->members.empty());
  const auto other = scan(archive_of({{"a", "x"}}).bytes.replace(8, 2, le<std::uint16_t>(93)));
  REQUIRE(other);
  CHECK(whole(*other, archive_of({{"a", "x"}}).bytes, {{"a", "x"}}) == Names{"a"});  // the directory's word counts
}

TEST_CASE("zip_scan: headers that all claim all of the file are not all read", "[container][hostile]") {
  // 20,000 headers, each of a member that ends at the end of the file and has a CRC of its own.
  constexpr std::size_t kCount = 20'000;
  std::string bytes;
  const std::size_t header_bytes = kLocalBytes + 1;
  for (std::size_t i = 0; i < kCount; ++i) {
    const auto rest = static_cast<std::uint32_t>((kCount - i - 1) * header_bytes + 1);
    bytes += le(kLocalSignature) + le<std::uint16_t>(20) + le<std::uint16_t>(0) + le(kStored) + le<std::uint32_t>(0) +
             le(static_cast<std::uint32_t>(i + 1)) + le(rest) + le(rest) + le<std::uint16_t>(1) + le<std::uint16_t>(0) +
             "x";
  }
  bytes += "..";
  std::uint64_t work_bytes = 0;
  const auto found = scan_zip(source_of(bytes), {}, [&](std::uint64_t n) {
    work_bytes += n;
    return Result<void>();
  });
  REQUIRE(found);
  CHECK(whole(*found, bytes, {}).empty());
  CHECK(work_bytes < 10 * bytes.size());
}

TEST_CASE("zip_scan: descriptors and names that overlap cost no more than the file", "[container][hostile]") {
  // 50,000 descriptors of one member, none of them right.
  std::string bytes = le(kLocalSignature) + le<std::uint16_t>(20) + le(kDescriptorFlag) + std::string(18, '\0') +
                      le<std::uint16_t>(1) + le<std::uint16_t>(0) + "x";
  const std::size_t begin = bytes.size();
  for (std::uint32_t i = 0; i < 50'000; ++i) {
    const auto n = static_cast<std::uint32_t>(bytes.size() - begin);
    bytes += le(kDescriptorSignature) + le(i + 1) + le(n) + le(n);
  }
  CHECK(whole(*scan(bytes), bytes, {}).empty());

  // 2,000 headers whose names all reach to the end of the file: 60 MB of names in 60 kB.
  bytes.clear();
  constexpr std::size_t kCount = 2'000;
  for (std::size_t i = 0; i < kCount; ++i) {
    bytes += le(kLocalSignature) + std::string(2, '\1') + le<std::uint16_t>(0) + le(kStored) + std::string(4, '\1') +
             le<std::uint32_t>(0x01010101) + le<std::uint32_t>(0x01010101) + le<std::uint32_t>(0x01010101) +
             le(static_cast<std::uint16_t>((kCount - i - 1) * kLocalBytes + 1)) + le<std::uint16_t>(0x0101);
    for (std::size_t at = bytes.size() - kLocalBytes; at < bytes.size(); ++at) bytes[at] += bytes[at] == 0;
  }
  bytes += std::string(300, 'n');
  const auto found = scan(bytes);
  std::size_t name_bytes = 0;
  for (std::size_t i = 0; found && i < found->members.size(); ++i) name_bytes += found->members[i].member.name.size();
  CHECK(name_bytes <= 3 * bytes.size());
}

TEST_CASE("zip_scan: a member that the directory places elsewhere is not lost too", "[container]") {
  // Names as short as these lie inside of the strings that hold them, and move with them.
  std::vector<Content> contents;
  std::string bytes, directory;
  for (int i = 0; i < 6; ++i) {
    contents.push_back({"w" + std::to_string(i), std::string(20, static_cast<char>('a' + i))});
    Archive one = archive_of({contents.back()});
    one.entries[0].header_offset = bytes.size() + 7;  // wrong
    bytes += one.bytes.substr(0, one.central);
    const std::string records = zip_central_directory(one.entries, 0, "");
    directory += records.substr(0, records.size() - kEndBytes);
  }
  bytes += directory;
  const auto found = scan(bytes);
  REQUIRE(found);
  CHECK(whole(*found, bytes, contents).size() == 6);
  CHECK(found->members.size() == 6);
}

TEST_CASE("zip_scan: ends with what the caller says", "[container]") {
  const auto stopped = scan_zip(source_of(archive_of(kMembers).bytes), {},
                                [](std::uint64_t) -> Result<void> { return fail(ErrorCode::cancelled, "stopped"); });
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::cancelled);
}

}  // namespace netcl::ckpt
