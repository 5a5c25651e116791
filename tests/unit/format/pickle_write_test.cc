#include <array>
#include <cmath>

#include "bytes.h"
#include "catch.h"
#include "format/write_plan.h"
#include "model/dtype.h"
#include "netcl/ckpt/open.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

Tensor floats(std::vector<float> values) { return tensor_of(values, ScalarType::float32); }

WritePlan planned(const Checkpoint& checkpoint) {
  auto plan = plan_pickle(checkpoint);
  INFO((plan ? std::string() : plan.error().to_string()));
  REQUIRE(plan);
  return std::move(*plan);
}

/// A checkpoint whose root is what `make` adds to its tree.
template <class Make>
Checkpoint checkpoint_with(Make make) {
  Checkpoint c;
  c.format = Format::pickle;
  c.root = make(c.tree);
  c.attributes = c.tree.add_dict({});
  return c;
}

std::size_t num_payloads(const WritePlan& plan) {
  return static_cast<std::size_t>(
      std::count_if(plan.parts.begin(), plan.parts.end(), [](const WritePart& p) { return p.payload.has_value(); }));
}

DType dtype_of(std::string_view text) {
  auto dtype = parse_type_string(text);
  REQUIRE(dtype);
  return *dtype;
}

Field field(std::string name, DType dtype, std::vector<std::uint64_t> shape = {}, std::string title = "") {
  return {std::move(name), std::move(title), std::move(dtype), 0, std::move(shape)};
}

DType structured(std::vector<Field> fields) {
  auto dtype = make_structured(std::move(fields), 32);
  REQUIRE(dtype);
  return *dtype;
}

}  // namespace

TEST_CASE("pickle_write: every kind of value comes back", "[format]") {
  const Checkpoint before = checkpoint_with([](Tree& t) {
    const ValueId pair[] = {t.add_integer(1), t.add_string("two")};
    const ValueId tuple = t.add_sequence(ValueKind::tuple, pair);
    std::vector<ValueId> numbers;
    for (int i = 0; i < 2500; ++i) numbers.push_back(t.add_integer(i * i));
    const ValueId all[] = {
        t.add_none(),
        t.add_boolean(true),
        t.add_boolean(false),
        t.add_integer(INT64_MIN),
        t.add_big_integer("-123456789012345678901234567890"),
        t.add_real(-0.0),
        t.add_complex(1, -2),
        t.add_string("line\n\"quoted\" \xED\xB2\x80 π"),
        t.add_string(""),
        t.add_bytes(std::string_view("\0\xff", 2)),
        t.add_name("builtins.int"),
        t.add_name("torch.float32"),
        t.add_name("torch.FloatStorage"),
        t.add_name("numpy.ndarray"),
        t.add_name("numpy.dtype('>M8[25us]')"),
        t.add_name("collections.OrderedDict"),
        t.add_scalar(tensor_of(std::vector<double>{2.5}, make_dtype(ScalarType::float64), {})),
        t.add_tensor(floats({1, 2, 3})),
        tuple,
        t.add_sequence(ValueKind::tuple, {}),
        t.add_sequence(ValueKind::list, {}),
        t.add_sequence(ValueKind::list, numbers),
        t.add_sequence(ValueKind::set, pair),
        t.add_sequence(ValueKind::set, {}),
        t.add_sequence(ValueKind::frozenset, std::array{tuple}),
        t.add_dict({}),
    };
    std::vector<Tree::Entry> entries = {{t.add_none(), t.add_sequence(ValueKind::list, all)}, {tuple, tuple}};
    for (int i = 0; i < 2500; ++i) entries.push_back({t.add_integer(i), t.add_boolean(i % 2 == 0)});
    return t.add_dict(entries);
  });
  const Checkpoint after = read_back(planned(before));
  CHECK(after.format == Format::pickle);
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
}

TEST_CASE("pickle_write: Python 2's types become today's", "[format]") {
  for (const auto& [before, after] :
       {std::pair("__builtin__.long", "builtins.int"), std::pair("__builtin__.unicode", "builtins.str"),
        std::pair("__builtin__.xrange", "builtins.range"), std::pair("__builtin__.set", "builtins.set")}) {
    const Checkpoint c = read_back(planned(checkpoint_with([&](Tree& t) { return t.add_name(before); })));
    CHECK(c.tree.text(c.root) == after);
  }
}

