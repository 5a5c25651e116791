// Flax's msgpack files, byte by byte.
#include <fmt/format.h>

#include "bytes.h"
#include "catch.h"
#include "format/readers.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

/// `value` in so many big-endian bytes.
std::string be(std::uint64_t value, std::size_t num_bytes) {
  std::string out;
  for (std::size_t i = num_bytes; i-- > 0;) out += static_cast<char>(value >> 8 * i);
  return out;
}

std::string text(std::string_view s) { return "\xd9" + be(s.size(), 1) + std::string(s); }
std::string bytes(std::string_view s) { return "\xc6" + be(s.size(), 4) + std::string(s); }
std::string list(const std::vector<std::string>& values) {
  std::string out = "\xdc" + be(values.size(), 2);
  for (const std::string& v : values) out += v;
  return out;
}
std::string map(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string out = "\xde" + be(pairs.size(), 2);
  for (const auto& [key, value] : pairs) out += text(key) + value;
  return out;
}
std::string integer(std::uint64_t value) { return "\xcf" + be(value, 8); }
std::string ext(int type, std::string_view payload) {
  return "\xc9" + be(payload.size(), 4) + static_cast<char>(type) + std::string(payload);
}
std::string packed(const std::vector<std::uint64_t>& shape, std::string_view dtype, std::string_view data) {
  std::vector<std::string> sizes;
  for (const std::uint64_t n : shape) sizes.push_back(integer(n));
  return list({list(sizes), text(dtype), bytes(data)});
}
std::string array(const std::vector<std::uint64_t>& shape, std::string_view dtype, std::string_view data) {
  return ext(1, packed(shape, dtype, data));
}
std::string parts(const std::string& shape, const std::string& chunks) {
  return map({{"__msgpack_chunked_array__", "\xc3"}, {"shape", shape}, {"chunks", chunks}});
}

Result<Checkpoint> read(std::string_view file, const OpenOptions& options = {}) {
  Checkpoint out;
  out.attributes = out.tree.add_dict({});
  const auto done = read_flax(source_of(file), options, out);
  if (!done) return tl::make_unexpected(done.error());
  return out;
}

std::string shown(std::string_view file) {
  const auto got = read(file);
  if (!got)
    return fmt::format("{} at {}: {}", to_string(got.error().code), got.error().offset_bytes.value_or(999),
                       got.error().message);
  return dump(got->tree, got->root);
}

std::string problems_of(const Checkpoint& checkpoint) {
  std::string out;
  for (const Problem& p : checkpoint.problems)
    out += fmt::format("{} {} '{}' at {}: {}\n", to_string(p.severity), to_string(p.code), p.where,
                       p.offset_bytes.value_or(999), p.message);
  return out;
}

}  // namespace

TEST_CASE("flax: arrays by name, lazily, in nested maps", "[format][flax]") {
  const std::string file = map(
      {{"params",
        map({{"Dense_0", map({{"kernel", array({2, 3}, "uint8", "abcdef")}, {"bias", array({}, "int16", "\1\0"s)}})}})},
       {"step", integer(7)}});
  const auto got = read(file).value();
  CHECK(dump(got.tree, got.root) ==
        "{'params': {'Dense_0': {'kernel': <tensor uint8 (2, 3) 616263646566>, 'bias': <tensor int16 () 0100>}}, "
        "'step': 7}");
  const auto tensors = list_tensors(got).value();
  REQUIRE(tensors.size() == 2);
  CHECK(tensors[0].name == "params.Dense_0.kernel");
  const Tensor& kernel = got.tree.tensor(tensors[0].value);
  CHECK(kernel.is_c_contiguous());
  CHECK(kernel.storage->stored_form().offset_bytes == file.find("abcdef"));
  CHECK(kernel.storage->size_bytes() == 6);
  CHECK(got.problems.empty());
  CHECK(got.members.empty());
  OpenOptions thorough;
  thorough.thorough = true;
  const auto members = read(file, thorough).value().members;
  REQUIRE(members.size() == 2);
  CHECK(members[1].name == "params.Dense_0.bias");
}

