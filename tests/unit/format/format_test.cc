// What a file is, found by its content; and what is said of one that is no checkpoint.
#include "netcl/ckpt/format.h"

#include "catch.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

Result<Checkpoint> read(const TemporaryFolder& folder, const char* name, std::string_view bytes) {
  write_text(folder.path / name, bytes);
  return read_checkpoint(folder.path / name);
}

std::string npy_of_two_bytes() {
  std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
  header.resize(117, ' ');
  return "\x93NUMPY" + std::string("\x01\x00\x76\x00", 4) + header + "\nab";
}

}  // namespace

TEST_CASE("format: found by content, whatever the name; a wrong name is noted", "[format]") {
  const TemporaryFolder folder;
  const std::string pickle("\x80\x02}q\0X\1\0\0\0aK\1s.", 15);
  const std::string safetensors =
      std::string("\x38\0\0\0\0\0\0\0", 8) + R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   ab)";
  struct Case {
    const char* name;
    std::string bytes;
    Format format;
    bool noted;
  };
  const std::vector<Case> cases = {
      {"a.npy", npy_of_two_bytes(), Format::npy, false},
      {"a.pkl", npy_of_two_bytes(), Format::npy, true},
      {"a.pkl", pickle, Format::pickle, false},
      {"a.npz", pickle, Format::pickle, true},
      {"a.bin", pickle, Format::pickle, false},
      {"a.pkl", "(dp0\nS'a'\nI1\ns.", Format::pickle, false},
      {"a", "(dp0\nS'a'\nI1\ns.", Format::pickle, false},
      {"a.safetensors", safetensors, Format::safetensors, false},
      {"a.pt", safetensors, Format::safetensors, true},
      {"empty.npz", std::string("PK\5\6") + std::string(18, '\0'), Format::npz, false},
  };
  for (const Case& c : cases) {
    INFO(c.name << " " << to_string(c.format));
    const auto checkpoint = read(folder, c.name, c.bytes);
    REQUIRE(checkpoint);
    CHECK(checkpoint->format == c.format);
    const bool noted = std::any_of(checkpoint->problems.begin(), checkpoint->problems.end(),
                                   [](const Problem& p) { return p.code == std::string("extension-mismatch"); });
    CHECK(noted == c.noted);
  }
}

TEST_CASE("format: a checkpoint in a directory is known by its first bytes", "[format]") {
  const TemporaryFolder folder;
  const auto looks = [&](std::string_view bytes) {
    write_text(folder.path / "a", bytes);
    return looks_like_checkpoint(folder.path / "a");
  };
  const auto zip = [](std::string_view name) {
    return "PK\3\4"s + std::string(22, '\0') + static_cast<char>(name.size()) + std::string(3, '\0') +
           std::string(name) + "data";
  };
  for (const std::string& yes : {zip("w.npy"), zip("archive/data.pkl"), "\x93NUMPY\1\0"s, "\x80\4}."s,
                                 "\x80\2\x8a\x0al\xfc\x9c"s, "\2\0\0\0\0\0\0\0{}"s}) {
    CHECK(looks(yes));
  }
  for (const std::string& no : {""s, zip("[Content_Types].xml"), zip(""), "PK\3\4"s,
                                "\x80\x10"
                                "ab"s,
                                "\x80"s, "\x93NUM"s, "text"s, "\x7f"s + "ELF"}) {
    CHECK_FALSE(looks(no));
  }
  CHECK_FALSE(looks_like_checkpoint(folder.path));
  CHECK_FALSE(looks_like_checkpoint(folder.path / "missing"));
}

TEST_CASE("format: a stranger is named, whatever its extension", "[format][hostile]") {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "empty"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"},
      {"<!DOCTYPE html>\n<html></html>\n", "web page"},
      {" {\"epoch\": 1}", "JSON"},
      {"\x1f\x8b\x08", "gunzip"},
      {"BZh91AY&SY\x01\x02", "bunzip2"},
      {"\xfd\x37zXZ", "unxz"},
      {"\x28\xb5\x2f\xfd\x24", "zstd -d"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
      {"pickle" + std::string(251, '\0') + "ustar", "tar archive"},
      {std::string(4096, '\0'), "zeros"},
  };
  for (const char* name : {"a.npz", "a.pkl", "a.pt", "a.safetensors", "a"}) {
    for (const auto& [bytes, says] : cases) {
      const auto checkpoint = read(folder, name, bytes);
      REQUIRE_FALSE(checkpoint);
      INFO(name << ": " << checkpoint.error().message);
      CHECK(checkpoint.error().code == ErrorCode::unsupported);
      CHECK(checkpoint.error().message.find(says) != std::string::npos);
    }
  }
  const auto unknown = read(folder, "a.npz", "hello, world\n");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message.find("not a checkpoint") != std::string::npos);
  const auto missing = read_checkpoint(folder.path / "missing.npz");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::io);
}
