#include <fmt/format.h>

#include <cmath>

#include "catch.h"
#include "format/readers.h"
#include "format/structure_decode.h"
#include "format/structure_encode.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

Tensor floats(std::vector<float> values) { return tensor_of(values, ScalarType::float32); }

/// The flat checkpoint that a reader of npz or safetensors has before it looks at the structure.
Checkpoint flattened(const Checkpoint& from) {
  auto tensors = list_tensors(from);
  REQUIRE(tensors);
  std::vector<std::pair<std::string, Tensor>> flat;
  for (const NamedTensor& t : *tensors) flat.emplace_back(t.name, from.tree.tensor(t.value));
  return checkpoint_of(flat);
}

Checkpoint nested() {
  Checkpoint c;
  Tree& t = c.tree;
  auto entry = [&](std::string_view key, ValueId value) { return Tree::Entry{t.add_string(key), value}; };
  const ValueId moments[] = {t.add_tensor(floats({1})), t.add_tensor(floats({2, 3}))};
  const ValueId pairs[] = {t.add_sequence(ValueKind::tuple, moments)};
  const Tree::Entry optimizer[] = {entry("t", t.add_integer(8)),
                                   entry("moments", t.add_sequence(ValueKind::list, pairs))};
  const Tree::Entry model[] = {entry("a.b", t.add_tensor(floats({4}))), entry("$odd", t.add_tensor(floats({5})))};
  const ValueId odd[] = {t.add_none(),
                         t.add_boolean(true),
                         t.add_real(0.1),
                         t.add_real(3),
                         t.add_real(std::nan("")),
                         t.add_real(-HUGE_VAL),
                         t.add_big_integer("123456789012345678901234567890"),
                         t.add_complex(1, -2),
                         t.add_bytes(std::string_view("\0\xff", 2)),
                         t.add_string("line\n\"quoted\" \xED\xB2\x80"),
                         t.add_name("torch.float32"),
                         t.add_string("π"),
                         t.add_scalar(tensor_of(std::vector<double>{2.5}, make_dtype(ScalarType::float64), {})),
                         t.add_sequence(ValueKind::set, {}),
                         t.add_sequence(ValueKind::frozenset, std::array{t.add_integer(1)}),
                         t.add_dict({})};
  const Tree::Entry by_number[] = {{t.add_integer(7), t.add_tensor(floats({6}))}, {t.add_none(), t.add_string("none")}};
  const Tree::Entry root[] = {entry("model", t.add_dict(model)), entry("optimizer", t.add_dict(optimizer)),
                              entry("odd", t.add_sequence(ValueKind::list, odd)),
                              entry("by_number", t.add_dict(by_number)), entry("epoch", t.add_integer(3))};
  c.root = t.add_dict(root);
  c.attributes = t.add_dict({});
  return c;
}

}  // namespace

TEST_CASE("structure: a flat list of tensors needs none", "[format]") {
  const auto text = encode_structure(checkpoint_of({{"a", floats({1})}, {"b.c", floats({2})}}), true, true);
  REQUIRE(text);
  CHECK(text->empty());
}

TEST_CASE("structure: every kind of value comes back", "[format]") {
  const Checkpoint before = nested();
  const auto text = encode_structure(before, true, true);
  REQUIRE(text);
  Checkpoint after = flattened(before);
  const auto decoded = decode_structure(*text, {}, after);
  INFO((decoded ? std::string() : decoded.error().message));
  REQUIRE(decoded);
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
}

TEST_CASE("structure: names the dtypes that an npz cannot", "[format]") {
  const Checkpoint before =
      checkpoint_of({{"w", tensor_of(std::vector<std::uint8_t>{1, 2}, ScalarType::float8_e4m3fn)}});
  const auto text = encode_structure(before, true, false);
  REQUIRE(text);
  Checkpoint after = checkpoint_of(
      {{"w", tensor_of(std::vector<std::uint8_t>{1, 2}, DType{ScalarType::raw, false, 1, "", nullptr}, {2})}});
  REQUIRE(decode_structure(*text, {}, after));
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
}

TEST_CASE("structure: tensors that others dropped or added since are neither invented nor lost", "[format]") {
  const Checkpoint before = nested();
  const auto text = encode_structure(before, false, false);
  REQUIRE(text);
  Checkpoint after =
      checkpoint_of({{"model.a.b", floats({4})}, {"new", floats({9})}, {"optimizer.moments.0.1", floats({2, 3})}});
  REQUIRE(decode_structure(*text, {}, after));
  const auto names = list_tensors(after);
  REQUIRE(names);
  std::vector<std::string> found;
  for (const auto& n : *names) found.push_back(n.name);
  CHECK(found == std::vector<std::string>{"model.a.b", "optimizer.moments.0.1", "new"});
}

