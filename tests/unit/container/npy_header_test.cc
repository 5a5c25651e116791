#include "container/npy_header.h"

#include "base/try.h"
#include "catch.h"

using namespace netcl::ckpt;

namespace {

/// The file's start with this dict as its header, unpadded.
std::string npy(std::string_view dict, int version = 1) {
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) out += static_cast<char>(dict.size() >> (8 * i));
  return out += dict;
}

Result<NpyHeader> parse(std::string_view file, const Limits& limits = {}) {
  const auto bytes = std::as_bytes(std::span(file));
  auto size = npy_header_bytes(bytes.first(std::min(bytes.size(), kNpyPreambleBytes)), limits);
  if (!size) return tl::make_unexpected(size.error());
  if (*size > bytes.size()) return fail(ErrorCode::truncated, "cut");
  return parse_npy_header(bytes.first(*size), limits);
}

std::string header_of(std::string_view descr, std::string_view shape) {
  return "{'descr': " + std::string(descr) + ", 'fortran_order': False, 'shape': " + std::string(shape) + ", }";
}

}  // namespace

TEST_CASE("npy_header: reads what NumPy writes, in every version", "[container]") {
  for (const int version : {1, 2, 3}) {
    const auto h = parse(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }   \n", version));
    REQUIRE(h);
    CHECK(h->descr.text == "<f4");
    CHECK(h->fortran_order);
    CHECK(h->shape == std::vector<std::uint64_t>{3, 4});
    CHECK(h->major_version == version);
    CHECK(h->header_bytes == (version == 1 ? 10 : 12) + 62);
  }
}

TEST_CASE("npy_header: takes the shapes and strings of Python 2 and 3", "[container]") {
  struct Case {
    std::string dict;
    std::vector<std::uint64_t> shape;
  };
  const std::vector<Case> cases = {
      {header_of("'<f4'", "()"), {}},
      {header_of("'<f4'", "(5,)"), {5}},
      {header_of("'<f4'", "(5L, 0L)"), {5, 0}},
      {header_of("'<f4'", "(np.int64(2), np.uint8(3))"), {2, 3}},
      {header_of("u'<f4'", "(1, 2, 3)"), {1, 2, 3}},
      {"{'shape':(2,),'fortran_order':False,'descr':\"<f4\"}", {2}},
  };
  for (const Case& c : cases) {
    INFO(c.dict);
    const auto h = parse(npy(c.dict));
    REQUIRE(h);
    CHECK(h->shape == c.shape);
    CHECK(h->descr.text == "<f4");
  }
  const auto fields = parse(npy(header_of("[('a', '<f4'), (('title', 'b'), '>i2', (2, 3))]", "(7,)")));
  REQUIRE(fields);
  CHECK(fields->descr.items.size() == 2);
  const auto utf8 = parse(npy(header_of("[('größe', '<f4')]", "(1,)"), 3));
  REQUIRE(utf8);
  CHECK(utf8->descr.items[0].items[0].text == "größe");
  const auto latin1 = parse(npy(header_of("[('gr\xf6\xdf\x65', '<f4')]", "(1,)")));
  REQUIRE(latin1);
  CHECK(latin1->descr.items[0].items[0].text == "größe");
}

TEST_CASE("npy_header: refuses what NumPy refuses, calls and bytes", "[container][hostile]") {
  for (const char* dict : {"{b'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
                           "{'descr': b'<f4', 'fortran_order': False, 'shape': (2,), }",
                           "{'descr': [(b'a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (os.getpid(2),), }",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (np.int64(-2),), }",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (np.int64(2, 3),), }",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (np.load(2),), }",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (np.int64(2, }"}) {
    INFO(dict);
    CHECK_FALSE(parse(npy(dict)));
  }
}

TEST_CASE("npy_header: refuses what is no header", "[container][hostile]") {
  Limits limits;
  limits.max_npy_header_bytes = 4096;
  struct Case {
    std::string file;
    ErrorCode code;
  };
  const std::vector<Case> cases = {
      {"", ErrorCode::corrupt},
      {"\x93NUMP", ErrorCode::corrupt},
      {"\x93NUMPY\x01", ErrorCode::truncated},
      {npy("{}", 4), ErrorCode::corrupt},
      {npy(std::string(5000, ' ')), ErrorCode::limit_exceeded},
      {npy(header_of("'<f4'", "(1,)")).substr(0, 40), ErrorCode::truncated},
      {npy(""), ErrorCode::truncated},
      {npy("  "), ErrorCode::corrupt},
      {npy("{}"), ErrorCode::corrupt},
      {npy("(1, 2)"), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(1,)") + "x"), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "5")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(5)")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(-1,)")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(1.5,)")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "('a',)")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(18446744073709551616,)")), ErrorCode::corrupt},
      {npy(header_of("'<f4'", "(007,)")), ErrorCode::corrupt},
      {npy(header_of("__import__('os')", "(1,)")), ErrorCode::corrupt},
      {npy(header_of("'<f4", "(1,)")), ErrorCode::corrupt},
      {npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}"), ErrorCode::corrupt},
      {npy("{'descr': '<f4', 'fortran_order': False}"), ErrorCode::corrupt},
      {npy("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"), ErrorCode::corrupt},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}"), ErrorCode::corrupt},
      {npy(header_of("[('\xff', '<f4')]", "(1,)"), 3), ErrorCode::corrupt},
      {npy(header_of(std::string(100, '[') + std::string(100, ']'), "(1,)")), ErrorCode::corrupt},
  };
  for (const Case& c : cases) {
    INFO(c.file);
    const auto h = parse(c.file, limits);
    REQUIRE_FALSE(h);
    CHECK(h.error().code == c.code);
  }
  std::string dimensions = "(";
  for (int i = 0; i < 100; ++i) dimensions += "1, ";
  const auto deep = parse(npy(header_of("'<f4'", dimensions + ")")));
  REQUIRE_FALSE(deep);
  CHECK(deep.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("npy_header: survives every truncation and every changed byte", "[container][hostile]") {
  const std::string file = npy(header_of("[('a', '<f4', (2,)), ('b', 'U3')]", "(3, 4)"));
  for (std::size_t n = 0; n < file.size(); ++n) CHECK_FALSE(parse(file.substr(0, n)));
  for (std::size_t i = 0; i < file.size(); ++i) {
    for (int flip = 1; flip < 256; ++flip) {
      std::string changed = file;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      (void)parse(changed);
    }
  }
}
