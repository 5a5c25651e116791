#include "container/safetensors_header.h"

#include "bytes.h"
#include "catch.h"

using namespace netcl::ckpt;

namespace {

std::string file(std::string_view header, std::size_t data_bytes) {
  return le<std::uint64_t>(header.size()) + std::string(header) + std::string(data_bytes, 'd');
}

Result<SafetensorsHeader> read(std::string_view bytes, const Limits& limits = {}) {
  return read_safetensors_header(*source_of(bytes), limits);
}

}  // namespace

TEST_CASE("safetensors_header: entries come in the order of their data", "[container]") {
  const auto header = read(file(R"({"z": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]},
                                    "__metadata__": {"format": "pt"},
                                    "a": {"data_offsets": [0, 8], "dtype": "F64", "shape": []}}   )",
                                16))
                          .value();
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[0].name == "a");
  CHECK(header.tensors[0].dtype == "F64");
  CHECK(header.tensors[0].shape.empty());
  CHECK(header.tensors[1].name == "z");
  CHECK(header.tensors[1].begin_bytes == 8);
  CHECK(header.tensors[1].end_bytes == 16);
  CHECK(header.metadata == std::vector<std::pair<std::string, std::string>>{{"format", "pt"}});
}

TEST_CASE("safetensors_header: keys that the format does not have are skipped", "[container]") {
  const auto header = read(file(R"({"t": {"dtype": "U8", "x": [[1, {"dtype": 5}], {}], "shape": [4], "y": null,
                                    "z": "s", "data_offsets": [0, 4]}})",
                                4));
  REQUIRE(header);
  CHECK(header->tensors.size() == 1);
}

TEST_CASE("safetensors_header: what the specification forbids", "[container][hostile]") {
  struct Row {
    std::string bytes;
    ErrorCode code;
    std::string member;
  };
  const auto entry = [](std::string_view text) { return file("{\"t\": " + std::string(text) + "}", 4); };
  const Row rows[] = {
      {"", ErrorCode::truncated, ""},
      {le<std::uint64_t>(4), ErrorCode::truncated, ""},
      {le<std::uint64_t>(100'000'001) + "{}", ErrorCode::limit_exceeded, ""},
      {le<std::uint64_t>(~std::uint64_t{0}) + "{}", ErrorCode::limit_exceeded, ""},
      {file(" {}", 0), ErrorCode::corrupt, ""},
      {file("", 0), ErrorCode::corrupt, ""},
      {file("[]", 0), ErrorCode::corrupt, ""},
      {file("{", 0), ErrorCode::truncated, ""},
      {file("{}", 1), ErrorCode::corrupt, ""},
      {file("{\"t\": NaN}", 0), ErrorCode::corrupt, ""},
      {file(R"({"__metadata__": {"a": 1}})", 0), ErrorCode::corrupt, "__metadata__"},
      {file(R"({"__metadata__": {"a": {}}})", 0), ErrorCode::corrupt, "__metadata__"},
      {file(R"({"__metadata__": []})", 0), ErrorCode::corrupt, "__metadata__"},
      {file(R"({"__metadata__": {"a": "1", "a": "1"}})", 0), ErrorCode::corrupt, ""},
      {entry("null"), ErrorCode::corrupt, "t"},
      {entry("[]"), ErrorCode::corrupt, "t"},
      {entry(R"({"shape": [4], "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": 1, "shape": [4], "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [-4], "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [[4]], "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": 4, "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [18446744073709551615], "data_offsets": [0, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [0.0, 4.0]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [-1, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [4, 0]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [1, 4]})"), ErrorCode::corrupt, "t"},
      {entry(R"({"dtype": "U8", "shape": [4], "data_offsets": [0, 3]})"), ErrorCode::corrupt, ""},
      {entry(R"({"dtype": "U8", "shape": [5], "data_offsets": [0, 5]})"), ErrorCode::truncated, "t"},
      {file(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [3, 7]}})",
            7),
       ErrorCode::corrupt, "b"},
      {file(R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}})",
            4),
       ErrorCode::corrupt, ""},
      {entry("{\"x\": " + std::string(200, '[') + std::string(200, ']') + "}"), ErrorCode::limit_exceeded, ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.bytes);
    const auto got = read(row.bytes);
    REQUIRE_FALSE(got);
    CAPTURE(got.error().message);
    CHECK(to_string(got.error().code) == std::string(to_string(row.code)));
    CHECK(got.error().member == row.member);
  }
}

TEST_CASE("safetensors_header: an error in the JSON is placed in the file", "[container]") {
  CHECK(read(file("{\"a\": x}", 0)).error().offset_bytes == 8 + 6);
}

TEST_CASE("safetensors_header: a sample survives every cut and every changed byte", "[container][hostile]") {
  const std::string sample =
      file(R"({"__metadata__":{"k":"v"},"t":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4],"x":[{}]}})", 4);
  REQUIRE(read(sample));
  for (std::size_t cut = 0; cut < sample.size(); ++cut) CHECK_FALSE(read(sample.substr(0, cut)));
  for (std::size_t at = 0; at < sample.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = sample;
      changed[at] = static_cast<char>(byte);
      const auto got = read(changed);
      if (!got) CHECK_FALSE(got.error().message.empty());
    }
  }
}
