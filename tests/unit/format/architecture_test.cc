#include "format/architecture.h"

#include "catch.h"
#include "model/dtype.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

/// `.netcl` as it is read: the array, and what it says as an attribute.
Checkpoint model_of(Tensor architecture) {
  Checkpoint c = checkpoint_of(
      {{"w", tensor_of(std::vector<std::uint8_t>{7}, ScalarType::uint8)}, {"__netcl_meta__", std::move(architecture)}});
  const Tree::Entry attribute[] = {{c.tree.add_string("__netcl_meta__"), c.tree.add_dict({})}};
  c.attributes = c.tree.add_dict(attribute);
  return c;
}

std::string placed(Checkpoint& checkpoint, Format target) {
  REQUIRE(place_architecture(checkpoint, target));
  CHECK(checkpoint.tree.entries(checkpoint.attributes).empty());
  return dump(checkpoint.tree, checkpoint.root);
}

}  // namespace

TEST_CASE("architecture: a string for torch and safetensors, an array again for the others", "[format]") {
  const std::string array = "{'w': <tensor uint8 (1) 07>, '__netcl_meta__': <tensor str64 () 7b000000e9000000>}";
  const std::string text = "{'w': <tensor uint8 (1) 07>, '__netcl_meta__': '{é'}";
  for (const Format away : {Format::torch, Format::safetensors}) {
    for (const Format home : {Format::netcl, Format::npz, Format::npy_folder}) {
      Checkpoint c = model_of(text_array("{é"));
      CHECK(placed(c, away) == text);
      CHECK(placed(c, away) == text);
      CHECK(placed(c, Format::pickle) == text);
      CHECK(placed(c, home) == array);
      CHECK(placed(c, home) == array);
    }
  }
}

TEST_CASE("architecture: big-endian text is text, too", "[format]") {
  Tensor big = tensor_of(std::vector<std::uint8_t>{0, 0, 0, 'x'}, *parse_type_string(">U1"), {});
  Checkpoint c = model_of(big);
  CHECK(placed(c, Format::torch) == "{'w': <tensor uint8 (1) 07>, '__netcl_meta__': 'x'}");
}

TEST_CASE("architecture: an array that says more than its text stays one", "[format]") {
  using Words = std::vector<std::uint32_t>;
  const Tensor kept[] = {tensor_of(Words{'x', 0}, *parse_type_string("<U2"), {}),     // padded
                         tensor_of(Words{0xd800}, *parse_type_string("<U1"), {}),     // half a pair
                         tensor_of(Words{0x110000}, *parse_type_string("<U1"), {}),   // no character
                         tensor_of(Words{'x', 'y'}, *parse_type_string("<U1"), {2}),  // two texts
                         tensor_of(Words{'x'}, make_dtype(ScalarType::uint32), {})};
  for (const Tensor& tensor : kept) {
    Checkpoint c = model_of(tensor);
    const std::string before = dump(c.tree, c.root);
    CHECK(placed(c, Format::torch) == before);
  }
}

TEST_CASE("architecture: a string that no array can hold stays one", "[format]") {
  for (const char* text : {"\xff", "\xED\xB2\x80"}) {
    Checkpoint c;
    const Tree::Entry entry[] = {{c.tree.add_string("__netcl_meta__"), c.tree.add_string(text)}};
    c.root = c.tree.add_dict(entry);
    c.attributes = c.tree.add_dict({});
    REQUIRE(place_architecture(c, Format::npz));
    CHECK(c.tree.kind(c.tree.entries(c.root)[0].value) == ValueKind::string);
  }
}