TEST_CASE("flax: dtypes are called as NumPy and ml_dtypes call them", "[format][flax]") {
  struct Row {
    const char *written, *name;
    std::size_t item_bytes;
  };
  for (const Row& row :
       {Row{"bool", "bool", 1}, Row{"float16", "float16", 2}, Row{"bfloat16", "bfloat16", 2}, Row{"<V2", "bfloat16", 2},
        Row{"V2", "void16", 2}, Row{"void16", "void16", 2}, Row{"float8_e4m3fn", "float8_e4m3fn", 1},
        Row{"int4", "int4", 1}, Row{"complex64", "complex64", 8}, Row{"complex128", "complex128", 16},
        Row{"uint64", "uint64", 8}, Row{"<f4", "float32", 4}, Row{"datetime64[ns]", "datetime64[ns]", 8},
        Row{"timedelta64[25us]", "timedelta64[25us]", 8}, Row{"str96", "str96", 12}, Row{"bytes24", "bytes24", 3}}) {
    CAPTURE(row.written);
    const auto got = read(map({{"t", array({2}, row.written, std::string(2 * row.item_bytes, '\1'))}})).value();
    CHECK(problems_of(got).empty());
    CHECK(got.tree.tensor(got.tree.entries(got.root)[0].value).dtype.name() == row.name);
  }
}

TEST_CASE("flax: values that are no arrays", "[format][flax]") {
  CHECK(shown(map({{"n", "\xc0"},
                   {"t", "\xc3"},
                   {"f", "\xcb\x3f\xf8\0\0\0\0\0\0"s},
                   {"i", "\xff"},
                   {"big", integer(std::uint64_t{1} << 63)},
                   {"s", text("é")},
                   {"b", bytes("\xff"s)},
                   {"c", ext(2, "\x92\xcb\x3f\xf0\0\0\0\0\0\0\x02"s)},
                   {"scalar", ext(3, packed({}, "float32", "\0\0\xc0\x3f"s))},
                   {"list", "\x93\x01\x80\x91\xa1x"}})) ==
        "{'n': None, 't': True, 'f': 1.5r, 'i': -1, 'big': 9223372036854775808, 's': 'é', 'b': b'\xff', 'c': 1+2j, "
        "'scalar': <scalar float32 () 0000c03f>, 'list': [1, {}, ['x']]}");
  CHECK(shown("\x82\x03\xc0\xa1" + "3\xc2"s) == "{3: None, '3': False}");
  CHECK(shown("\x80") == "{}");
  CHECK(shown(array({3}, "int8", "abc")) == "<tensor int8 (3) 616263>");
  // Old programs wrote bytes as texts.
  CHECK(shown(ext(1, list({list({integer(1)}), bytes("int8"), "\xa1z"}))) == "<tensor int8 (1) 7a>");
}

TEST_CASE("flax: an array in parts is one, in the order of the numbers", "[format][flax]") {
  std::vector<std::pair<std::string, std::string>> chunks;
  for (const int i : {0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9})  // as jax sorts texts
    chunks.emplace_back(std::to_string(i), array({1}, "uint8", std::string(1, static_cast<char>('a' + i))));
  const std::string shape = map({{"0", integer(3)}, {"1", integer(4)}});
  const auto got = read(map({{"w", parts(shape, map(chunks))}, {"v", integer(1)}})).value();
  CHECK(dump(got.tree, got.root) == "{'w': <tensor uint8 (3, 4) 6162636465666768696a6b6c>, 'v': 1}");
  CHECK(problems_of(got).empty());
  CHECK(list_tensors(got).value().size() == 1);

  const auto tensor = got.tree.tensor(got.tree.entries(got.root)[0].value);
  CHECK(tensor.storage->seekable());
  CHECK(tensor.storage->stored_form().source == nullptr);
  const auto reader = tensor.storage->open().value();
  std::string some(5, '\0');
  REQUIRE(reader->read(4, std::as_writable_bytes(std::span(some))));
  CHECK(some == "efghi");
  REQUIRE(reader->read(0, std::as_writable_bytes(std::span(some))));
  CHECK(some == "abcde");
  CHECK_FALSE(reader->read(8, std::as_writable_bytes(std::span(some))));

  CHECK(shown(parts(map({{"0", integer(0)}}), map({{"0", array({0}, "int8", "")}}))) == "<tensor int8 (0) >");
  CHECK(shown(parts(list({integer(2)}), list({array({2}, "int8", "ab"), array({0}, "int8", "")}))) ==
        "<tensor int8 (2) 6162>");
}

