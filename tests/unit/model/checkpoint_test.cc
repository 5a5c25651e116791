#include "netcl/ckpt/checkpoint.h"

#include <fmt/format.h>

#include "bytes.h"
#include "catch.h"
#include "model/tree_walk.h"

using namespace netcl::ckpt;

namespace {

ValueId add_array(Tree& tree) {
  Tensor t;
  t.dtype = make_dtype(ScalarType::float32);
  t.shape = {1};
  t.strides = {1};
  t.storage = file_storage(source_of("abcd"), 0, 4);
  return tree.add_tensor(t);
}

ValueId add_pair(Tree& tree, std::string_view key, ValueId value) {
  const Tree::Entry entry{tree.add_string(key), value};
  return tree.add_dict({&entry, 1});
}

std::string names(const Checkpoint& c) {
  std::string out;
  const auto listed = list_tensors(c).value();
  for (const NamedTensor& t : listed) out += t.name + "|";
  return out;
}

}  // namespace

TEST_CASE("checkpoint: dotted names are made of keys and positions, in file order", "[model]") {
  Checkpoint c;
  Tree& t = c.tree;
  const ValueId a = add_array(t), b = add_array(t);
  const ValueId pair[] = {a, b};
  const ValueId moments[] = {t.add_sequence(ValueKind::tuple, pair), t.add_none(), a};
  const Tree::Entry entries[] = {{t.add_string("z.weight"), a},
                                 {t.add_string("epoch"), t.add_integer(3)},
                                 {t.add_string("m"), t.add_sequence(ValueKind::list, moments)},
                                 {t.add_integer(7), b},
                                 {t.add_none(), b},
                                 {t.add_boolean(true), b},
                                 {t.add_bytes("k\xFF"), b},
                                 {t.add_real(0.5), b},
                                 {t.add_big_integer("-99999999999999999999"), b},
                                 {t.add_string(""), b}};
  c.root = t.add_dict(entries);
  CHECK(names(c) == "z.weight|m.0.0|m.0.1|m.2|7|None|True|k\\xff|0.5|-99999999999999999999||");

  const auto listed = list_tensors(c).value();
  REQUIRE(listed[2].path.size() == 3);
  CHECK(listed[2].path[0].kind == PathStep::Kind::key);
  CHECK(t.text(listed[2].path[0].value) == "m");
  CHECK(listed[2].path[2].kind == PathStep::Kind::index);
  CHECK(listed[2].path[2].value == 1);
  CHECK(listed[2].value == b);
}

TEST_CASE("checkpoint: a lone array has no name, and nothing is nothing", "[model]") {
  Checkpoint c;
  c.root = add_array(c.tree);
  CHECK(names(c) == "|");
  c.root = c.tree.add_dict({});
  CHECK(names(c).empty());
  c.root = c.tree.add_scalar(c.tree.tensor(0));
  CHECK(names(c).empty());
}

TEST_CASE("checkpoint: what is shared is listed under each of its names", "[model]") {
  Checkpoint c;
  const ValueId layer = add_pair(c.tree, "weight", add_array(c.tree));
  const ValueId both[] = {layer, layer};
  c.root = c.tree.add_sequence(ValueKind::list, both);
  CHECK(names(c) == "0.weight|1.weight|");
}

TEST_CASE("checkpoint: a container that holds itself is entered once", "[model][hostile]") {
  Checkpoint c;
  Tree& t = c.tree;
  const ValueId self = t.reserve();
  const ValueId items[] = {self, add_array(t), add_pair(t, "up", self)};
  t.define_sequence(self, ValueKind::list, items);
  c.root = self;
  CHECK(names(c) == "1|");
  const auto contains = contains_tensor(t, self);
  CHECK(contains[self]);
  CHECK(contains[items[2]]);
}

TEST_CASE("checkpoint: an opaque value is walked for its tensors", "[model]") {
  Checkpoint c;
  const ValueId parts[] = {c.tree.add_string("rm -rf"), add_pair(c.tree, "w", add_array(c.tree))};
  c.root = c.tree.add_opaque("os.system", parts);
  CHECK(names(c) == "1.w|");
  CHECK(c.tree.text(c.root) == "os.system");
  CHECK(c.tree.items(c.root).size() == 2);
}

