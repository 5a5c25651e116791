#include <fmt/format.h>

#include "bytes.h"
#include "catch.h"
#include "format/readers.h"

using namespace netcl::ckpt;

namespace {

Result<Checkpoint> read(std::string_view header, std::string_view data) {
  Checkpoint out;
  out.attributes = out.tree.add_dict({});
  const auto done = read_safetensors(
      source_of(le<std::uint64_t>(header.size()) + std::string(header) + std::string(data)), OpenOptions{}, out);
  if (!done) return tl::make_unexpected(done.error());
  return out;
}

std::string one(std::string_view dtype, std::string_view shape, std::size_t bytes) {
  return fmt::format(R"({{"t":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", dtype, shape, bytes);
}

}  // namespace

TEST_CASE("safetensors: each dtype has NumPy's or ml_dtypes' name", "[format]") {
  struct Row {
    const char *dtype, *name;
    std::size_t item_bytes;
  };
  for (const Row& row :
       {Row{"BOOL", "bool", 1}, Row{"U8", "uint8", 1}, Row{"I8", "int8", 1}, Row{"U16", "uint16", 2},
        Row{"I16", "int16", 2}, Row{"U32", "uint32", 4}, Row{"I32", "int32", 4}, Row{"U64", "uint64", 8},
        Row{"I64", "int64", 8}, Row{"F16", "float16", 2}, Row{"BF16", "bfloat16", 2}, Row{"F32", "float32", 4},
        Row{"F64", "float64", 8}, Row{"C64", "complex64", 8}, Row{"F8_E4M3", "float8_e4m3fn", 1},
        Row{"F8_E5M2", "float8_e5m2", 1}, Row{"F8_E8M0", "float8_e8m0fnu", 1}, Row{"F8_E4M3FNUZ", "float8_e4m3fnuz", 1},
        Row{"F8_E5M2FNUZ", "float8_e5m2fnuz", 1}}) {
    CAPTURE(row.dtype);
    const auto got = read(one(row.dtype, "3", 3 * row.item_bytes), std::string(3 * row.item_bytes, 'x')).value();
    const auto tensors = list_tensors(got).value();
    REQUIRE(tensors.size() == 1);
    CHECK(got.tree.tensor(tensors[0].value).dtype.name() == row.name);
  }
}

TEST_CASE("safetensors: tensors are views of the file, metadata are attributes", "[format]") {
  const auto got = read(R"({"__metadata__":{"format":"pt","k":"v"},
                            "b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},
                            "a.x":{"dtype":"U8","shape":[3,1],"data_offsets":[0,3]},
                            "empty":{"dtype":"F32","shape":[0,7],"data_offsets":[5,5]}})",
                        "abcde")
                       .value();
  const auto tensors = list_tensors(got).value();
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[0].name == "a.x");
  CHECK(tensors[1].name == "b");
  CHECK(tensors[2].name == "empty");
  auto reader = TensorReader::open(got.tree.tensor(tensors[1].value)).value();
  std::byte bytes[2];
  REQUIRE(reader.read(bytes));
  CHECK(bytes[1] == std::byte{'e'});
  CHECK(got.tree.text(got.tree.find(got.attributes, "format")->value) == "pt");
  CHECK(got.members.empty());  // only a thorough reading lists them
}

TEST_CASE("safetensors: sizes and dtypes that contradict the data", "[format][hostile]") {
  struct Row {
    std::string header;
    ErrorCode code;
  };
  for (const Row& row :
       {Row{one("F32", "2", 4), ErrorCode::corrupt}, Row{one("F32", "4294967296,4294967296,4", 4), ErrorCode::corrupt},
        Row{one("F32", "4611686018427387905", 4), ErrorCode::corrupt}, Row{one("FLOAT", "1", 4), ErrorCode::corrupt},
        Row{one("", "1", 4), ErrorCode::corrupt}, Row{one("F4", "7", 4), ErrorCode::corrupt},
        Row{one("F6_E3M2", "4", 4), ErrorCode::corrupt}}) {
    CAPTURE(row.header);
    const auto got = read(row.header, "abcd");
    REQUIRE_FALSE(got);
    CHECK(to_string(got.error().code) == std::string(to_string(row.code)));
    CHECK(got.error().member == "t");
  }
  // The empty product does not excuse an overflow.
  CHECK_FALSE(read(one("F32", "9223372036854775807,9223372036854775807,0", 0), ""));
}

TEST_CASE("safetensors: elements smaller than a byte are listed as the bytes that hold them", "[format]") {
  struct Row {
    std::string header;
    std::vector<std::uint64_t> shape;
  };
  for (const Row& row :
       {Row{one("F4", "2,4", 4), {2, 2}}, Row{one("F4", "8", 4), {4}}, Row{one("F4", "2,2,2", 4), {2, 2, 1}},
        Row{one("F6_E2M3", "4", 3), {3}}, Row{one("F6_E3M2", "2,2", 3), {3}}}) {
    CAPTURE(row.header);
    const auto got = read(row.header, std::string(row.shape.size() == 1 && row.shape[0] == 3 ? 3 : 4, 'x'));
    REQUIRE(got);
    const auto tensors = list_tensors(*got).value();
    REQUIRE(tensors.size() == 1);
    CHECK(got->tree.tensor(tensors[0].value).dtype.name() == "uint8");
    CHECK(got->tree.tensor(tensors[0].value).shape == row.shape);
    REQUIRE(got->problems.size() == 1);
    CHECK(got->problems[0].severity == Severity::note);
  }
}