TEST_CASE("flax: parts that make no array are listed with the reason", "[format][flax][hostile]") {
  const std::string a = array({2}, "uint8", "ab"), two = map({{"0", integer(2)}});
  const auto problem = [&](const std::string& value) {
    const auto got = read(map({{"w", value}, {"after", a}})).value();
    CHECK(list_tensors(got).value().back().name == "after");
    return problems_of(got);
  };
  const std::string start =
      "error unreadable-tensor 'w' at 6: an array in parts that do not make one; they are listed: ";
  CHECK(problem(parts(two, map({{"1", a}}))) == start + "it lacks a shape, or numbered chunks\n");
  CHECK(problem(parts(two, map({{"0", a}, {"00", a}}))) == start + "it lacks a shape, or numbered chunks\n");
  CHECK(problem(parts(two, map({}))) == start + "it lacks a shape, or numbered chunks\n");
  CHECK(problem(map({{"__msgpack_chunked_array__", "\xc3"}})) == start + "it lacks a shape, or numbered chunks\n");
  CHECK(problem(parts(map({{"0", "\xff"}}), map({{"0", a}}))) ==
        start + "its shape holds something other than sizes\n");
  CHECK(problem(parts(two, map({{"0", integer(5)}}))) == start + "one of its chunks is no array that can be read\n");
  CHECK(problem(parts(two, map({{"0", a}, {"1", array({1}, "int8", "x")}}))) ==
        start + "its chunks are of several dtypes\n");
  CHECK(problem(parts(map({{"0", integer(3)}}), map({{"0", a}}))) ==
        start + "its chunks of 2 bytes are not what uint8 (3) needs\n");
  CHECK(problem(parts(map({{"0", integer(~std::uint64_t{0} >> 1)}, {"1", integer(4)}}), map({{"0", a}})))
            .starts_with(start + "its chunks of 2 bytes"));
}

TEST_CASE("flax: an extension that makes no sense hides nothing", "[format][flax][hostile]") {
  const auto problem = [](const std::string& value) {
    const auto got = read(map({{"bad", value}, {"after", array({2}, "int8", "ab")}})).value();
    const auto tensors = list_tensors(got).value();
    CHECK(tensors.back().name == "after");
    CHECK(elements_of(got.tree.tensor(tensors.back().value)).size() == 2);
    return problems_of(got);
  };
  const auto says = [&](const std::string& value, std::string_view severity, std::string_view what) {
    const std::string all = problem(value);
    CAPTURE(all);
    CHECK(all.starts_with(fmt::format("{} unreadable-tensor 'bad' at ", severity)));
    CHECK(all.find(what) != std::string::npos);
  };
  says(array({3}, "int8", "ab"), "error", "its 2 bytes of data are not what int8 (3) needs");
  says(array({2}, "float5", "ab"), "warning", "its dtype is called 'float5'");
  says(array({2}, "object", std::string(16, 'x')), "warning", "its dtype is called 'object'");
  says(array({2}, std::string(65, 'x'), "ab"), "error", "its dtype is no name of one");
  says(array({std::uint64_t{1} << 63}, "int8", "ab"), "error", "its shape holds something other than sizes");
  says(array({std::uint64_t{1} << 62, 4}, "int8", "ab"), "error", "its shape describes more than there can be");
  says(array(std::vector<std::uint64_t>(65, 1), "int8", "a"), "error", "its shape has too many dimensions");
  says(ext(1, packed({2}, "int8", "ab") + "\xc0"), "error", "bytes follow its elements");
  says(ext(1, packed({2}, "int8", "ab").substr(0, 20)), "error", "");
  says(ext(1, ""), "error", "the data end before a value does");
  says(ext(1, "\x92\x90\xa1x"), "error", "it is no list of shape, dtype and elements");
  says(ext(1, "\x93\x01\xa1x\xa0"), "error", "its shape is no list");
  says(ext(1, list({list({integer(1)}), text("int8"), integer(1)})), "error", "its elements are no bytes");
  says(ext(3, packed({}, "int8", "")), "error", "its 0 bytes of data");

  CHECK(problem(ext(2, "\x91\x01")) == "error corrupt 'bad' at 8: a complex number is not two numbers\n");
  CHECK(problem(ext(2, "\x92\x01\xc0")) == "error corrupt 'bad' at 8: a complex number is not two numbers\n");
  CHECK(problem(ext(-1, "\1\2\3\4")) ==
        "warning unknown-extension 'bad' at 8: a value of 4 bytes is of msgpack's extension type -1, which Flax does "
        "not write\n");
  CHECK(shown(list({ext(5, "ab"), integer(1)})) == "[opaque msgpack.ExtType(5)(), 1]");
}

TEST_CASE("flax: errors say where", "[format][flax][hostile]") {
  CHECK(shown("\x82\xa1"s + "a\x01\xa1" + "a\x02") == "corrupt at 4: a map has a key twice");
  CHECK(shown("\x82\x05\x01\xcc\x05\x02"s) == "corrupt at 3: a map has a key twice");
  CHECK(shown("\x81\xa1\xff\x01"s) == "corrupt at 1: a text is not UTF-8");
  CHECK(shown("\x81\xa1" + "a\xa2\xc0\x80"s) == "corrupt at 3: a text is not UTF-8");
  CHECK(shown("\x81\xa1" + "a\xc1"s) == "corrupt at 3: byte 0xc1 begins no value of msgpack");
  CHECK(shown("\x81\x90\x01"s) == "corrupt at 1: a map's key is neither text nor a number");
  CHECK(shown("\x81\xd4\x01\x01\x01"s) == "corrupt at 1: a map's key is neither text nor a number");
  CHECK(shown("\x81\xa1" + "a"s) == "truncated at 3: the data end before a value does");
  CHECK(shown("") == "truncated at 0: the data end before a value does");
  const auto got = read("\x81\xa1" + "a\x01zz"s).value();
  CHECK(problems_of(got) == "error trailing-bytes '' at 4: 2 bytes follow the value's end: Flax does not load it\n");
}