TEST_CASE("checkpoint: exponential sharing is refused, or passed by where it holds no tensor", "[model][hostile]") {
  for (bool with_tensor : {false, true}) {
    Checkpoint c;
    ValueId laughs = with_tensor ? add_array(c.tree) : c.tree.add_none();
    for (int i = 0; i < 64; ++i) {
      const ValueId twice[] = {laughs, laughs};
      laughs = c.tree.add_sequence(ValueKind::list, twice);
    }
    c.root = laughs;
    const auto got = list_tensors(c);
    REQUIRE(got.has_value() != with_tensor);
    if (!got) CHECK(got.error().code == ErrorCode::limit_exceeded);
  }
}

TEST_CASE("checkpoint: names are bounded in number and in bytes", "[model][hostile]") {
  Checkpoint c;
  const ValueId array = add_array(c.tree);
  const ValueId five[] = {array, array, array, array, array};
  c.root = add_pair(c.tree, std::string(1000, 'k'), c.tree.add_sequence(ValueKind::list, five));
  Limits limits;
  limits.max_names = 5;
  CHECK(list_tensors(c, limits));
  limits.max_names = 4;
  CHECK(list_tensors(c, limits).error().code == ErrorCode::limit_exceeded);
  limits = {};
  limits.max_name_bytes = 4000;
  CHECK(list_tensors(c, limits).error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("checkpoint: 200,000 levels are walked without recursion", "[model][hostile]") {
  Checkpoint c;
  ValueId deep = add_array(c.tree);
  for (int i = 0; i < 200'000; ++i) deep = c.tree.add_sequence(ValueKind::list, {&deep, 1});
  c.root = deep;
  const auto got = list_tensors(c);
  REQUIRE(got);
  CHECK(got->size() == 1);
  CHECK(got->front().path.size() == 200'000);
}

TEST_CASE("checkpoint: big integers become small ones where they fit", "[model]") {
  Tree t;
  CHECK(t.kind(t.add_big_integer("9223372036854775807")) == ValueKind::integer);
  CHECK(t.kind(t.add_big_integer("9223372036854775808")) == ValueKind::big_integer);
  CHECK(t.integer(t.add_big_integer("-9223372036854775808")) == INT64_MIN);
}

TEST_CASE("checkpoint: a value of another kind, or none at all, has nothing to read", "[model]") {
  Tree tree;
  const ValueId values[] = {tree.add_none(),
                            tree.add_integer(7),
                            tree.add_real(0.5),
                            add_array(tree),
                            tree.add_string("x"),
                            tree.add_dict({}),
                            12345};
  for (const ValueId id : values) {
    CAPTURE(id);
    CHECK((tree.text(id) == "x") == (tree.kind(id) == ValueKind::string));
    CHECK(tree.items(id).empty());
    CHECK(tree.entries(id).empty());
    CHECK((tree.integer(id) == 7) == (tree.kind(id) == ValueKind::integer));
    CHECK((tree.real(id) == 0.5) == (tree.kind(id) == ValueKind::real));
    CHECK((tree.tensor(id).storage != nullptr) == (tree.kind(id) == ValueKind::tensor));
    CHECK(tree.imaginary(id) == 0);
    CHECK(num_children(tree, id) == 0);
  }
}

TEST_CASE("checkpoint: a tree takes parts of its own", "[model]") {
  Tree tree;
  std::vector<ValueId> numbers;
  for (int i = 0; i < 1000; ++i) numbers.push_back(tree.add_integer(i));
  const ValueId list = tree.add_sequence(ValueKind::list, numbers);
  const ValueId dict = tree.add_dict(std::vector{Tree::Entry{tree.add_string("key"), list}});
  for (int i = 0; i < 10; ++i) {
    const ValueId copy = tree.add_sequence(ValueKind::tuple, tree.items(list));
    const auto items = tree.items(copy);
    REQUIRE(std::vector<ValueId>(items.begin(), items.end()) == numbers);
    const ValueId part = tree.add_opaque(tree.text(tree.entries(dict)[0].key), tree.items(copy).subspan(998));
    CHECK(tree.text(part) == "key");
    CHECK(tree.items(part)[1] == numbers[999]);
    CHECK(tree.entries(tree.add_dict(tree.entries(dict)))[0].value == list);
    CHECK(tree.text(tree.add_string(tree.text(tree.entries(dict)[0].key))) == "key");
  }
}

TEST_CASE("checkpoint: one without a root, or with a tensor that is none, is refused", "[model][hostile]") {
  CHECK(list_tensors(Checkpoint()).error().code == ErrorCode::invalid_argument);
  Checkpoint c;
  add_array(c.tree);
  c.root = 12345;
  CHECK(list_tensors(c).error().code == ErrorCode::invalid_argument);
  Tensor t;
  t.dtype = make_dtype(ScalarType::float32);
  t.shape = {1, 2, 3};
  t.strides = {1};
  t.storage = file_storage(source_of("abcd"), 0, 4);
  c.root = add_pair(c.tree, "w", c.tree.add_tensor(t));
  const auto listed = list_tensors(c);
  REQUIRE_FALSE(listed);
  CHECK(listed.error().code == ErrorCode::invalid_argument);
  CHECK(listed.error().member == "w");
}

TEST_CASE("checkpoint: one tensor at 900,000 places is not given 900,000 names", "[model][hostile]") {
  Checkpoint c;
  c.root = c.tree.add_sequence(ValueKind::list, std::vector<ValueId>(900'000, add_array(c.tree)));
  CHECK(list_tensors(c).error().code == ErrorCode::limit_exceeded);
  c.root = c.tree.add_sequence(ValueKind::list, std::vector<ValueId>(100'000, add_array(c.tree)));
  CHECK(list_tensors(c)->size() == 100'000);
}

TEST_CASE("checkpoint: a value is found by the name that listing gives it", "[model]") {
  Checkpoint c;
  Tree& t = c.tree;
  const ValueId a = add_array(t), b = add_array(t), d = add_array(t);
  const ValueId items[] = {a, t.add_integer(7)};
  const ValueId model = add_pair(t, "fc.weight", b);
  const ValueId part[] = {model};
  const ValueId looped = t.reserve();
  const Tree::Entry self[] = {{t.add_string(""), looped}, {t.add_string("w"), d}};
  t.define_dict(looped, self);
  const Tree::Entry entries[] = {{t.add_string("list"), t.add_sequence(ValueKind::list, items)},
                                 {t.add_string("module"), t.add_opaque("proj.Net", part)},
                                 {t.add_integer(3), d},
                                 {t.add_string("list.0"), d},
                                 {t.add_string("loop"), looped},
                                 {t.add_string("epoch"), t.add_integer(12)}};
  c.root = t.add_dict(entries);
  const auto listed = list_tensors(c).value();
  for (const NamedTensor& named : listed) {
    INFO(named.name);
    REQUIRE(c.find(named.name) != nullptr);
    const bool twice = named.name == "list.0";  // the first of that name counts
    CHECK(c.find(named.name) == &t.tensor(twice ? a : named.value));
  }
  CHECK(names(c) == "list.0|module.fc.weight|3|list.0|loop.w|");
  CHECK(c.find_value("epoch") == entries[5].value);
  CHECK(c.find_value("list.1") == items[1]);
  CHECK(c.find("epoch") == nullptr);
  CHECK(c.find("module") == nullptr);
  CHECK(c.find("module.fc") == nullptr);
  CHECK(c.find("loop..w") == &t.tensor(d));  // by the way that listing passes over
  CHECK(c.find("") == nullptr);
  CHECK(!c.find_value("list.2"));
  CHECK(c.find_value("") == c.root);

  Checkpoint lone;
  lone.root = add_array(lone.tree);
  CHECK(lone.find("") == &lone.tree.tensor(lone.root));
  CHECK(!Checkpoint().find_value("a"));
}