TEST_CASE("structure: refuses what it cannot say", "[format]") {
  Checkpoint c;
  c.attributes = c.tree.add_dict({});
  const ValueId parts[] = {c.tree.add_integer(1)};
  const ValueId call[] = {c.tree.add_opaque("os.system", parts)};
  c.root = c.tree.add_sequence(ValueKind::list, call);
  CHECK(encode_structure(c, true, true).error().code == ErrorCode::unsafe);
  c.root = c.tree.reserve();
  const ValueId self[] = {c.root};
  c.tree.define_sequence(c.root, ValueKind::list, self);
  CHECK(encode_structure(c, true, true).error().code == ErrorCode::unsupported);
}

TEST_CASE("structure: decides neither what bytes are nor which tensors there are", "[format][hostile]") {
  const auto decode = [](std::string_view state, std::string_view more = "") {
    const Tensor doubles = tensor_of(std::vector<double>{1.5}, make_dtype(ScalarType::float64), {1});
    Checkpoint c = checkpoint_of({{"x", doubles}, {"w", tensor_of(std::vector<std::uint8_t>{7}, ScalarType::uint8)}});
    const auto done = decode_structure(fmt::format(R"({{"netcl-ckpt":1,"state":{}{}}})", state, more), {}, c);
    return std::pair(done.has_value(), dump(c.tree, c.root));
  };
  const std::string flat = decode(R"({})").second;  // both tensors as they lie in the file
  for (const char* state :
       {R"({"x":{"$tensor":"|O"}})", R"({"x":{"$tensor":"O"}})", R"({"x":{"$tensor":"[('a','|O')]"}})",
        R"({"x":{"$tensor":"<i8"}})", R"({"x":{"$tensor":">f8"}})", R"({"x":{"$tensor":"<f4"}})",
        R"({"x":{"$tensor":"float8_e4m3fn"}})", R"({"x":{"$scalar":["|O","0011223344556677"]}})", R"(5)", R"([])",
        R"({"$tensor":""})"}) {
    INFO(state);
    CHECK(decode(state) == std::pair(false, flat));
  }
  CHECK(decode("{}", R"(,"attributes":[])") == std::pair(false, flat));
  CHECK(decode("{}", R"(,"attributes":{"a":{"$tensor":""},"x":{"$tensor":""}})") == std::pair(true, flat));
  CHECK(decode(R"({"w":{"$tensor":"float8_e4m3fn"}})").first);
}

TEST_CASE("structure: a document that is cut or changed is an error or a value, never more", "[format][hostile]") {
  const Checkpoint before = nested();
  const auto text = encode_structure(before, true, true);
  REQUIRE(text);
  for (std::size_t cut = 0; cut < text->size(); ++cut) {
    Checkpoint after = flattened(before);
    CHECK_FALSE(decode_structure(std::string_view(*text).substr(0, cut), {}, after));
  }
  for (std::size_t at = 0; at < text->size(); ++at) {
    for (const char c : {'{', '"', '0', '\x01'}) {
      std::string changed = *text;
      changed[at] = c;
      Checkpoint after = flattened(before);
      static_cast<void>(decode_structure(changed, {}, after).has_value());
    }
  }
  for (const char* bad :
       {"{}", "[]", "null", R"({"netcl-ckpt":1})", R"({"netcl-ckpt":2,"state":{}})",
        R"({"netcl-ckpt":1,"state":{"$tuple":3}})", R"({"netcl-ckpt":1,"state":{"$dict":[[1]]}})",
        R"({"netcl-ckpt":1,"state":{"$nonsense":[1,2]}})", R"({"netcl-ckpt":1,"state":{"$scalar":["<f4","00"]}})"}) {
    Checkpoint after = flattened(before);
    CHECK_FALSE(decode_structure(bad, {}, after));
  }
}

TEST_CASE("structure: the sidecar is plain JSON", "[format]") {
  Tree t;
  const ValueId list[] = {t.add_integer(1), t.add_real(0.5), t.add_real(std::nan(""))};
  const Tree::Entry entries[] = {{t.add_string("config"), t.add_sequence(ValueKind::tuple, list)}};
  const auto text = to_plain_json(t, t.add_dict(entries));
  REQUIRE(text);
  CHECK(*text == R"({"config":[1,0.5,NaN]})");
  CHECK_FALSE(to_plain_json(t, t.add_bytes("x")));
}

TEST_CASE("structure: lists that hold each other twice are refused, not written for ever", "[format][hostile]") {
  Checkpoint c;
  c.root = c.tree.add_tensor(floats({1}));
  for (int i = 0; i < 32; ++i) c.root = c.tree.add_sequence(ValueKind::list, std::vector{c.root, c.root});
  c.attributes = c.tree.add_dict({});
  CHECK(encode_structure(c, true, true).error().code == ErrorCode::limit_exceeded);
  const ValueId text = c.tree.add_string(std::string(1 << 20, 'x'));
  c.root = c.tree.add_sequence(ValueKind::list, std::vector(800, text));
  CHECK(encode_structure(c, true, true).error().code == ErrorCode::limit_exceeded);
  c.root = c.tree.add_sequence(ValueKind::list, std::vector(10, text));
  CHECK(encode_structure(c, true, true));
}