TEST_CASE("pickle_write: what is shared is written once, and a list or dict may hold itself", "[format]") {
  const Checkpoint before = checkpoint_with([](Tree& t) {
    const ValueId weight = t.add_tensor(floats({1, 2}));
    const ValueId list = t.add_sequence(ValueKind::list, std::array{weight});
    const ValueId tuple = t.add_sequence(ValueKind::tuple, std::array{list, weight});
    const ValueId root = t.reserve(), loop = t.reserve();
    t.define_sequence(loop, ValueKind::list, std::array{loop, root, tuple});
    const Tree::Entry entries[] = {
        {t.add_string("a"), list}, {t.add_string("b"), tuple}, {t.add_string("c"), tuple}, {t.add_string("d"), loop}};
    t.define_dict(root, entries);
    return root;
  });
  const WritePlan plan = planned(before);
  CHECK(num_payloads(plan) == 1);
  const Checkpoint after = read_back(plan);
  const Tree& t = after.tree;
  const auto root = t.entries(after.root);
  REQUIRE(root.size() == 4);
  CHECK(root[1].value == root[2].value);
  const auto tuple = t.items(root[1].value);
  CHECK(tuple[0] == root[0].value);
  CHECK(tuple[1] == t.items(root[0].value)[0]);
  const auto loop = t.items(root[3].value);
  CHECK(loop[0] == root[3].value);
  CHECK(loop[1] == after.root);
  CHECK(loop[2] == root[1].value);
}

TEST_CASE("pickle_write: depth comes from the input", "[format]") {
  constexpr int kDepth = 100'000;
  const Checkpoint before = checkpoint_with([](Tree& t) {
    ValueId id = t.add_tensor(floats({1}));
    for (int i = 0; i < kDepth; ++i)
      id = t.add_sequence(i % 2 == 0 ? ValueKind::list : ValueKind::tuple, std::array{id});
    return id;
  });
  const WritePlan plan = planned(before);
  CHECK(plan.parts[0].name.size() < 250);
  const Checkpoint after = read_back(plan);
  ValueId id = after.root;
  for (int i = 0; i < kDepth; ++i) id = after.tree.items(id)[0];
  CHECK(dump(after.tree, id) == "<tensor float32 (1) 0000803f>");
}

TEST_CASE("pickle_write: every dtype of NumPy's comes back", "[format]") {
  std::vector<DType> dtypes;
  for (const char* text : {"|b1",       "|i1",    "|u1", "<i2", ">i2", "<u2",  "<i4", ">u4",  "<i8",  "<u8",
                           ">f2",       "<f2",    "<f4", ">f4", "<f8", "<f16", "<c8", ">c16", "<c32", "<M8[ns]",
                           ">M8[25us]", "<m8[D]", "<M8", "|S5", "|S0", "<U3",  ">U2", "|V4",  "|V0"}) {
    dtypes.push_back(dtype_of(text));
  }
  const DType inner =
      structured({field("y", dtype_of("|u1")), field("", dtype_of("|V3")), field("z", dtype_of("<f8"))});
  dtypes.push_back(structured({field("a", dtype_of("<f4")), field("b", dtype_of(">U2"), {2, 3}, "a title")}));
  dtypes.push_back(structured({field("x", inner, {2}), field("again", inner), field("", dtype_of("|V4"))}));
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const DType& dtype : dtypes) {
    std::vector<std::uint8_t> bytes(2 * 3 * dtype.item_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
    Tensor tensor = tensor_of(bytes, dtype, {2, 3});
    tensors.emplace_back(dtype.descr(), tensor);
    tensor.strides = f_strides(tensor.shape);
    tensors.emplace_back("Fortran " + dtype.descr(), tensor);
  }
  const Checkpoint before = checkpoint_of(tensors);
  const Checkpoint after = read_back(planned(before));
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    const Tensor& back = after.tree.tensor(after.tree.find(after.root, name)->value);
    CHECK(back.dtype == tensor.dtype);
    CHECK(back.strides == tensor.strides);
  }
}

TEST_CASE("pickle_write: what is not one range is gathered in C order, little-endian", "[format]") {
  Tensor column = tensor_of(std::vector<std::uint8_t>{0, 1, 0, 2, 0, 3, 0, 4}, dtype_of(">i2"), {2, 2});
  column.shape = {2};
  column.strides = {2};
  Tensor expanded = floats({7});
  expanded.shape = {3};
  expanded.strides = {0};
  const Checkpoint after = read_back(planned(checkpoint_of({{"column", column}, {"expanded", expanded}})));
  CHECK(dump(after.tree, after.root) ==
        "{'column': <tensor int16 (2) 01000300>, 'expanded': <tensor float32 (3) 0000e0400000e0400000e040>}");
  CHECK(after.tree.tensor(after.tree.find(after.root, "column")->value).dtype == dtype_of("<i2"));
}

