// Archives are written by zip_writer's records and then spoilt, field by field.
#include "container/zip_directory.h"

#include <functional>

#include "base/endian.h"
#include "catch.h"
#include "codec/crc32.h"
#include "container/zip_layout.h"
#include "container/zip_member.h"
#include "container/zip_writer.h"

using namespace netcl::ckpt;

namespace {

struct Archive {
  std::string bytes;
  std::size_t central = 0;  // offset of the directory
  std::size_t end = 0;      // of the end record
};

/// Stored members, one after another.
Archive archive_of(const std::vector<std::pair<std::string, std::string>>& members, const std::string& comment = "") {
  Archive a;
  std::vector<ZipEntry> entries;
  for (const auto& [name, data] : members) {
    ZipEntry e;
    e.name = name;
    e.size_bytes = e.stored_bytes = data.size();
    e.crc32 = crc32(0, std::as_bytes(std::span(data)));
    e.header_offset = a.bytes.size();
    place_zip_data(e, 1);
    a.bytes += zip_local_header(e) + data;
    entries.push_back(e);
  }
  a.central = a.bytes.size();
  a.bytes += zip_central_directory(entries, a.central, comment);
  a.end = a.bytes.size() - 22 - comment.size();
  return a;
}

SourcePtr source_of(std::string_view bytes) {
  const auto view = std::as_bytes(std::span(bytes));
  return memory_source({view.begin(), view.end()}, "a.npz");
}

/// What a thorough look finds: the codes of all problems, or of the error.
std::vector<std::string> findings(std::string_view bytes) {
  const SourcePtr source = source_of(bytes);
  Problems problems;
  std::vector<std::string> codes;
  if (const auto directory = read_zip_directory(source, {}, problems)) {
    std::vector<std::uint64_t> offsets((*directory)->members.size(), 0);
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      const auto data = locate_zip_member(source, **directory, (*directory)->members[i], 64, problems);
      if (!data) {
        codes.push_back(to_string(data.error().code));
        continue;
      }
      offsets[i] = data->offset_bytes;
      const auto storage = zip_member_storage(source, *directory, (*directory)->members[i], offsets[i], 0);
      if (!storage) {
        codes.push_back(to_string(storage.error().code));
        continue;
      }
      std::vector<std::byte> all((*storage)->size_bytes());
      auto reader = (*storage)->open();
      REQUIRE(reader);
      if (const auto done = (*reader)->read(0, all); !done) codes.push_back(to_string(done.error().code));
    }
    check_zip_layout(source, **directory, offsets, problems);
  } else {
    codes.push_back(to_string(directory.error().code));
  }
  for (const Problem& p : problems) codes.push_back(to_string(p.code));
  return codes;
}

template <class T>
void put(std::string& bytes, std::size_t at, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) bytes.at(at + i) = static_cast<char>(value >> (8 * i));
}

using Codes = std::vector<std::string>;

}  // namespace

TEST_CASE("zip_directory: lists members in order, with their places", "[container]") {
  const Archive a = archive_of({{"b.npy", "12345"}, {"a/ä:1.npy", ""}, {"c", "xyz"}}, "a comment");
  Problems problems;
  const auto directory = read_zip_directory(source_of(a.bytes), {}, problems);
  REQUIRE(directory);
  CHECK(problems.empty());
  const auto& members = (*directory)->members;
  REQUIRE(members.size() == 3);
  CHECK(members[0].name == "b.npy");
  CHECK(members[0].size_bytes == 5);
  CHECK(members[1].name == "a/ä:1.npy");
  CHECK(members[2].index == 2);
  CHECK((*directory)->comment == "a comment");
  CHECK((*directory)->central_offset == a.central);
  CHECK((*directory)->end_offset == a.end);
  CHECK(findings(a.bytes).empty());
  CHECK(findings(archive_of({}).bytes).empty());
}

