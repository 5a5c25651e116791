#include "netcl/ckpt/strip.h"

#include <algorithm>
#include <map>

#include "catch.h"
#include "netcl/ckpt/open.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

using Names = std::vector<std::string>;

Tensor of(float first, std::vector<std::uint64_t> shape = {2, 2}) {
  std::uint64_t n = 1;
  for (const std::uint64_t d : shape) n *= d;
  return tensor_of(std::vector<float>(n, first), make_dtype(ScalarType::float32), shape);
}

/// What a flat file of tensors of one shape keeps; each holds the index of its name.
Names kept(const Names& names, const StripOptions& options = {}, std::map<std::string, float>* values = nullptr) {
  const TemporaryFolder folder;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& n : names) {
    const bool number = n.ends_with("decay") || n.ends_with("num_updates");
    const std::vector<std::uint64_t> shape(number ? 0 : 2, 2);
    tensors.emplace_back(n, of(static_cast<float>(tensors.size()), shape));
  }
  const auto report = strip_optimizer(checkpoint_of(tensors), folder.path / "out.npz", options);
  INFO((report ? "" : report.error().to_string()));
  REQUIRE(report);
  const auto back = open_checkpoint(folder.path / "out.npz");
  REQUIRE(back);
  Names out;
  const auto listed = list_tensors(*back);
  REQUIRE(listed);
  for (const NamedTensor& t : *listed) {
    out.push_back(t.name);
    if (values == nullptr) continue;
    float value;
    std::memcpy(&value, elements_of(back->tree.tensor(t.value)).data(), sizeof value);
    (*values)[t.name] = value;
  }
  return out;
}

/// Nested dicts for pickled checkpoints.
struct Builder {
  Checkpoint c;
  Tree& tree = c.tree;
  using Items = std::vector<std::pair<const char*, ValueId>>;
  Builder() { c.attributes = tree.add_dict({}); }
  ValueId tensor(float v, std::vector<std::uint64_t> shape = {2, 2}) {
    return tree.add_tensor(of(v, std::move(shape)));
  }
  ValueId dict(const Items& items) {
    std::vector<Tree::Entry> entries;
    for (const auto& [key, value] : items) entries.push_back({tree.add_string(key), value});
    return tree.add_dict(entries);
  }
  ValueId list(const std::vector<ValueId>& items, ValueKind kind = ValueKind::list) {
    return tree.add_sequence(kind, items);
  }
  ValueId adam() {
    const Tree::Entry one[] = {{tree.add_integer(0), dict({{"exp_avg", tensor(9)}, {"step", tree.add_integer(3)}})}};
    return dict({{"state", tree.add_dict(one)}, {"param_groups", list({dict({{"lr", tree.add_real(0.1)}})})}});
  }
  std::string stripped(const StripOptions& options = {}) {
    const TemporaryFolder folder;
    const auto report = strip_optimizer(c, folder.path / "out.pkl", options);
    if (!report) return report.error().message;
    const auto back = open_checkpoint(folder.path / "out.pkl");
    REQUIRE(back);
    std::string text = dump(back->tree, back->root);
    for (std::size_t at; (at = text.find("tensor float32 (2, 2) ")) != std::string::npos;) text.erase(at, 22);
    return text;
  }
};

}  // namespace

TEST_CASE("strip: slots go beside their variable, whatever the program calls them", "[write]") {
  const struct {
    Names model, state;
  } cases[] = {
      {{"blobs.conv1_w", "blobs.bn_s"}, {"blobs.conv1_w_momentum"}},
      {{"bert/dense/kernel", "bert/dense/bias"}, {"bert/dense/kernel/adam_m", "bert/dense/bias/adam_v"}},
      {{"a/kernel:0"}, {"a/kernel/Adam:0", "a/kernel/Adam_1:0"}},
      {{"updater/model:main/l1/W", "updater/iteration"}, {"updater/optimizer:main/l1/W/m", "updater/optimizer:main/t"}},
      {{"opt/target/head/bias"}, {"opt/state/step", "opt/state/param_states/head/bias/grad_ema"}},
      {{"params/head/bias"}, {"opt/0/mu/head/bias", "opt/0/count"}},
      {{"g.w", "d.w"}, {"g_optim.state.0.exp_avg", "d_optim.0.m"}},
      {{"encoder/kernel"}, {"encoder/kernel_slot_v", "encoder/kernel_slot_vc"}},
      {{"linear_0.w_0"}, {"linear_0.w_0_moment1_0", "linear_0.b_0_velocity_0"}},
      // What only sounds like it stays.
      {{"model.momentum_encoder.w", "model.gate_momentum", "optimizer.target.w"}, {"optimizer.state.step"}},
      {{"Adam/kernel", "eve/kernel", "Momentum/bias"}, {}},
      {{"opt_proj.weight", "opt.decoder.weight", "lm_head.weight"}, {}},
      {{"scheduler.embed.weight", "model.optimizer_head.weight", "warmup_proj.bias"}, {"optimizer.m.w"}},
      {{"params_ema.w", "params_ema.b"}, {}},
  };
  for (const auto& c : cases) {
    Names all = c.model;
    all.insert(all.end(), c.state.begin(), c.state.end());
    CAPTURE(all);
    CHECK(kept(all) == c.model);
  }
}

TEST_CASE("strip: a slot has its variable's shape", "[write]") {
  const TemporaryFolder folder;
  const auto report = strip_optimizer(checkpoint_of({{"w", of(1)}, {"w_momentum", of(2, {3})}}), folder.path / "a.npz");
  REQUIRE(report);
  CHECK(report->written.num_tensors == 2);
}