TEST_CASE("pickle_write: a scalar keeps its byte order", "[format]") {
  const Tensor scalar = tensor_of(std::vector<std::uint8_t>{0, 1}, dtype_of(">i2"), {});
  const Checkpoint after = read_back(planned(checkpoint_with([&](Tree& t) { return t.add_scalar(scalar); })));
  CHECK(dump(after.tree, after.root) == "<scalar int16 () 0100>");
  CHECK(after.tree.tensor(after.root).dtype == dtype_of(">i2"));
}

TEST_CASE("pickle_write: attributes become entries of the root", "[format]") {
  Checkpoint c = checkpoint_of({{"w", floats({1})}});
  const Tree::Entry attributes[] = {{c.tree.add_string("config"), c.tree.add_integer(3)},
                                    {c.tree.add_string("format"), c.tree.add_string("pt")}};
  c.attributes = c.tree.add_dict(attributes);
  const Checkpoint all = read_back(planned(c));
  CHECK(dump(all.tree, all.root) == "{'w': <tensor float32 (1) 0000803f>, 'config': 3, 'format': 'pt'}");
  c.format = Format::safetensors;
  const Checkpoint after = read_back(planned(c));
  CHECK(dump(after.tree, after.root) == "{'w': <tensor float32 (1) 0000803f>, 'config': 3}");
}

TEST_CASE("pickle_write: refuses by name what a pickle of arrays cannot hold", "[format]") {
  const struct {
    std::string what;
    ErrorCode code;
    std::string message;
    ValueId (*make)(Tree&);
  } kCases[] = {
      {"a call", ErrorCode::unsafe, "os.system", [](Tree& t) { return t.add_opaque("os.system", {}); }},
      {"a function", ErrorCode::unsupported, "builtins.eval", [](Tree& t) { return t.add_name("builtins.eval"); }},
      {"a submodule's", ErrorCode::unsupported, "torch.hub.load", [](Tree& t) { return t.add_name("torch.hub.load"); }},
      {"a function of torch", ErrorCode::unsupported, "torch.load", [](Tree& t) { return t.add_name("torch.load"); }},
      {"a name of one word", ErrorCode::unsupported, "int", [](Tree& t) { return t.add_name("int"); }},
      {"a name in lines", ErrorCode::unsupported, "builtins", [](Tree& t) { return t.add_name("builtins.int\n0"); }},
      {"no dtype", ErrorCode::unsupported, "numpy.dtype", [](Tree& t) { return t.add_name("numpy.dtype('')"); }},
      {"half a dtype", ErrorCode::unsupported, "numpy.dtype", [](Tree& t) { return t.add_name("numpy.dtype('"); }},
      {"a function of ml_dtypes", ErrorCode::unsupported, "ml_dtypes.finfo",
       [](Tree& t) { return t.add_name("ml_dtypes.finfo"); }},
      {"an object array", ErrorCode::unsupported, "object",
       [](Tree& t) {
         Tensor objects;
         objects.dtype = make_dtype(ScalarType::object);
         return t.add_tensor(objects);
       }},
      {"a tuple in itself", ErrorCode::unsupported, "holds itself",
       [](Tree& t) {
         const ValueId tuple = t.reserve();
         t.define_sequence(tuple, ValueKind::tuple, std::array{t.add_sequence(ValueKind::list, std::array{tuple})});
         return tuple;
       }},
  };
  for (const auto& c : kCases) {
    INFO(c.what);
    const Checkpoint checkpoint = checkpoint_with([&](Tree& t) {
      const ValueId list = t.add_sequence(ValueKind::list, std::array{t.add_none(), c.make(t)});
      const Tree::Entry entries[] = {{t.add_string("ok"), t.add_integer(1)}, {t.add_string("bad.key"), list}};
      return t.add_dict(entries);
    });
    const auto plan = plan_pickle(checkpoint);
    REQUIRE_FALSE(plan);
    CHECK(plan.error().code == c.code);
    CHECK(plan.error().message.find(c.message) != std::string::npos);
    CHECK(plan.error().member.starts_with("bad.key.1"));
  }
}

