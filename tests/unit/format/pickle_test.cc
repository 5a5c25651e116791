// What pickles mean, and what they cost: sharing must not multiply.
#include "catch.h"
#include "netcl/ckpt/format.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

Result<Checkpoint> read(const std::string& pickle, bool thorough = false) {
  const auto bytes = std::as_bytes(std::span(pickle));
  ReadOptions options;
  options.thorough = thorough;
  return read_checkpoint(memory_source({bytes.begin(), bytes.end()}, "p.pkl"), "p.pkl", options);
}

std::string text_of(const std::string& pickle) {
  const auto c = read(pickle);
  return c ? dump(c->tree, c->root) : to_string(c.error().code);
}

std::vector<std::string> globals_of(const Checkpoint& c) {
  std::vector<std::string> out;
  for (const Problem& p : c.problems) {
    if (p.severity == Severity::unsafe) out.push_back(p.global);
  }
  return out;
}

/// `count` times `what`.
std::string times(std::size_t count, const std::string& what) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += what;
  return out;
}

}  // namespace

TEST_CASE("pickle: pure reconstructors give values", "[format]") {
  CHECK(text_of("\x80\x02"s + "ccollections\nOrderedDict\n(lR.") == "corrupt");  // a list is no tuple of arguments
  CHECK(text_of("\x80\x02"s + "ccollections\nOrderedDict\n)R(K\x01K\x02u.") == "{1: 2}");
  CHECK(text_of("c__builtin__\nset\n((lp0\nI1\natR.") == "set(1)");
  CHECK(text_of("c_codecs\nencode\n(V\\u00ff\nVlatin1\ntR.") == "b'\xff'");
  CHECK(text_of("cbuiltins\ncomplex\n(F1.0\nF2.0\ntR.") == "1+2j");
  CHECK(text_of("ctorch.jit._pickle\nbuild_intlist\n((lp0\nI1\naI2\natR.") == "[1, 2]");
  // Equal keys: the first place, the last value.
  CHECK(text_of("(dI1\nS'a'\nsI1\nS'b'\ns.") == "{1: 'b'}");
}

TEST_CASE("pickle: a global that is not known is a name, never a call", "[format][hostile]") {
  const auto c = read("(dS'a'\ncposix\nsystem\n(S'x'\ntRsS'b'\nI1\ns.");
  REQUIRE(c);
  CHECK(globals_of(*c) == std::vector<std::string>{"posix.system"});
  CHECK(dump(c->tree, c->root) == "{'a': opaque posix.system(('x')), 'b': 1}");
  // Damage behind the call does not hide it from those who ask for everything.
  const auto damaged = read("cposix\nsystem\n(S'x'\ntR\xff", true);
  REQUIRE(damaged);
  CHECK(globals_of(*damaged) == std::vector<std::string>{"posix.system"});
  CHECK(damaged->problems.back().code == "corrupt");
  CHECK_FALSE(read("cposix\nsystem\n(S'x'\ntR\xff"));
  // Behind STOP too.
  const auto second = read("N.cposix\nsystem\n(S'x'\ntR\xff", true);
  REQUIRE(second);
  CHECK(globals_of(*second) == std::vector<std::string>{"posix.system"});
}

TEST_CASE("pickle: shared parts are refused before they multiply", "[format][hostile]") {
  const std::size_t n = 100'000;
  const std::string big_tuple = "(" + times(n, "K\x01") + "tp0\n";
  const std::string big_text = "V" + std::string(n * 10, 'a') + "\np0\n";
  for (const std::string& pickle : {
           // Many sets of one tuple, many byte strings of one text, many dicts of one list of pairs.
           "(" + big_tuple + times(n, "c__builtin__\nset\n(g0\ntR") + "l.",
           "(" + big_text + times(n, "c_codecs\nencode\n(g0\nVlatin1\ntR") + "l.",
           "((" + times(n, "(I1\nI2\nt") + "lp0\n" + times(n, "ccollections\nOrderedDict\n(g0\ntR") + "l.",
       }) {
    const auto c = read(pickle);
    REQUIRE_FALSE(c);
    CHECK(c.error().code == ErrorCode::limit_exceeded);
  }
  // A billion laughs in a dtype: each field is a structure of two of the level below.
  std::string dtype = "cnumpy\ndtype\n(S'f4'\nI0\nI1\ntRp0\n";
  for (int level = 1; level <= 40; ++level) {
    const std::string below = "g" + std::to_string(level - 1) + "\n";
    dtype += "0cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nS'b'\nt(dS'a'\n(" + below + "I0\ntsS'b'\n(" + below +
             "I4\ntsI-1\nI-1\nI0\ntbp" + std::to_string(level) + "\n";
  }
  CHECK_FALSE(read(dtype + "."));
}

TEST_CASE("pickle: thousands of arrays may share their dtype", "[format]") {
  const std::string array =
      "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntg9\nI00\nS'ab'\ntb";
  std::string dtype = "cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbp9\n";
  const auto c = read("(" + dtype + "0(" + times(20'000, array) + "l.");
  REQUIRE(c);
  CHECK(list_tensors(*c)->size() == 20'000);
}

TEST_CASE("pickle: arrays of ml_dtypes' types, as ml_dtypes 0.2 and 0.6 write them", "[format]") {
  auto array = [](const std::string& name, const std::string& order, int size, const std::string& bytes) {
    const std::string item = std::to_string(size);
    return "\x80\x04"s + "cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\1btR(K\1(K\1t"s +
           "cnumpy\ndtype\n(cml_dtypes\n" + name + "\n\x89\x88tR(K\3X\1\0\0\0"s + order + "NNNI" + item + "\nI" + item +
           "\nK\100tb\x89" + "C" + static_cast<char>(bytes.size()) + bytes + "tb.";
  };
  CHECK(text_of(array("bfloat16", "<", 2, "\x80\x3f")) == "<tensor bfloat16 (1) 803f>");
  CHECK(text_of(array("bfloat16", ">", 2, "\x3f\x80")) == "<tensor bfloat16 (1) 803f>");
  CHECK(text_of(array("float8_e4m3fn", "<", 1, "8")) == "<tensor float8_e4m3fn (1) 38>");
  CHECK(text_of(array("float8_e8m0fnu", "|", 1, "8")) == "<tensor float8_e8m0fnu (1) 38>");
  CHECK(text_of(array("bfloat16", "<", 4, "\x80\x3f\0\0"s)) == "corrupt");
  // Types of other widths, NumPy's own under this module, and functions are strangers.
  for (const char* name : {"int4", "float32", "finfo"}) {
    const auto c = read(array(name, "<", 1, "8"));
    REQUIRE(c);
    CHECK(globals_of(*c) == std::vector<std::string>{std::string("ml_dtypes.") + name});
  }
  CHECK(text_of("cml_dtypes\nbfloat16\n(F1\ntR.") == "corrupt");  // a class, and not called
}
