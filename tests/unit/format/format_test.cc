// What a file is, found by its content; and what is said of one that is no checkpoint.
#include "netcl/ckpt/open.h"

#include <fmt/format.h>

#include "archive.h"
#include "catch.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

Result<Checkpoint> read(const TemporaryFolder& folder, const char* name, std::string_view bytes) {
  write_text(folder.path / name, bytes);
  return open_checkpoint(folder.path / name);
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
                                   [](const Problem& p) { return p.code == ProblemCode::extension_mismatch; });
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

TEST_CASE("format: a file of another program is named, whatever its extension", "[format][hostile]") {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "empty"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"},
      {"<!DOCTYPE html>\n<html></html>\n", "web page"},
      {" {\"epoch\": 1}", "JSON"},
      {"GGUF\3", "GGUF"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
      {"pickle" + std::string(251, '\0') + "ustar", "a tar archive whose first header is damaged"},
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
  const auto missing = open_checkpoint(folder.path / "missing.npz");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::io);
}

TEST_CASE("format: a compressed file is read as what is in it", "[format]") {
  const TemporaryFolder folder;
  const std::string_view hex =
      "1f8b08000000000002039bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e536aa8aea3a09e965f54529498179f5f"
      "94920a12774bcc294e058a17672416a402f91a463a9a3a0ab50a1400aec424009d082a7782000000";
  std::string gz;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    gz += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  const auto c = read(folder, "a.npy.gz", gz);
  REQUIRE(c);
  CHECK(c->format == Format::npy);
  CHECK(c->file_bytes == gz.size());
  CHECK(c->problems.empty());
  CHECK(dump(c->tree, c->root) == dump(read(folder, "a.npy", npy_of_two_bytes())->tree, c->root));
  const auto rest = read(folder, "a.npy.gz", gz + "rest");
  REQUIRE(rest);
  REQUIRE(rest->problems.size() == 1);
  CHECK(rest->problems[0].code == ProblemCode::trailing_bytes);
  CHECK(read(folder, "a.gz", gz.substr(0, gz.size() - 9)).error().code == ErrorCode::truncated);
}

TEST_CASE("format: arrays one after another in an npy file are all read", "[format]") {
  const TemporaryFolder folder;
  const std::string one = npy_of_two_bytes();
  const auto c = read(folder, "log.npy", one + one + one);
  REQUIRE(c);
  CHECK(c->problems.empty());
  const auto names = list_tensors(*c);
  REQUIRE(names);
  REQUIRE(names->size() == 3);
  CHECK((*names)[0].name == "(array)");
  CHECK((*names)[2].name == "(array 3)");
  const auto cut = read(folder, "log.npy", one + one.substr(0, one.size() - 1));
  REQUIRE(cut);
  REQUIRE(cut->problems.size() == 1);
  CHECK(cut->problems[0].severity == Severity::error);
  const auto junk = read(folder, "log.npy", one + "junk");
  REQUIRE(junk);
  CHECK(junk->tree.kind(junk->root) == ValueKind::tensor);
  CHECK(junk->problems.size() == 1);
}

TEST_CASE("format: GPT-SoVITS' mark over a zip's first bytes is seen through", "[format]") {
  const TemporaryFolder folder;
  std::string zip = zip_of({{"a/data.pkl", std::string("\x80\x02}.", 4), {}}, {"a/version", "3\n", {}}});
  zip.replace(0, 2, "05");
  const auto c = read(folder, "voice.pth", zip);
  REQUIRE(c);
  CHECK(c->format == Format::torch);
  REQUIRE(c->problems.size() == 1);
  CHECK(c->problems[0].code == ProblemCode::zip_mark);
}

TEST_CASE("format: torch.export's archive lists the weights that its JSON names", "[format][hostile]") {
  const TemporaryFolder folder;
  auto archive = [](const std::string& meta) {
    return zip_of({{"m/data/weights/m_weights_config.json",
                    R"({"config": {"fc.weight": {"path_name": "weight_0", "use_pickle": false, "tensor_meta": )" +
                        meta + R"(}, "odd": {"path_name": "weight_1", "use_pickle": true, "tensor_meta": null}}})",
                    {}},
                   {"m/data/weights/weight_0", std::string("\1\0\2\0\3\0", 6), {}},
                   {"m/byteorder", "little", {}},
                   {"m/archive_format", "pt2", {}}});
  };
  auto meta = [](const char* dtype, const char* size, const char* stride, const char* offset) {
    return fmt::format(R"({{"dtype": {}, "sizes": [{{"as_int": {}}}], "strides": [{{"as_int": {}}}], )"
                       R"("storage_offset": {{"as_int": {}}}}})",
                       dtype, size, stride, offset);
  };
  const auto c = read(folder, "m.pt2", archive(meta("3", "2", "1", "1")));
  REQUIRE(c);
  CHECK(c->format == Format::torch);
  const auto names = list_tensors(*c).value();
  REQUIRE(names.size() == 2);
  CHECK(names[0].name == "fc.weight");
  const Tensor& weight = c->tree.tensor(names[0].value);
  CHECK(weight.dtype.name() == "int16");
  CHECK(weight.offset_bytes == 2);
  CHECK(c->tree.tensor(names[1].value).why_unreadable.find("pickled") != std::string::npos);
  for (const std::string& bad : {meta("3", "3", "1", "1"), meta("3", "2", "9223372036854775807", "1"),
                                 meta("3", "9223372036854775807", "1", "0"), meta("99", "2", "1", "1"),
                                 meta("3", "-2", "1", "1"), meta("\"x\"", "2", "1", "1"), std::string("[]")}) {
    INFO(bad);
    const auto other = read(folder, "m.pt2", archive(bad));
    REQUIRE(other);
    const auto listed = list_tensors(*other).value();
    REQUIRE(listed.size() == 2);
    CHECK_FALSE(other->tree.tensor(listed[0].value).why_unreadable.empty());
  }
}