TEST_CASE("pickle_write: what NumPy lacks is named as ml_dtypes does it, and told from raw bytes", "[format]") {
  const std::vector<std::uint8_t> bytes = {1, 0xff};
  const DType with_brain = structured({field("a", make_dtype(ScalarType::bfloat16)), field("b", dtype_of("|V2"))});
  const Checkpoint before = checkpoint_of({{"raw", tensor_of(bytes, dtype_of("|V1"), {2})},
                                           {"e4m3fn", tensor_of(bytes, ScalarType::float8_e4m3fn)},
                                           {"e5m2", tensor_of(bytes, ScalarType::float8_e5m2)},
                                           {"again", tensor_of(bytes, ScalarType::float8_e4m3fn)},
                                           {"raw2", tensor_of(bytes, dtype_of("|V2"), {1})},
                                           {"brain", tensor_of(bytes, dtype_of("<V2"), {1})},
                                           {"big", tensor_of(bytes, dtype_of(">V2"), {1})},
                                           {"fields", tensor_of(std::vector<std::uint32_t>{7}, with_brain, {1})}});
  const Checkpoint after = read_back(planned(before));
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  const auto* big = after.tree.find(after.root, "big");
  CHECK(after.tree.tensor(big->value).dtype.big_endian);
}

TEST_CASE("pickle_write: the dtype and class of what NumPy lacks, and its scalars, come back", "[format]") {
  const Checkpoint before = checkpoint_with([](Tree& t) {
    const ValueId all[] = {
        t.add_name("numpy.dtype('float8_e4m3fn')"), t.add_name("numpy.dtype('bfloat16')"),
        t.add_name("ml_dtypes.bfloat16"),
        t.add_scalar(tensor_of(std::vector<std::uint16_t>{0x3f80}, make_dtype(ScalarType::bfloat16), {}))};
    return t.add_sequence(ValueKind::list, all);
  });
  const Checkpoint after = read_back(planned(before));
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  CHECK(after.problems.empty());
}

TEST_CASE("pickle_write: refuses attributes that have no place", "[format]") {
  Checkpoint c = checkpoint_of({{"config", floats({1})}});
  const Tree::Entry attributes[] = {{c.tree.add_string("config"), c.tree.add_integer(3)}};
  c.attributes = c.tree.add_dict(attributes);
  const auto taken = plan_pickle(c);
  REQUIRE_FALSE(taken);
  CHECK(taken.error().member == "config");
  c.root = c.tree.add_tensor(floats({1}));
  const auto beside = plan_pickle(c);
  REQUIRE_FALSE(beside);
  CHECK(beside.error().member == "config");
}

TEST_CASE("pickle_write: an OrderedDict stays one, with torch's facts of the modules", "[format]") {
  Checkpoint c;
  Tree& t = c.tree;
  c.attributes = t.add_dict({});
  const ValueId none = t.add_dict({});
  const Tree::Entry version{t.add_string("version"), t.add_integer(2)};
  const Tree::Entry module{t.add_string("bn"), t.add_dict({&version, 1})};
  const Tree::Entry metadata{t.add_string("_metadata"), t.add_dict({&module, 1}, none)};
  const Tree::Entry entries[] = {{t.add_string("epoch"), t.add_integer(3)},
                                 {t.add_string("empty"), t.add_dict({}, none)}};
  c.root = t.add_dict(entries, t.add_dict({&metadata, 1}));
  const auto plan = plan_pickle(c);
  REQUIRE(plan);
  const Checkpoint back = read_back(*plan);
  CHECK(dump(back.tree, back.root) == "{'epoch': 3, 'empty': {}}");
  const auto kept = back.tree.attributes(back.root);
  REQUIRE(kept);
  CHECK(dump(back.tree, *kept) == "{'_metadata': {'bn': {'version': 2}}}");
  const auto empty = back.tree.attributes(back.tree.find(back.root, "empty")->value);
  REQUIRE(empty);
  CHECK(back.tree.entries(*empty).empty());
  CHECK(!back.tree.attributes(*empty));
}

TEST_CASE("pickle_write: attributes of an OrderedDict that are no plain facts are left out", "[format][hostile]") {
  // BUILD with {'_metadata': X}: X holds itself, an unknown object, a list, or is no dict.
  using namespace std::string_literals;
  for (const std::string& metadata : {"}q\x02X\x01\0\0\0ah\x02s"s, "K\x01"s, "]"s, "}X\x01\0\0\0a]s"s, "}K\x01}s"s}) {
    const std::string bytes = "\x80\x02"s + "ccollections\nOrderedDict\n)R}X\x09\0\0\0_metadata"s + metadata + "sb."s;
    const auto c = open_checkpoint(source_of(bytes), "a.pkl");
    REQUIRE(c);
    CHECK(c->problems.empty());
    const auto kept = c->tree.attributes(c->root);
    REQUIRE(kept);
    CHECK(c->tree.entries(*kept).empty());
  }
}
