#include "model/rebuild.h"

#include "catch.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

/// {'model': {'a': t1, 'b': t2}, 'optimizer': {'t': 8, 'm': [t3, t4]}, 'epoch': 3}
Checkpoint sample() {
  Checkpoint c;
  Tree& t = c.tree;
  auto tensor = [&](std::uint8_t v) {
    return t.add_tensor(tensor_of(std::vector<std::uint8_t>{v}, ScalarType::uint8));
  };
  auto entry = [&](std::string_view key, ValueId value) { return Tree::Entry{t.add_string(key), value}; };
  const Tree::Entry model[] = {entry("a", tensor(1)), entry("b", tensor(2))};
  const ValueId m[] = {tensor(3), tensor(4)};
  const Tree::Entry optimizer[] = {entry("t", t.add_integer(8)), entry("m", t.add_sequence(ValueKind::list, m))};
  const Tree::Entry root[] = {entry("model", t.add_dict(model)), entry("optimizer", t.add_dict(optimizer)),
                              entry("epoch", t.add_integer(3))};
  c.root = t.add_dict(root);
  return c;
}

std::string rebuilt(const RebuildRules& rules) {
  Checkpoint c = sample();
  const auto root = rebuild(c.tree, c.root, rules, {});
  REQUIRE(root);
  std::string out = dump(c.tree, root->root);
  for (std::size_t at; (at = out.find("tensor uint8 (1) ")) != std::string::npos;) out.erase(at, 17);
  return out;
}

}  // namespace

TEST_CASE("rebuild: without rules it is a copy", "[model]") {
  CHECK(rebuilt({}) == "{'model': {'a': <01>, 'b': <02>}, 'optimizer': {'t': 8, 'm': [<03>, <04>]}, 'epoch': 3}");
}

TEST_CASE("rebuild: what contains itself still does, and not what it was before", "[model]") {
  Checkpoint c;
  Tree& t = c.tree;
  const ValueId list = t.reserve();
  const ValueId items[] = {t.add_tensor(tensor_of(std::vector<std::uint8_t>{1}, ScalarType::uint8)), list};
  t.define_sequence(list, ValueKind::list, items);
  const Tree::Entry root[] = {{t.add_string("again"), list}, {t.add_string("epoch"), t.add_integer(3)}};
  c.root = t.add_dict(root);
  const auto before = list_tensors(c);
  RebuildRules rules;
  rules.keep_value = [](const Place& p) { return p.name != "epoch"; };
  const auto copy = rebuild(t, c.root, rules, {});
  REQUIRE(copy);
  c.root = copy->root;
  const ValueId again = t.find(c.root, "again")->value;
  CHECK(t.items(again)[1] == again);
  REQUIRE(before);
  CHECK(list_tensors(c).value().size() == before->size());
}

TEST_CASE("rebuild: dropped tensors leave no empty container, and places in a list stay", "[model]") {
  RebuildRules rules;
  rules.keep_tensor = [](const std::string& name) { return name == "model.b" || name == "optimizer.m.1"; };
  CHECK(rebuilt(rules) == "{'model': {'b': <02>}, 'optimizer': {'t': 8, 'm': [None, <04>]}, 'epoch': 3}");
  rules.keep_tensor = [](const std::string& name) { return name.starts_with("model"); };
  CHECK(rebuilt(rules) == "{'model': {'a': <01>, 'b': <02>}, 'optimizer': {'t': 8}, 'epoch': 3}");
}

TEST_CASE("rebuild: a dropped value takes all below it", "[model]") {
  RebuildRules rules;
  rules.keep_value = [](const Place& p) { return p.name != "optimizer" && p.name != "epoch"; };
  CHECK(rebuilt(rules) == "{'model': {'a': <01>, 'b': <02>}}");
}

TEST_CASE("rebuild: a renamed tensor stays in the nearest dict that its name fits", "[model]") {
  RebuildRules rules;
  rules.rename = [](const std::string& name) {
    if (name == "model.a") return std::string("model.x.y");
    if (name == "model.b") return std::string("ema.b");
    if (name == "optimizer.m.1") return std::string("optimizer.last");
    return name;
  };
  CHECK(rebuilt(rules) ==
        "{'ema.b': <02>, 'model': {'x.y': <01>}, 'optimizer': {'t': 8, 'last': <04>, 'm': [<03>, None]}, 'epoch': 3}");
}

TEST_CASE("rebuild: sharing cannot make it explode", "[model][hostile]") {
  Checkpoint c = sample();
  ValueId level = c.root;
  for (int i = 0; i < 40; ++i) {
    const ValueId twice[] = {level, level};
    level = c.tree.add_sequence(ValueKind::list, twice);
  }
  Limits limits;
  limits.max_values = 10000;
  const auto root = rebuild(c.tree, level, {}, limits);
  REQUIRE_FALSE(root);
  CHECK(root.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("rebuild: sharing without tensors cannot make it explode either", "[model][hostile]") {
  Checkpoint c = sample();
  const std::vector<ValueId> leaves(150'000, c.tree.add_none());
  const std::vector<ValueId> tuples(150'000, c.tree.add_sequence(ValueKind::tuple, leaves));
  const ValueId root = c.tree.add_sequence(ValueKind::tuple, tuples);
  RebuildRules rules;
  rules.keep_value = [](const Place&) { return true; };
  const auto done = rebuild(c.tree, root, rules, {});
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("rebuild: a deep chain costs no more than its length", "[model][hostile]") {
  Checkpoint c = sample();
  for (int i = 0; i < 100'000; ++i) c.root = c.tree.add_sequence(ValueKind::list, std::vector{c.root});
  std::size_t asked = 0, deepest = 0;
  RebuildRules rules;
  rules.keep_value = [&](const Place& place) {
    deepest = std::max(deepest, place.depth);
    return ++asked > 0;
  };
  CHECK(rebuild(c.tree, c.root, rules, {}));
  CHECK(asked > 100'000);
  CHECK(deepest > 100'000);
}

TEST_CASE("rebuild: long keys that are shared are bounded", "[model][hostile]") {
  Checkpoint c = sample();
  const Tree::Entry entry{c.tree.add_string(std::string(1 << 20, 'k')), c.root};
  const std::vector<ValueId> dicts(1000, c.tree.add_dict({&entry, 1}));
  const auto done = rebuild(c.tree, c.tree.add_sequence(ValueKind::list, dicts), {}, {});
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("rebuild: what loses all its tensors goes whole where that is asked for", "[model]") {
  RebuildRules rules;
  rules.drop_with_tensors = true;
  rules.keep_tensor = [](const std::string& name) { return name.starts_with("model"); };
  CHECK(rebuilt(rules) == "{'model': {'a': <01>, 'b': <02>}, 'epoch': 3}");
  rules.keep_tensor = [](const std::string& name) { return name == "optimizer.m.0"; };
  CHECK(rebuilt(rules) == "{'optimizer': {'t': 8, 'm': [<03>, None]}, 'epoch': 3}");
  Checkpoint c = sample();
  rules.keep_tensor = [](const std::string& name) { return name == "model.b"; };
  const auto done = rebuild(c.tree, c.root, rules, {});
  REQUIRE(done);
  CHECK(done->dropped == std::vector<std::string>{"model.a", "optimizer"});
}
