#include "model/dtype.h"

#include "catch.h"

using namespace netcl::ckpt;

TEST_CASE("dtype: type strings have NumPy's name, spelling and size", "[model]") {
  struct Row {
    const char *text, *name, *descr;
    std::uint64_t item_bytes;
  };
  // As NumPy 1.24 prints them: str(dtype.name), dtype.str, dtype.itemsize.
  const Row rows[] = {
      {"?", "bool", "|b1", 1},
      {"|b1", "bool", "|b1", 1},
      {">b1", "bool", "|b1", 1},
      {"<i1", "int8", "|i1", 1},
      {"|u1", "uint8", "|u1", 1},
      {"<i2", "int16", "<i2", 2},
      {">i4", "int32", ">i4", 4},
      {"<u8", "uint64", "<u8", 8},
      {"<f2", "float16", "<f2", 2},
      {">f4", "float32", ">f4", 4},
      {"<f8", "float64", "<f8", 8},
      {"<f16", "float128", "<f16", 16},
      {"<c8", "complex64", "<c8", 8},
      {">c16", "complex128", ">c16", 16},
      {"<c32", "complex256", "<c32", 32},
      {"<M8", "datetime64", "<M8", 8},
      {"<M8[ns]", "datetime64[ns]", "<M8[ns]", 8},
      {">M8[25us]", "datetime64[25us]", ">M8[25us]", 8},
      {"<M8[generic]", "datetime64", "<M8", 8},
      {"<m8[D]", "timedelta64[D]", "<m8[D]", 8},
      {"|S5", "bytes40", "|S5", 5},
      {"<S3", "bytes24", "|S3", 3},
      {"a3", "bytes24", "|S3", 3},
      {"|S0", "bytes", "|S0", 0},
      {"<U3", "str96", "<U3", 12},
      {">U3", "str96", ">U3", 12},
      {"<U0", "str", "<U0", 0},
      {"|V2", "void16", "|V2", 2},
      {"|V8", "void64", "|V8", 8},
      {"|V0", "void", "|V0", 0},
      {"|O", "object", "|O", 8},
      {"=f4", "float32", "<f4", 4},
      {"f4", "float32", "<f4", 4},
      {"float32", "float32", "<f4", 4},
      // As ml_dtypes writes and names them.
      {"<V2", "bfloat16", "<V2", 2},
      {"bfloat16", "bfloat16", "<V2", 2},
      {"<f1", "float8_e5m2", "|V1", 1},
      {"float8_e4m3fn", "float8_e4m3fn", "|V1", 1},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto got = parse_type_string(row.text);
    REQUIRE(got);
    CHECK(got->name() == row.name);
    CHECK(got->descr() == row.descr);
    CHECK(got->item_bytes == row.item_bytes);
  }
}

TEST_CASE("dtype: what NumPy refuses is refused", "[model][hostile]") {
  for (const char* text : {"",
                           "<",
                           "f3",
                           "i16",
                           "x4",
                           "<f4 ",
                           " f4",
                           "f-4",
                           "f+4",
                           "f4f",
                           "M8[",
                           "M8[]x",
                           "M8[x]",
                           "M8[3000000000s]",
                           "<M4",
                           "V-1",
                           "S99999999999",
                           "U536870912",
                           "S18446744073709551617",
                           "O3",
                           "b2",
                           "?1",
                           "<M8[s]x",
                           "<<f4",
                           "float33",
                           "\x80"}) {
    CAPTURE(text);
    const auto got = parse_type_string(text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("dtype: structured types have packed offsets and print as in an npy header", "[model]") {
  const auto f4 = parse_type_string("<f4").value();
  const auto inner = make_structured({{"x", "", f4, 0, {}}, {"it's", "", parse_type_string("|b1").value(), 0, {}}}, 8);
  const auto outer = make_structured({{"a", "title", f4, 0, {2, 3}},
                                      {"b", "", inner.value(), 0, {}},
                                      {"c", "", parse_type_string(">i8").value(), 0, {5}}},
                                     8);
  REQUIRE(outer);
  CHECK(outer->item_bytes == 24 + 5 + 40);
  CHECK((*outer->fields)[1].offset_bytes == 24);
  CHECK((*outer->fields)[2].offset_bytes == 29);
  CHECK(outer->descr() ==
        R"([(('title', 'a'), '<f4', (2, 3)), ('b', [('x', '<f4'), ("it's", '|b1')]), ('c', '>i8', (5,))])");
  CHECK(outer->name() == outer->descr());
  CHECK(little_endian(*outer).fields->at(2).dtype.descr() == "<i8");
  CHECK(*outer == *outer);
  CHECK_FALSE(*outer == little_endian(*outer));
  CHECK_FALSE(has_object(*outer));
  CHECK(has_object(make_structured({{"o", "", make_dtype(ScalarType::object), 0, {}}}, 8).value()));
}

TEST_CASE("dtype: structured types are bounded in depth and size", "[model][hostile]") {
  DType nested = parse_type_string("|u1").value();
  for (int i = 0; i < 32; ++i) nested = make_structured({{"f", "", nested, 0, {}}}, 32).value();
  const auto deeper = make_structured({{"f", "", nested, 0, {}}}, 32);
  REQUIRE_FALSE(deeper);
  CHECK(deeper.error().code == ErrorCode::limit_exceeded);
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{0x80000000}, {1ULL << 32, 1ULL << 32}, {~0ULL, 2}}) {
    const auto large = make_structured({{"f", "", parse_type_string("|u1").value(), 0, shape}}, 32);
    REQUIRE_FALSE(large);
    CHECK(large.error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("dtype: byte order is that of each number in an element", "[model]") {
  struct Row {
    const char *text, *bytes, *want;
  };
  for (const Row& row :
       {Row{"<i4", "abcd", "abcd"}, Row{">i4", "abcdABCD", "dcbaDCBA"}, Row{">c8", "abcdABCD", "dcbaDCBA"},
        Row{">f2", "abcd", "badc"}, Row{">U2", "abcdABCD", "dcbaDCBA"}, Row{"|S4", "abcd", "abcd"},
        Row{">f16", "0123456789abcdef", "fedcba9876543210"}, Row{">V2", "ab", "ba"}}) {
    CAPTURE(row.text);
    std::string bytes = row.bytes;
    to_little_endian(parse_type_string(row.text).value(), std::as_writable_bytes(std::span(bytes)));
    CHECK(bytes == row.want);
  }
  const auto pair = make_structured({{"a", "", parse_type_string(">i2").value(), 0, {2}},
                                     {"b", "", parse_type_string("|S1").value(), 0, {}},
                                     {"c", "", parse_type_string("<i2").value(), 0, {}}},
                                    8);
  std::string bytes = "abcdXefABCDxEF";
  to_little_endian(pair.value(), std::as_writable_bytes(std::span(bytes)));
  CHECK(bytes == "badcXefBADCxEF");
}

TEST_CASE("dtype: python_repr chooses quotes and escapes as Python does", "[model]") {
  CHECK(python_repr("a") == "'a'");
  CHECK(python_repr("it's") == "\"it's\"");
  CHECK(python_repr("'\"") == "'\\'\"'");
  CHECK(python_repr("\\\n\r\t\x01\x7f") == "'\\\\\\n\\r\\t\\x01\\x7f'");
  CHECK(python_repr("é") == "'é'");
}