TEST_CASE("strip: --ema puts each program's averages in the model's place", "[write]") {
  StripOptions options;
  options.ema = true;
  const struct {
    Names names;
    std::map<std::string, float> result;  // the index of the name whose values are there
  } cases[] = {
      {{"a/W", "a/b", "a/W/ExponentialMovingAverage"}, {{"a/W", 2}, {"a/b", 1}}},
      {{"sd.model.net.in.0.w", "sd.first.w", "sd.model_ema.netin0w"}, {{"sd.model.net.in.0.w", 0}}},
      {{"state_dict.model.net.in.0.w", "state_dict.first.w", "state_dict.model_ema.netin0w",
        "state_dict.model_ema.decay", "state_dict.model_ema.num_updates"},
       {{"state_dict.model.net.in.0.w", 2}, {"state_dict.first.w", 1}}},
      {{"model.unets.0.w", "ema.0.online_model.w", "ema.0.ema_model.w"}, {{"model.unets.0.w", 2}}},
      {{"state_dict.a.w", "state_dict.b.w", "state_dict_ema.a.w", "state_dict_ema.b.w"},
       {{"state_dict.a.w", 2}, {"state_dict.b.w", 3}}},
      {{"g.s.w", "d.s.w", "g_ema.s.w"}, {{"g.s.w", 2}, {"d.s.w", 1}}},
  };
  for (const auto& c : cases) {
    CAPTURE(c.names);
    if (c.names[0].starts_with("sd.")) {  // nothing says that this is a moving average
      const TemporaryFolder folder;
      CHECK_FALSE(strip_optimizer(checkpoint_of({{c.names[0], of(0)}}), folder.path / "o.npz", options));
      CHECK(folder.num_files() == 0);
      continue;
    }
    std::map<std::string, float> values;
    kept(c.names, options, &values);
    CHECK(values == c.result);
  }
}

TEST_CASE("strip: nothing that is left is an error before anything is replaced", "[write]") {
  const TemporaryFolder folder;
  const auto target = folder.path / "out.npz";
  write_text(target, "the old file");
  StripOptions options;
  options.write.replace = true;
  for (const Names& names : {Names{"optimizer.m.w", "optimizer.v.w"}, Names{}}) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& n : names) tensors.emplace_back(n, of(1));
    const auto report = strip_optimizer(checkpoint_of(tensors), target, options);
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::invalid_argument);
    CHECK(read_text(target) == "the old file");
  }
}

TEST_CASE("strip: options stay, the trainer's own state goes", "[write]") {
  Builder b;
  const ValueId opt = b.dict({{"lr", b.tree.add_real(0.5)}, {"optimizer", b.tree.add_string("SGD")}});
  const ValueId mean = b.dict({{"mean", b.tree.add_real(0.5)}});
  b.c.root = b.dict({{"state_dict", b.dict({{"w", b.tensor(0)}})},
                     {"opt", opt},
                     {"optimizer", b.adam()},
                     {"optim", b.dict({{"name", b.tree.add_string("adam")}})},
                     {"optimizer_history", b.list({})},
                     {"scaler", mean},
                     {"scaler0", b.dict({{"scale", b.tree.add_real(2)}})},
                     {"scheduler0", b.dict({{"last", b.tree.add_integer(1)}})},
                     {"scheduler", b.tree.add_string("cosine")},
                     {"warmup0", b.dict({})},
                     {"param_schedulers", b.list({})},
                     {"callbacks", b.dict({{"best", b.tensor(2)}})},
                     {"loops", b.dict({})},
                     {"_best_ema", b.tree.add_real(0.25)}});
  CHECK(b.stripped() ==
        "{'state_dict': {'w': <00000000000000000000000000000000>}, 'opt': {'lr': 0.5r, 'optimizer': 'SGD'}, 'optim': "
        "{'name': 'adam'}, 'optimizer_history': [], 'scaler': {'mean': 0.5r}, 'scheduler': 'cosine', '_best_ema': "
        "0.25r}");
}

TEST_CASE("strip: in a wrapper of its own, and out of a tuple", "[write]") {
  Builder b;
  b.c.root = b.dict({{"classy_state_dict", b.dict({{"base_model", b.dict({{"w", b.tensor(0)}})},
                                                   {"optimizer", b.dict({{"optim", b.adam()}})},
                                                   {"amp", b.dict({{"loss_scaler0", b.dict({})}})}})}});
  CHECK(b.stripped() == "{'classy_state_dict': {'base_model': {'w': <00000000000000000000000000000000>}}}");
  Builder t;
  t.c.root = t.list({t.tree.add_integer(3), t.tensor(0), t.adam(), t.tensor(0)}, ValueKind::tuple);
  CHECK(t.stripped() == "(3, <00000000000000000000000000000000>, None, <00000000000000000000000000000000>)");
}

TEST_CASE("strip: a deep nest costs no name for each level", "[write][hostile]") {
  Builder b;
  ValueId level = b.tensor(1);
  for (int i = 0; i < 20'000; ++i) level = b.list({level});
  b.c.root = b.dict({{"a", level}, {"optimizer", b.adam()}});
  const TemporaryFolder folder;
  StripOptions options;
  options.write.dry_run = true;
  const auto report = strip_optimizer(b.c, folder.path / "out.pkl", options);
  REQUIRE(report);
  CHECK(report->dropped == Names{"optimizer"});
  CHECK(report->why.size() == 1);
}

}  // namespace netcl::ckpt
