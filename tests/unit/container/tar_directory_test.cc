// Archives as ustar, GNU tar and Python's tarfile write them, and spoilt ones.
#include "container/tar_directory.h"

#include "bytes.h"
#include "catch.h"
#include "tar.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

Result<TarDirectory> directory_of(const std::string& bytes, Problems* problems = nullptr, const Limits& limits = {}) {
  Problems own;
  return read_tar_directory(source_of(bytes), limits, problems != nullptr ? *problems : own);
}

/// "NAME OFFSET SIZE KIND", member by member, and what stopped it.
std::string text_of(const std::string& bytes) {
  const auto directory = directory_of(bytes);
  if (!directory) return to_string(directory.error().code);
  std::string out;
  for (const TarMember& m : directory->members) {
    const char* kinds[] = {"file", "folder", "other"};
    out += fmt::format("{} {} {} {};", m.name, m.data_offset, m.size_bytes, kinds[static_cast<int>(m.kind)]);
  }
  if (directory->damage) out += to_string(directory->damage->code);
  return out;
}

TarHeader header(const std::string& name, const std::string& size, char type = '0') {
  TarHeader h;
  h.name = name;
  h.size = size;
  h.type = type;
  return h;
}

}  // namespace

TEST_CASE("tar_directory: members of every kind, long names and large sizes", "[container]") {
  CHECK(text_of(tar_of({{"a", "1234"}, {"b/c", ""}, {"d", std::string(513, 'x')}})) ==
        "a 512 4 file;b/c 1536 0 file;d 2048 513 file;");
  CHECK(text_of(tar_member("d/", "", '5') + tar_member("l", "", '2') + tar_member("s", "x", 'S') + kTarEnd) ==
        "d/ 512 0 folder;l 1024 0 other;s 1536 1 other;");
  // A folder of before ustar, sizes between spaces, a name that fills its field.
  CHECK(text_of(header("d/", "", '\0').block() + kTarEnd) == "d/ 512 0 folder;");
  CHECK(text_of(header("a", "  1 ").block() + "x" + tar_padding(1) + kTarEnd) == "a 512 1 file;");
  CHECK(text_of(header(std::string(100, 'n'), "0").block() + kTarEnd) == std::string(100, 'n') + " 512 0 file;");
  auto prefixed = header("n", "0");
  prefixed.prefix = "some/folder";
  CHECK(text_of(prefixed.block() + kTarEnd) == "some/folder/n 512 0 file;");
  prefixed.magic = "ustar  "s + '\0';  // GNU's has times there
  CHECK(text_of(prefixed.block() + kTarEnd) == "n 512 0 file;");
  CHECK(text_of(header("a", "\x80"s + std::string(10, '\0') + "\x02").block() + "xy" + tar_padding(2) + kTarEnd) ==
        "a 512 2 file;");
  const std::string longer(300, 'n');
  CHECK(text_of(tar_member("././@LongLink", longer + '\0', 'L') + tar_member("short", "x") + kTarEnd) ==
        longer + " 1536 1 file;");
  CHECK(text_of(tar_member("PaxHeader",
                           "17 mtime=1.500000\n"s.replace(0, 2, "18") + "13 path=weiß\n"s.replace(0, 2, "14"), 'x') +
                tar_member("ascii", "x") + kTarEnd) == "weiß 1536 1 file;");
  CHECK(text_of(tar_member("PaxHeader", "9 size=3\n", 'x') + header("a", "0").block() + "xyz" + tar_padding(3) +
                kTarEnd) == "a 1536 3 file;");
  CHECK(text_of(tar_member("PaxHeader", "25 GNU.sparse.name=weight\n"s.replace(0, 2, "26"), 'x') +
                tar_member("a", "x") + kTarEnd) == "a 1536 1 other;");
  CHECK(text_of(tar_member("global", "12 comment=\n"s, 'g') + tar_member("a", "x") + kTarEnd) == "a 1536 1 file;");
}

TEST_CASE("tar_directory: the end is two blocks of zeros, and nothing follows", "[container]") {
  const std::string whole = tar_of({{"a", "1234"}});
  Problems problems;
  REQUIRE(directory_of(whole + std::string(9 * 512, '\0'), &problems));
  CHECK(problems.empty());
  REQUIRE(directory_of(whole + "x", &problems));
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].code == ProblemCode::trailing_bytes);
  problems.clear();
  REQUIRE(directory_of(whole.substr(0, 1024), &problems));
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].code == ProblemCode::truncated);
}

TEST_CASE("tar_directory: what is damaged ends the list and says why", "[container][hostile]") {
  const std::string first = tar_member("a", "1234");
  CHECK(text_of(first + "x") == "a 512 4 file;truncated");
  CHECK(text_of(first + std::string(512, 'x')) == "a 512 4 file;corrupt");
  CHECK(text_of(first + header("b", "00000002000").block() + std::string(512, 'x')) == "a 512 4 file;truncated");
  CHECK(text_of(first + header("b", "0x10").block() + kTarEnd) == "a 512 4 file;corrupt");
  CHECK(text_of(first + header("b", "\xff"s + std::string(11, '\xff')).block() + kTarEnd) == "a 512 4 file;corrupt");
  CHECK(text_of(first + header("b", "\x80"s + std::string(11, '\xff')).block() + kTarEnd) == "a 512 4 file;corrupt");
  CHECK(text_of(first + header("b", "\x80"s + std::string(3, '\0') + std::string(8, '\xff')).block() + kTarEnd) ==
        "a 512 4 file;truncated");
  CHECK(text_of(header("b", "00000002000").block()) == "truncated");
  for (const char* pax : {"5 a\n", "99 path=x\n", "0 \n", "x", "7 path=\n", "18446744073709551616 path=x\n",
                          "8 size=x\n", "29 size=18446744073709551616\n"}) {
    INFO(pax);
    CHECK(text_of(first + tar_member("p", pax, 'x') + tar_member("b", "") + kTarEnd) == "a 512 4 file;corrupt");
  }
  CHECK(text_of(first + tar_member("p", "29 size=18446744073709551615\n", 'x') + tar_member("b", "") + kTarEnd) ==
        "a 512 4 file;truncated");
  // tarfile gives all members that follow this name.
  CHECK(text_of(first + tar_member("g", "15 path=pickle\n", 'g') + tar_member("b", "") + kTarEnd) ==
        "a 512 4 file;corrupt");
  // Headers that describe one another, to the file's end.
  std::string chain = first;
  for (int i = 0; i < 5000; ++i) chain += tar_member("p", "", 'x');
  CHECK(text_of(chain) == "a 512 4 file;");
  Limits few;
  few.max_members = 1;
  const auto refused = directory_of(tar_of({{"a", ""}, {"b", ""}}), nullptr, few);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::limit_exceeded);
  few = {};
  few.max_name_bytes = 150;
  CHECK_FALSE(directory_of(tar_of({{std::string(90, 'a'), ""}, {std::string(90, 'b'), ""}}), nullptr, few));
}

TEST_CASE("tar_directory: a start is a header with its checksum", "[container]") {
  const std::string whole = tar_of({{"a", "1234"}});
  CHECK(has_tar_start(whole));
  CHECK_FALSE(has_tar_start(whole.substr(0, 511)));
  CHECK_FALSE(has_tar_start(std::string(512, '\0')));
  CHECK_FALSE(has_tar_start(std::string(512, ' ')));
  CHECK_FALSE(has_tar_start(""));
  for (std::size_t i = 0; i < 148; ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    CHECK_FALSE(has_tar_start(changed));
    static_cast<void>(text_of(changed));
  }
}