TEST_CASE("zip_directory: says what is wrong with a damaged archive", "[container][hostile]") {
  const Archive good = archive_of({{"a.npy", "hello"}, {"b.npy", "world"}});
  struct Case {
    const char* name;
    std::function<void(std::string&)> spoil;
    Codes expected;
  };
  const std::size_t second_central = good.bytes.find("PK\1\2", good.central + 4);
  const std::size_t second_local = good.bytes.find("PK\3\4", 4);
  const std::vector<Case> cases = {
      {"end-cut", [&](std::string& z) { z.resize(z.size() - 1); }, {"truncated"}},
      {"directory-count", [&](std::string& z) { put<std::uint32_t>(z, good.end + 8, 0x00010001); }, {"zip-count"}},
      {"directory-count-huge", [&](std::string& z) { put<std::uint32_t>(z, good.end + 8, 0xfffefffe); }, {"corrupt"}},
      {"directory-beyond", [&](std::string& z) { put<std::uint32_t>(z, good.end + 16, 0x7fffffff); }, {"corrupt"}},
      {"directory-signature", [&](std::string& z) { z[second_central] = 'Q'; }, {"corrupt"}},
      {"member-crc", [&](std::string& z) { z[z.find("world")] = 'W'; }, {"checksum-mismatch"}},
      {"local-name", [&](std::string& z) { z[second_local + 30] = 'c'; }, {"zip-local-differs"}},
      {"local-method", [&](std::string& z) { put<std::uint16_t>(z, second_local + 8, 8); }, {"zip-local-differs"}},
      {"local-signature", [&](std::string& z) { z[second_local] = 'Q'; }, {"corrupt", "zip-gap"}},
      {"both-at-one-place",
       [&](std::string& z) { put<std::uint32_t>(z, second_central + 42, 0); },
       {"zip-local-differs", "zip-local-differs", "checksum-mismatch", "zip-overlap", "zip-gap"}},
      {"encrypted",
       [&](std::string& z) {
         put<std::uint16_t>(z, second_central + 8, 0x0801);
         put<std::uint16_t>(z, second_local + 6, 0x0801);
       },
       {"unsupported"}},
      {"unknown-method",
       [&](std::string& z) {
         put<std::uint16_t>(z, second_central + 10, 77);
         put<std::uint16_t>(z, second_local + 8, 77);
       },
       {"unsupported"}},
      {"two-sizes", [&](std::string& z) { put<std::uint32_t>(z, second_central + 24, 4); }, {"corrupt"}},
      {"bytes-after", [&](std::string& z) { z += "rest"; }, {"trailing-bytes"}},
      {"bytes-before", [&](std::string& z) { z.insert(0, "#!/bin/sh\n"); }, {"corrupt"}},
  };
  for (const Case& c : cases) {
    std::string bytes = good.bytes;
    c.spoil(bytes);
    Codes found = findings(bytes);
    // Order is not the point, and a code may come once for each field.
    for (const std::string& code : c.expected) {
      INFO(c.name << ": " << code);
      CHECK(std::find(found.begin(), found.end(), code) != found.end());
    }
    INFO(c.name);
    CHECK_FALSE(found.empty());
  }
}

TEST_CASE("zip_directory: zip64 end records that Python reads otherwise are reported", "[container][hostile]") {
  const Archive plain = archive_of({{"a.npy", "hello"}});
  /// The archive with a zip64 end record, `extra` behind it, and a locator that counts `disks`.
  auto with_zip64 = [&](const std::string& extra, std::uint32_t disks) {
    auto le = [](auto value) {
      std::string out(sizeof value, '\0');
      store_le(out.data(), value);
      return out;
    };
    using u16 = std::uint16_t;
    using u32 = std::uint32_t;
    using u64 = std::uint64_t;
    const std::string record = "PK\6\6" + le(u64{44 + extra.size()}) + le(u16{45}) + le(u16{45}) + le(u32{0}) +
                               le(u32{0}) + le(u64{1}) + le(u64{1}) + le(u64{plain.end - plain.central}) +
                               le(u64{plain.central}) + extra;
    const std::string locator = "PK\6\7" + le(u32{0}) + le(u64{plain.end}) + le(disks);
    return plain.bytes.substr(0, plain.end) + record + locator + plain.bytes.substr(plain.end);
  };
  CHECK(findings(with_zip64("", 1)).empty());
  CHECK(findings(with_zip64("", 2)) == Codes{"unsupported"});
  CHECK(findings(with_zip64("more", 1)) == Codes{"zip-end"});
  std::string newer = plain.bytes;
  newer[plain.central + 6] = 64;  // the version of the specification that reading it needs
  CHECK(findings(newer) == Codes{"corrupt"});
}

TEST_CASE("zip_directory: names that mislead are reported", "[container][hostile]") {
  CHECK(findings(archive_of({{"a", "1"}, {"a", "2"}}).bytes) == Codes{"duplicate-name"});
  CHECK(findings(archive_of({{"/etc/a", "1"}}).bytes) == Codes{"absolute-name"});
  CHECK(findings(archive_of({{"C:/a", "1"}}).bytes) == Codes{"absolute-name"});
  CHECK(findings(archive_of({{"x/../../a", "1"}}).bytes) == Codes{"parent-name"});
  CHECK(findings(archive_of({{"1:weight", "1"}, {"a..b", "2"}, {"a/.b", "3"}}).bytes).empty());
}

TEST_CASE("zip_directory: a second end record is no comment", "[container][hostile]") {
  const Archive inner = archive_of({{"evil", "1"}});
  // zipfile would find the record in the comment, as the last signature of the file.
  CHECK(findings(archive_of({{"good", "2"}}, inner.bytes.substr(inner.end)).bytes) == Codes{"corrupt"});
  CHECK(findings(archive_of({{"good", "2"}}, inner.bytes.substr(inner.end) + "x").bytes) == Codes{"zip-end"});
  CHECK(findings(archive_of({{"zip-in-a-zip", inner.bytes}}).bytes).empty());
}

TEST_CASE("zip_directory: survives every truncation and every changed byte", "[container][hostile]") {
  const Archive a = archive_of({{"a.npy", "hello"}, {"b/ü.npy", "world!"}}, "c");
  for (std::size_t n = 0; n < a.bytes.size(); ++n) CHECK_FALSE(findings(a.bytes.substr(0, n)).empty());
  for (std::size_t i = 0; i < a.bytes.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string bytes = a.bytes;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      (void)findings(bytes);
    }
  }
}