TEST_CASE("flax: every truncation is an error", "[format][flax][hostile]") {
  const std::string file =
      map({{"a", array({2}, "int8", "ab")}, {"b", parts(list({integer(1)}), list({array({1}, "int8", "c")}))}});
  for (std::size_t n = 0; n < file.size(); ++n) {
    const auto got = read(file.substr(0, n));
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ErrorCode::truncated);
  }
}

TEST_CASE("flax: depth, values, arrays and text are bounded", "[format][flax][hostile]") {
  OpenOptions options;
  const auto fails = [&](const std::string& file) {
    const auto got = read(file, options);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ErrorCode::limit_exceeded);
    return got.error().message;
  };
  const std::string deep(options.limits.max_depth, '\x91');
  CHECK(read(deep + "\xc0"));
  CHECK(fails(deep + "\x91\xc0") == "maps and lists are nested deeper than 200000");
  CHECK(problems_of(read(deep + ext(9, "")).value()).starts_with("warning unknown-extension '' at 200000"));
  options.limits.max_values = 10;
  CHECK(fails("\x9f" + std::string(15, '\xc0')) == "the file holds more than 10 values");
  options = {};
  options.limits.max_names = 2;
  const std::string a = array({1}, "int8", "a");
  CHECK(fails(list({a, a, a})) == "the file holds more than 2 arrays");
  options = {};
  options.limits.max_pickle_inline_bytes = 3;
  CHECK(fails(list({text("ab"), bytes("cd")})) == "the file holds more than 3 bytes of text");
}

TEST_CASE("flax: known by content where nothing else matches", "[format][flax]") {
  const TemporaryFolder folder;
  const auto format_of = [&](const char* name, std::string_view file) -> std::string {
    write_text(folder.path / name, file);
    const auto got = open_checkpoint(folder.path / name);
    if (!got) return to_string(got.error().code);
    std::string out = to_string(got->format);
    for (const Problem& p : got->problems) out += " "s + to_string(p.code);
    return out;
  };
  const std::string file = map({{"params", array({2}, "int8", "ab")}});
  CHECK(format_of("checkpoint_1000", file) == "flax");
  CHECK(format_of("a.msgpack", file) == "flax");
  CHECK(format_of("a.pkl", file) == "flax extension-mismatch");
  CHECK(format_of("a.bin", file + "z") == "flax trailing-bytes");
  CHECK(format_of("a.bin", file + file.substr(0, 9)) == "flax trailing-bytes");
  CHECK(format_of("a.bin", "\x82" + text("w") + array({2}, "int8", "ab")) == "truncated");
  CHECK(format_of("a", "\x80") == "flax");
  CHECK(format_of("a.pkl", "\x80") == "truncated");
  CHECK(format_of("a", "\x81\xa1" + "a\x01"s) == "flax");
  CHECK(format_of("a", "\x81\xa1" + "a\x01z"s) == "unsupported");
  CHECK(format_of("a", "\x81\xa1" + "a"s) == "unsupported");
  CHECK(format_of("a.msgpack", "\x81\xa1" + "a"s) == "truncated");
  CHECK(format_of("a.msgpack", "\x80\x02}."s) == "pickle extension-mismatch");
  CHECK(format_of("a", "\x92\x01\x02"s) == "unsupported");
  CHECK(format_of("a.msgpack", "\x92\x01\x02"s) == "flax");
  CHECK(format_of("a.msgpack", "hello, world\n") == "unsupported");
  CHECK(format_of("a.msgpack", "\x89HDF\r\n\x1a\n") == "unsupported");

  write_text(folder.path / "b", "\x81\xa1w\xc7\x0c\x01\x93\x91\x02\xa4int8\xc4\x02"s + "ab");
  CHECK(shown(read_text(folder.path / "b")) == "{'w': <tensor int8 (2) 6162>}");
  CHECK(looks_like_checkpoint(folder.path / "b"));
  write_text(folder.path / "b", "\x81\xa1" + "a\x01"s);
  CHECK_FALSE(looks_like_checkpoint(folder.path / "b"));
}
