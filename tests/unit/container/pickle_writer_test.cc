#include "container/pickle_writer.h"

#include <climits>
#include <cmath>
#include <functional>

#include "bytes.h"
#include "catch.h"
#include "container/pickle_reader.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

using Emit = std::function<void(PickleWriter&)>;

/// What `emit` adds behind PROTO.
std::string emitted(int protocol, const Emit& emit) {
  PickleWriter writer(protocol);
  REQUIRE(writer.take() == "\x80"s + static_cast<char>(protocol));
  emit(writer);
  return writer.take();
}

PickleGraph read_back(int protocol, const Emit& emit) {
  PickleWriter writer(protocol);
  emit(writer);
  writer.stop();
  const std::string bytes = writer.take();
  auto graph = read_pickle_graph(*storage_of(std::as_bytes(std::span(bytes))), 0, {});
  INFO((graph ? std::string() : graph.error().message));
  REQUIRE(graph);
  CHECK(graph->end_offset == bytes.size());
  return std::move(*graph);
}

}  // namespace

TEST_CASE("pickle_writer: emits the opcodes that Python's pickler would", "[container]") {
  const struct {
    std::string what;
    int protocol;
    Emit emit;
    std::string bytes;
  } kCases[] = {
      {"None", 4, [](auto& w) { w.none(); }, "N"},
      {"True", 4, [](auto& w) { w.boolean(true); }, "\x88"},
      {"False", 2, [](auto& w) { w.boolean(false); }, "\x89"},
      {"0", 2, [](auto& w) { w.integer(0); }, "K\0"s},
      {"255", 2, [](auto& w) { w.integer(255); }, "K\xff"},
      {"256", 2, [](auto& w) { w.integer(256); }, "M\0\1"s},
      {"65536", 2, [](auto& w) { w.integer(65536); }, "J\0\0\1\0"s},
      {"-1", 2, [](auto& w) { w.integer(-1); }, "J\xff\xff\xff\xff"},
      {"2**31", 2, [](auto& w) { w.integer(std::int64_t{1} << 31); }, "\x8a\x08\0\0\0\x80\0\0\0\0"s},
      {"2**63 as text", 2, [](auto& w) { w.big_integer("9223372036854775808"); }, "\x8a\x09\0\0\0\0\0\0\0\x80\0"s},
      {"-2**63 as text", 2, [](auto& w) { w.big_integer("-9223372036854775808"); }, "\x8a\x08\0\0\0\0\0\0\0\x80"s},
      {"-2**63 - 1", 2, [](auto& w) { w.big_integer("-9223372036854775809"); },
       "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\xff"},
      {"1.5", 2, [](auto& w) { w.real(1.5); }, "G\x3f\xf8\0\0\0\0\0\0"s},
      {"text", 4, [](auto& w) { w.string("\xc3\xa9"); }, "X\2\0\0\0\xc3\xa9"s},
      {"a lone surrogate", 2, [](auto& w) { w.string("\xed\xb2\x80"); }, "X\3\0\0\0\xed\xb2\x80"s},
      {"bytes", 4, [](auto& w) { w.bytes("\xff"s); }, "B\1\0\0\0\xff"s},
      {"bytes in protocol 2", 2, [](auto& w) { w.bytes("\xff\0"s); },
       "c_codecs\nencode\nq\0(X\3\0\0\0\xc3\xbf\0X\6\0\0\0latin1tR"s},
      {"a payload of 4 GiB - 1", 4, [](auto& w) { w.bytes_header(0xffffffff); }, "B\xff\xff\xff\xff"},
      {"a payload of 4 GiB", 4, [](auto& w) { w.bytes_header(0x100000000); }, "\x8e\0\0\0\0\1\0\0\0"s},
      {"a global", 4, [](auto& w) { w.global("builtins", "set"); }, "cbuiltins\nset\n\x94"},
      {"Python 2's name of it", 2, [](auto& w) { w.global("builtins", "set"); }, "c__builtin__\nset\nq\0"s},
      {"a global again", 2,
       [](auto& w) {
         w.global("a", "b");
         w.global("a", "b");
         w.global("a", "c");
       },
       "ca\nb\nq\0h\0ca\nc\nq\1"s},
      {"a container", 2,
       [](auto& w) {
         w.empty_list();
         w.mark();
         w.empty_dict();
         w.mark();
         w.mark();
         w.tuple();
         w.none();
         w.set_items();
         w.appends();
       },
       "](}((tNue"},
      {"a call with a state", 2,
       [](auto& w) {
         w.none();
         w.reduce();
         w.build();
         w.persistent_id();
         w.stop();
       },
       "NRbQ."},
  };
  for (const auto& c : kCases) {
    INFO(c.what);
    CHECK(emitted(c.protocol, c.emit) == c.bytes);
  }
}

TEST_CASE("pickle_writer: numbers the memo, beyond one byte too", "[container]") {
  for (const int protocol : {2, 4}) {
    const std::string bytes = emitted(protocol, [](PickleWriter& w) {
      w.none();
      for (std::uint32_t i = 0; i < 256; ++i) CHECK(w.put() == i);
    });
    CHECK(emitted(protocol, [](PickleWriter& w) {
            for (int i = 0; i < 256; ++i) w.put();
            w.take();
            w.put();
            w.get(255);
            w.get(256);
          }) == (protocol == 2 ? "r\0\1\0\0h\xffj\0\1\0\0"s : "\x94h\xffj\0\1\0\0"s));
    CHECK(bytes.substr(bytes.size() - 2) == (protocol == 2 ? "q\xff" : "\x94\x94"));
  }
}

TEST_CASE("pickle_writer: integers of any size come back", "[container]") {
  std::vector<std::string> digits = {"18446744073709551616", "36893488147419103231"};
  for (const std::size_t length : {20, 27, 28, 100, 613, 614, 615, 616, 2000}) {
    digits.push_back("1" + std::string(length - 1, '0'));
    digits.push_back(std::string(length, '9'));
    digits.push_back("12345678901234567890" + std::string(length, '7'));
  }
  for (const std::string& d : digits) {
    for (const std::string& text : {d, "-" + d}) {
      const PickleGraph g = read_back(2, [&](PickleWriter& w) { w.big_integer(text); });
      CHECK(g.kind(g.root) == PickleKind::big_integer);
      CHECK(g.text(g.root) == text);
    }
  }
  for (const std::int64_t n : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{-128}, std::int64_t{32768},
                               std::int64_t{-32769}, std::int64_t{INT32_MIN} - 1, INT64_MAX, INT64_MIN}) {
    const PickleGraph g = read_back(4, [&](PickleWriter& w) { w.integer(n); });
    CHECK(g.integer(g.root) == n);
    const PickleGraph t = read_back(4, [&](PickleWriter& w) { w.big_integer(std::to_string(n)); });
    CHECK(t.integer(t.root) == n);
  }
}

TEST_CASE("pickle_writer: reals come back bit by bit", "[container]") {
  for (const double v : {0.0, -0.0, 0.1, 5e-324, HUGE_VAL, -HUGE_VAL, std::nan("123")}) {
    const PickleGraph g = read_back(2, [&](PickleWriter& w) { w.real(v); });
    CHECK(std::bit_cast<std::uint64_t>(g.real(g.root)) == std::bit_cast<std::uint64_t>(v));
  }
}
