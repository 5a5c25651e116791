// Pickles are written opcode by opcode, as pickletools prints them.
#include "container/pickle_reader.h"

#include "catch.h"
#include "netcl/ckpt/storage.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

Result<PickleGraph> read(std::string_view pickle) {
  return read_pickle_graph(*storage_of(std::as_bytes(std::span(pickle))), 0, {});
}

/// The value as text: enough to tell what was read.
std::string show(const PickleGraph& g, PickleId id) {
  const auto list = [&](const char* open, const char* close) {
    std::string out = open;
    for (const PickleId i : g.items(id)) out += show(g, i) + ",";
    return out + close;
  };
  switch (g.kind(id)) {
    case PickleKind::none: return "None";
    case PickleKind::boolean: return g.boolean(id) ? "True" : "False";
    case PickleKind::integer: return std::to_string(g.integer(id));
    case PickleKind::big_integer: return std::string(g.text(id));
    case PickleKind::real: return std::to_string(g.real(id));
    case PickleKind::string: return "'" + std::string(g.text(id)) + "'";
    case PickleKind::bytes: return "bytes(" + std::to_string(g.range(id).size_bytes) + ")";
    case PickleKind::list: return list("[", "]");
    case PickleKind::tuple: return list("(", ")");
    case PickleKind::set: return list("{", "}");
    case PickleKind::frozenset: return list("frozen{", "}");
    case PickleKind::dict: return list("dict[", "]");
    case PickleKind::global: return g.global(id).qualified();
    case PickleKind::call: return show(g, g.call(id).callable) + show(g, g.call(id).args);
    case PickleKind::persistent: return "persistent " + show(g, g.persistent_id(id));
  }
  return "?";
}

std::string text_of(std::string_view pickle) {
  const auto graph = read(pickle);
  return graph ? show(*graph, graph->root) : to_string(graph.error().code);
}

using namespace std::string_literals;

const std::vector<std::pair<std::string, std::string>> kGood = {
    {"N.", "None"},
    {"I01\n.", "True"},
    {"I00\n.", "False"},
    {"I-7\n.", "-7"},
    {"L123456789012345678901L\n.", "123456789012345678901"},
    {"F0.5\n.", "0.500000"},
    {"S'a\\x41\\n'\n.", "'aA\n'"},
    {"Va\\u00e9\n.", "'aé'"},
    {"V\\\\u0041\n.", "'\\\\u0041'"},  // an even number of backslashes is no escape
    {"(I1\nI2\nt.", "(1,2,)"},
    {"(lp0\nI1\na.", "[1,]"},
    {"(dp0\nS'a'\nI1\ns.", "dict['a',1,]"},
    {"(I1\nI2\nl.", "[1,2,]"},
    {"cos\nsystem\n.", "os.system"},
    {"cos\nsystem\n(S'x'\ntR.", "os.system('x',)"},
    {"(ios\nsystem\n.", "os.system()"},
    {"Pkey\n.", "persistent 'key'"},
    {"\x80\x02K\x05.", "5"},
    {"\x80\x02M\x01\x02.", "513"},
    {"\x80\x02J\xff\xff\xff\xff.", "-1"},
    {"\x80\x02\x8a\x01\xff.", "-1"},
    {"\x80\x02\x8a\x00."s, "0"},
    {"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."s, "18446744073709551616"},
    {"\x80\x02\x88.", "True"},
    {"\x80\x02].", "[]"},
    {"\x80\x02}(U\x01"s + "aK\x01u.", "dict['a',1,]"},
    {"\x80\x02K\x01K\x02K\x03\x87.", "(1,2,3,)"},
    {"\x80\x02K\x01\x85q\x00h\x00\x86."s, "truncated"},  // \x86 takes two
    {"\x80\x02K\x01q\x00h\x00\x86."s, "(1,1,)"},
    {"\x80\x02G\x3f\xe0\x00\x00\x00\x00\x00\x00."s, "0.500000"},
    {"\x80\x03"s + "C\x03"s + "abc.", "bytes(3)"},
    {"\x80\x04\x8c\x02hi\x94."s, "'hi'"},
    {"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"},
    {"\x80\x04\x8f(K\x01K\x02\x90.", "{1,2,}"},
    {"\x80\x04(K\x01\x91.", "frozen{1,}"},
    {"\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00xy."s, "bytes(2)"},
    {"(I1\n0I2\n.", "2"},
};

}  // namespace

TEST_CASE("pickle_reader: reads every kind of value, of every protocol", "[container]") {
  for (const auto& [pickle, expected] : kGood) {
    if (expected == "truncated") continue;
    INFO(expected);
    CHECK(text_of(pickle) == expected);
  }
}

TEST_CASE("pickle_reader: refuses what pickle would refuse", "[container][hostile]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "truncated"},
      {"N", "truncated"},
      {".", "corrupt"},           // nothing on the stack
      {"\xff.", "corrupt"},       // no opcode
      {"h\x05.", "corrupt"},      // no such memo
      {"t.", "corrupt"},          // no mark
      {"K\x01R.", "corrupt"},     // too few operands
      {"\x80\x09N.", "corrupt"},  // no such protocol
      {"I12x\n.", "corrupt"},
      {"Vabc", "truncated"},
      {"V\\u00\n.", "corrupt"},
      {"S'abc\n.", "corrupt"},
      {"X\xff\xff\xff\x7f"
       "a.",
       "truncated"},  // claims 2 GB
      {"B\xff\xff\xff\xff"
       "a.",
       "truncated"},
      {"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"
       "a.",
       "truncated"},
      {"\x8b\xff\xff\xff\xff.", "corrupt"},  // a negative length
      {"\x95\x05\x00\x00\x00\x00\x00\x00\x00N."s, "truncated"},
      {"K\x01K\x02s.", "corrupt"},  // SETITEM on a number
  };
  for (const auto& [pickle, expected] : cases) {
    INFO(pickle);
    CHECK(text_of(pickle) == expected);
  }
}

TEST_CASE("pickle_reader: what was named before an error is known", "[container][hostile]") {
  const std::string pickle = "cos\nsystem\n(S'x'\ntR\xff";
  std::vector<PickleGlobal> named;
  const auto graph = read_pickle_graph(*storage_of(std::as_bytes(std::span(pickle))), 0, {}, &named);
  REQUIRE_FALSE(graph);
  REQUIRE(named.size() == 1);
  CHECK(named[0].qualified() == "os.system");
  CHECK(graph.error().offset_bytes == pickle.size() - 1);
}

TEST_CASE("pickle_reader: depth costs no stack", "[container][hostile]") {
  const std::size_t depth = 200'000;
  CHECK(read(std::string(depth, ']') + std::string(depth - 1, 'a') + "."));
  CHECK(read("N" + std::string(depth, '\x85') + "."));
}

TEST_CASE("pickle_reader: survives every truncation and every changed byte", "[container][hostile]") {
  for (const auto& [pickle, expected] : kGood) {
    for (std::size_t n = 0; n < pickle.size(); ++n) CHECK_FALSE(read(pickle.substr(0, n)));
    for (std::size_t i = 0; i < pickle.size(); ++i) {
      for (int flip = 1; flip < 256; ++flip) {
        std::string changed = pickle;
        changed[i] = static_cast<char>(changed[i] ^ flip);
        (void)read(changed);
      }
    }
  }
}
