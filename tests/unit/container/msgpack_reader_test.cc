#include "container/msgpack_reader.h"

#include <fmt/format.h>

#include "bytes.h"
#include "catch.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

/// What next() gives of `bytes`, as text; strings are read, other bytes skipped.
std::string tokens(std::string_view bytes) {
  const SourcePtr source = source_of(bytes);
  MsgpackReader in(*source, 0, source->size_bytes());
  std::string out;
  while (in.left() > 0) {
    const auto token = in.next();
    if (!token)
      return out + fmt::format("{} at {}: {}", to_string(token.error().code), token.error().offset_bytes.value_or(999),
                               token.error().message);
    switch (token->kind) {
      case MsgpackKind::nil: out += "nil "; break;
      case MsgpackKind::boolean: out += token->integer != 0 ? "true " : "false "; break;
      case MsgpackKind::integer: out += fmt::format("{} ", token->integer); break;
      case MsgpackKind::big_integer: out += fmt::format("{}u ", token->big_integer); break;
      case MsgpackKind::real: out += fmt::format("{:.3g}r ", token->real); break;
      case MsgpackKind::string: {
        std::string text;
        REQUIRE(in.read(token->size, text));
        out += fmt::format("'{}' ", text);
        break;
      }
      case MsgpackKind::bytes:
        out += fmt::format("b{} ", token->size);
        in.skip(token->size);
        break;
      case MsgpackKind::list: out += fmt::format("list{} ", token->size); break;
      case MsgpackKind::map: out += fmt::format("map{} ", token->size); break;
      case MsgpackKind::extension:
        out += fmt::format("ext{}:{} ", token->extension_type, token->size);
        in.skip(token->size);
        break;
    }
  }
  return out;
}

}  // namespace

TEST_CASE("msgpack: numbers of each width", "[msgpack]") {
  CHECK(tokens("\x00\x7f\xe0\xff"s) == "0 127 -32 -1 ");
  CHECK(tokens("\xc0\xc2\xc3"s) == "nil false true ");
  CHECK(tokens("\xcc\xff\xcd\x01\x00\xce\xff\xff\xff\xff"s) == "255 256 4294967295 ");
  CHECK(tokens("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\xcf\x80\x00\x00\x00\x00\x00\x00\x00"s) ==
        "9223372036854775807 9223372036854775808u ");
  CHECK(tokens("\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00"s) ==
        "-128 -32768 -2147483648 -9223372036854775808 ");
  CHECK(tokens("\xd0\x05\xd1\x00\x05"s) == "5 5 ");
  CHECK(tokens("\xca\x3f\xc0\x00\x00\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00"s) == "1.5r -1.5r ");
}

TEST_CASE("msgpack: texts, bytes, extensions and containers of each width", "[msgpack]") {
  CHECK(tokens("\xa0\xa2"s + "ab\xd9\x01" + "c\xda\x00\x01"s + "d\xdb\x00\x00\x00\x01"s + "e") ==
        "'' 'ab' 'c' 'd' 'e' ");
  CHECK(tokens("\xc4\x01" + "a\xc5\x00\x02"s + "ab\xc6\x00\x00\x00\x00"s) == "b1 b2 b0 ");
  CHECK(tokens("\xd4\x01" + "a\xd5\xff"s + "ab\xd6\x03"s + "abcd\xd7\x04"s + "abcdefgh\xd8\x05"s +
               std::string(16, 'x')) == "ext1:1 ext-1:2 ext3:4 ext4:8 ext5:16 ");
  CHECK(tokens("\xc7\x00\x07\xc8\x00\x01\x08"s + "a\xc9\x00\x00\x00\x01\x80"s + "b") == "ext7:0 ext8:1 ext-128:1 ");
  CHECK(tokens("\x90\x80\x91\xc0\x81\xa0\xc0"s) == "list0 map0 list1 nil map1 '' nil ");
  CHECK(tokens("\xdc\x00\x01\xc0\xdd\x00\x00\x00\x00\xde\x00\x00\xdf\x00\x00\x00\x01\x01\x02"s) ==
        "list1 nil list0 map0 map1 1 2 ");
}

