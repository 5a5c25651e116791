#include "report/roles.h"

#include <algorithm>

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

std::vector<Role> roles_of_names(const std::vector<std::string>& names, std::vector<std::string> patterns = {}) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& n : names) tensors.emplace_back(n, tensor_of<float>({1}, ScalarType::float32));
  const Checkpoint c = checkpoint_of(tensors);
  return roles_of(c, *list_tensors(c), patterns);
}

}  // namespace

TEST_CASE("groups: a plain model is all model, whatever its layers are called", "[report]") {
  for (const char* name : {"fc1.weight", "1:weight", "scaler.mean", "ema.decay", "encoder.state.weight", "scheduler.w",
                           "velocity", "velocity.weight", "moments", "m.weight", "v.weight", "t", "step",
                           "bn.num_batches_tracked", "dense/kernel", "p0", "random.w", "adam.weight"}) {
    CAPTURE(name);
    CHECK(roles_of_names({name, "fc.weight"}) == std::vector{Role::model, Role::model});
  }
}

TEST_CASE("groups: a training checkpoint by its first names", "[report]") {
  const struct {
    const char* name;
    Role role;
  } cases[] = {
      {"optimizer.moments.0.0", Role::optimizer},
      {"optimizer.state.0.exp_avg", Role::optimizer},
      {"optimizer_state_dict.state.0.step", Role::optimizer},
      {"optimizer_states.0.state.0.step", Role::optimizer},
      {"opt_state.0.mu.dense.kernel", Role::optimizer},
      {"optimizer/m/dense/kernel", Role::optimizer},
      {"checkpoint.optimizer.x", Role::optimizer},
      {"adam/m/dense/kernel", Role::optimizer},
      {"moments.3.1", Role::optimizer},
      {"velocity.3", Role::optimizer},
      {"scheduler.last_lr", Role::scheduler},
      {"lr_scheduler_state_dict.x", Role::scheduler},
      {"scaler.scale", Role::scaler},
      {"rng_state", Role::rng},
      {"cuda_rng_state", Role::rng},
      {"ema.shadow.0", Role::ema},
      {"model_ema.fc.weight", Role::ema},
      {"model_state_dict.fc.bias", Role::model},
  };
  for (const auto& c : cases) {
    CAPTURE(c.name);
    CHECK(roles_of_names({"model.fc.weight", c.name})[1] == c.role);
  }
  // Beside an optimizer alone, the rest is the model, without a name for it.
  CHECK(roles_of_names({"dense/kernel", "optimizer/m/dense/kernel"})[0] == Role::model);
  // Beside both, it is neither.
  CHECK(roles_of_names({"model.w", "optimizer.m.w", "epoch"})[2] == Role::other);
}

TEST_CASE("groups: structure tells where names do not", "[report]") {
  Checkpoint c;
  Tree& tree = c.tree;
  const auto tensor = [&] { return tree.add_tensor(tensor_of<float>({1}, ScalarType::float32)); };
  const auto dict = [&](std::initializer_list<std::pair<const char*, ValueId>> items) {
    std::vector<Tree::Entry> entries;
    for (const auto& [key, value] : items) entries.push_back({tree.add_string(key), value});
    return tree.add_dict(entries);
  };
  const auto list = [&](std::vector<ValueId> items) { return tree.add_sequence(ValueKind::list, items); };

  SECTION("torch.save(optimizer.state_dict())") {
    const ValueId one = dict({{"step", tensor()}, {"sum", tensor()}});
    const Tree::Entry numbered[] = {{tree.add_integer(0), one}};
    c.root = dict({{"state", tree.add_dict(numbered)}, {"param_groups", list({})}});
    CHECK(roles_of(c, *list_tensors(c)) == std::vector{Role::optimizer, Role::optimizer});
  }
  SECTION("netcl's AdamW and SGD under names of the user's own") {
    const ValueId pair = tree.add_sequence(ValueKind::tuple, std::vector{tensor(), tensor()});
    c.root = dict({{"weights", dict({{"w", tensor()}})},
                   {"a", dict({{"t", tree.add_integer(3)}, {"moments", list({pair})}})},
                   {"b", dict({{"velocity", list({tensor()})}})},
                   {"c", dict({{"decay", tree.add_real(0.9)}, {"shadow", list({tensor()})}})}});
    CHECK(roles_of(c, *list_tensors(c)) ==
          std::vector{Role::model, Role::optimizer, Role::optimizer, Role::optimizer, Role::ema});
  }
  SECTION("the words of NumPy's generators, wherever they lie") {
    const auto text = [&](const char* t) { return tree.add_string(t); };
    const auto tuple = [&](std::vector<ValueId> items) { return tree.add_sequence(ValueKind::tuple, items); };
    const ValueId words = tuple({text("MT19937"), tensor(), tree.add_integer(624)});
    const ValueId inner = dict({{"counter", tensor()}, {"key", tensor()}});
    const ValueId philox = dict({{"bit_generator", text("Philox")}, {"state", inner}, {"buffer", tensor()}});
    const ValueId object = tree.add_opaque("numpy.random.__RandomState_ctor", std::vector{words});
    c.root = dict({{"w", tensor()},
                   {"random", object},
                   {"listed", list({text("PCG64"), tensor()})},
                   {"generator", philox},
                   {"labelled", tuple({text("MT"), tensor()})},
                   {"first", tuple({tensor(), text("MT19937")})}});
    CHECK(roles_of(c, *list_tensors(c)) ==
          std::vector{Role::model, Role::rng, Role::rng, Role::rng, Role::rng, Role::rng, Role::model, Role::model});
  }
  SECTION("a module called state") {
    c.root = dict({{"state", dict({{"weight", tensor()}})}});
    CHECK(roles_of(c, *list_tensors(c)) == std::vector{Role::model});
  }
}

TEST_CASE("groups: a pattern decides before anything else", "[report]") {
  CHECK(roles_of_names({"model.m_fc", "model.fc"}, {"model.m_*"}) == std::vector{Role::optimizer, Role::model});
}

TEST_CASE("groups: a container of many entries is gone through once, not once for each", "[report][hostile]") {
  // 100,000 tensors under "state", beside as many other keys: a search for each would take minutes.
  Checkpoint c;
  Tree& tree = c.tree;
  const auto dict_of = [&](std::size_t count, const auto& value) {
    std::vector<Tree::Entry> entries;
    for (std::size_t i = 0; i < count; ++i) {
      const ValueId key = tree.add_string(std::to_string(i));
      entries.push_back({key, value()});
    }
    return entries;
  };
  constexpr std::size_t kCount = 100'000;
  const Tensor one = tensor_of<float>({1}, ScalarType::float32);
  const ValueId state = tree.add_dict(dict_of(kCount, [&] { return tree.add_tensor(one); }));
  auto beside = dict_of(kCount, [&] { return tree.add_none(); });
  const ValueId state_key = tree.add_string("state");
  beside.push_back({state_key, state});
  for (const bool torch : {false, true}) {
    if (torch) {
      const ValueId groups_key = tree.add_string("param_groups");
      beside.push_back({groups_key, tree.add_none()});
    }
    const ValueId key = tree.add_string("x");
    const std::vector<Tree::Entry> root = {{key, tree.add_dict(beside)}};
    c.root = tree.add_dict(root);
    const auto roles = roles_of(c, *list_tensors(c));
    REQUIRE(roles.size() == kCount);
    const Role wanted = torch ? Role::optimizer : Role::model;
    CHECK(std::all_of(roles.begin(), roles.end(), [&](Role r) { return r == wanted; }));
  }
}

}  // namespace netcl::ckpt