TEST_CASE("msgpack: each value that is cut short says where it begins", "[msgpack][hostile]") {
  for (const std::string& whole :
       {"\xcc\x01"s, "\xcd\x01\x02"s, "\xce\x01\x02\x03\x04"s, "\xcf\x01\x02\x03\x04\x05\x06\x07\x08"s, "\xd0\x01"s,
        "\xd3\x01\x02\x03\x04\x05\x06\x07\x08"s, "\xca\x01\x02\x03\x04"s, "\xcb\x01\x02\x03\x04\x05\x06\x07\x08"s,
        "\xa3" + "abc"s, "\xd9\x03" + "abc"s, "\xda\x00\x03"s + "abc", "\xdb\x00\x00\x00\x03"s + "abc",
        "\xc4\x03" + "abc"s, "\xc6\x00\x00\x00\x03"s + "abc", "\xd5\x01"s + "ab", "\xc7\x03\x01"s + "abc",
        "\xc9\x00\x00\x00\x03\x01"s + "abc"}) {
    for (std::size_t n = 1; n < whole.size(); ++n) {
      CAPTURE(whole, n);
      CHECK(tokens("\xc0" + whole.substr(0, n)).starts_with("nil truncated at 1: "));
    }
  }
}

TEST_CASE("msgpack: a length or a count beyond the end is no allocation", "[msgpack][hostile]") {
  CHECK(tokens("\xdb\xff\xff\xff\xff"s + "ab") ==
        "truncated at 0: it claims a text of 4294967295 bytes where 2 bytes are left");
  CHECK(tokens("\xc0\xc6\xff\xff\xff\xff"s) ==
        "nil truncated at 1: it claims a byte string of 4294967295 bytes where 0 bytes are left");
  CHECK(tokens("\xc9\xff\xff\xff\xff\x01"s + "a") ==
        "truncated at 0: it claims an extension of 4294967295 bytes where 1 bytes are left");
  CHECK(tokens("\xdd\xff\xff\xff\xff\xc0"s) ==
        "truncated at 0: it claims a list of 4294967295 elements where 1 bytes are left");
  CHECK(tokens("\xdf\xff\xff\xff\xff\xc0"s) ==
        "truncated at 0: it claims a map of 4294967295 pairs where 1 bytes are left");
  CHECK(tokens("\x82\x01\x02\x03"s) == "truncated at 0: it claims a map of 2 pairs where 3 bytes are left");
}

TEST_CASE("msgpack: the byte that is reserved is refused", "[msgpack][hostile]") {
  CHECK(tokens("\xc0\xc1"s) == "nil corrupt at 1: byte 0xc1 begins no value of msgpack");
}

TEST_CASE("msgpack: values of an extension end with it", "[msgpack]") {
  const SourcePtr source = source_of("\xc7\x03\x01\x93\x05\xa2\x2a"s);
  MsgpackReader in(*source, 0, source->size_bytes());
  const auto extension = in.next().value();
  CHECK(extension.extension_type == 1);
  in.enter(extension.size);
  CHECK(in.left() == 3);
  CHECK_FALSE(in.next());  // a list of three of which two bytes are there
  in.leave();
  CHECK(in.offset() == 6);
  CHECK(in.next().value().integer == 42);
  CHECK(in.left() == 0);
}

TEST_CASE("msgpack: what lies behind a long payload, and a text across blocks, are read", "[msgpack]") {
  const std::string text(5000, 't'), tail(4094, 'x');
  std::string bytes = "\xda"s + '\x13' + '\x88' + text;                         // 5000
  bytes += "\xc6\x00\x03\x0d\x40"s + std::string(200'000, 'p') + "\xa1" + "z";  // 200000
  bytes += "\xda"s + '\x0f' + '\xfe' + tail + "\x07";                           // 4094
  CHECK(tokens(bytes) == fmt::format("'{}' b200000 'z' '{}' 7 ", text, tail));
}
