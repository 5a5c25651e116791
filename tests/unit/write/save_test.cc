#include "netcl/ckpt/save.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "catch.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/diff.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/manager.h"
#include "netcl/ckpt/netcl.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/optimizer.h"
#include "netcl/ckpt/output_file.h"
#include "netcl/ckpt/repair.h"
#include "netcl/ckpt/strip.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

/// A small network with Adam, its arrays filled from `seed` on.
struct Program {
  explicit Program(float seed) {
    for (auto* values : {&weight, &bias, &m, &v}) {
      for (float& x : *values) x = seed++;
    }
  }
  std::vector<Parameter> parameters() {
    return {{"fc.weight", host_target(weight, {2, 3})}, {"fc.bias", host_target(bias, {2})}};
  }
  AdamState adam() { return {7, {{host_target(m, {2, 3}), host_target(v, {2, 3})}}}; }
  bool operator==(const Program&) const = default;

  std::vector<float> weight = std::vector<float>(6), bias = std::vector<float>(2), m = std::vector<float>(6),
                     v = std::vector<float>(6);
};

Value state_of(Program& p) {
  Value::Entries model;
  for (const Parameter& parameter : p.parameters()) model.emplace_back(parameter.name, parameter.target);
  return Value::dict({{"model", Value::dict(std::move(model))},
                      {"optimizer", p.adam().value()},
                      {"scheduler", Value()},
                      {"epoch", 3},
                      {"rng", Value::tuple({"MT19937", 0.5, true})}});
}

std::string message_of(const auto& result) { return result ? "" : result.error().to_string(); }

}  // namespace

TEST_CASE("save: a state comes back bit for bit, in every format", "[write]") {
  const TemporaryFolder folder;
  for (const char* name : {"run.v2", "a.npz", "a.pkl", "a.pt", "a.safetensors", "folder/"}) {
    INFO(name);
    Program saved(1), loaded(100);
    const auto path = folder.path / name;
    const auto done = save_state(state_of(saved), path);
    INFO(message_of(done));
    REQUIRE(done);
    const auto state = load_state(path);
    REQUIRE(state);
    CHECK(state->tree.integer(state->tree.find(state->root, "epoch")->value) == 3);
    MatchOptions options;
    options.scope = "model";
    const auto report = load_parameters(*state, loaded.parameters(), options);
    INFO(message_of(report));
    REQUIRE(report);
    AdamState adam = loaded.adam();
    adam.t = 0;
    const auto optimizer = load_optimizer(*state, "optimizer", adam);
    INFO(message_of(optimizer));
    REQUIRE(optimizer);
    CHECK(adam.t == 7);
    CHECK(loaded == saved);
  }
  CHECK(std::filesystem::exists(folder.path / "run.v2.npz"));
}

TEST_CASE("save: netcl's pair is one commit", "[write]") {
  const TemporaryFolder folder;
  Program p(1), q(100);
  const auto path = folder.path / "run.v1";
  CheckpointExtras extras{p.adam().value(), Value::dict({{"lr", 0.1}})};
  REQUIRE(save_checkpoint(p.parameters(), path, extras));
  CHECK(std::filesystem::exists(folder.path / "run.v1.npz"));
  CHECK(read_text(folder.path / "run.v1.json") == "{\"config\":{\"lr\":0.1}}");
  const std::string old_sidecar = read_text(folder.path / "run.v1.json");

  const auto loaded = load_checkpoint(q.parameters(), path);
  REQUIRE(loaded);
  CHECK(q.weight == p.weight);
  REQUIRE(loaded->config);
  CHECK(dump(loaded->checkpoint.tree, *loaded->config) == "{'lr': 0.1r}");
  AdamState adam = q.adam();
  REQUIRE(load_optimizer(loaded->checkpoint, "optim_state", adam));
  CHECK(q == p);

  // The process died after the new npz and before the new sidecar: all of the new save is seen.
  extras.config = Value::dict({{"lr", 0.2}});
  REQUIRE(save_checkpoint(p.parameters(), path, extras));
  write_text(folder.path / "run.v1.json", old_sidecar);
  for (const std::string& sidecar : {old_sidecar, std::string("{\"optim_state\": [["), std::string()}) {
    write_text(folder.path / "run.v1.json", sidecar);
    const auto again = load_checkpoint(q.parameters(), path);
    REQUIRE(again);
    CHECK(dump(again->checkpoint.tree, *again->config) == "{'lr': 0.2r}");
    REQUIRE(again->checkpoint.problems.size() == 1);
    CHECK(again->checkpoint.problems[0].code == ProblemCode::stale_sidecar);
  }
}

TEST_CASE("save: what replaces a pair does not keep its sidecar", "[write]") {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  Program p(1);
  const fs::path npz = folder.path / "run.npz", json = folder.path / "run.json";
  const auto metadata = [&] {
    const auto state = load_state(npz);
    REQUIRE(state);
    return dump(state->tree, state->attributes);
  };
  const auto pair = [&] { REQUIRE(save_checkpoint(p.parameters(), npz, {std::nullopt, Value::dict({{"lr", 0.1}})})); };
  pair();
  const std::string old = read_text(json);
  REQUIRE(save_params(p.parameters(), npz));
  CHECK_FALSE(fs::exists(json));
  CHECK(metadata() == "{}");
  write_text(json, old);  // the process died before it could go
  CHECK(metadata() == "{}");

  // As netcl writes a pair, whose npz has no metadata of its own.
  const auto plain = folder.path / "plain.npz";
  REQUIRE(save_params(p.parameters(), plain));
  fs::copy_file(plain, npz, fs::copy_options::overwrite_existing);
  write_text(json, R"({"optim_state": {"t": 3}, "config": null})");
  CHECK(metadata() != "{}");
  ConvertOptions replace;
  CHECK(convert(plain, npz, replace).error().code == ErrorCode::invalid_argument);
  CHECK(fs::exists(json));
  replace.replace = true;
  REQUIRE(convert(plain, npz, replace));
  CHECK_FALSE(fs::exists(json));
  CHECK(metadata() == "{}");
  StripOptions strip;
  strip.write.replace = true;
  write_text(json, R"({"optim_state": {"t": 3}})");
  fs::copy_file(plain, npz, fs::copy_options::overwrite_existing);
  REQUIRE(strip_optimizer(open_checkpoint(npz).value(), npz, strip));
  CHECK_FALSE(fs::exists(json));
  CHECK(metadata() == "{}");

  // Its name is one that netcl shortened: it may be another's, so it stays, and is not read.
  fs::copy_file(plain, folder.path / "run.v2.npz");
  fs::remove(npz);
  write_text(json, R"({"optim_state": {"t": 3}})");
  CHECK(dump(load_state(folder.path / "run.v2.npz")->tree, load_state(folder.path / "run.v2.npz")->attributes) != "{}");
  REQUIRE(save_params(p.parameters(), folder.path / "run.v2.npz"));
  CHECK(fs::exists(json));
  const auto state = load_state(folder.path / "run.v2.npz");
  REQUIRE(state);
  CHECK(dump(state->tree, state->attributes) == "{}");
  fs::remove(folder.path / "run.v2.npz");

  // A stranger's .json is neither removed nor replaced.
  for (const char* text : {R"({"mine": 1})", "notes"}) {
    write_text(json, text);
    REQUIRE(save_params(p.parameters(), npz));
    const auto refused = save_checkpoint(p.parameters(), npz, {std::nullopt, Value::dict({{"lr", 0.1}})});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().file == json.string());
    CHECK(metadata() == "{}");
    CHECK(read_text(json) == text);
  }
  write_text(json, "");  // what a save of netcl's leaves that died at once
  pair();
}

TEST_CASE("save: a sidecar that cannot be read is not one that is missing", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  REQUIRE(save_params(p.parameters(), folder.path / "a"));
  write_text(folder.path / "a.json", R"({"config": ")" + std::string(1000, 'x') + "\"}");
  ConvertOptions options;
  options.limits.max_json_bytes = 1000;
  const auto refused = convert(folder.path / "a.npz", folder.path / "b.pkl", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().to_string().find("`sidecar`") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.path / "b.pkl"));
  options.sidecar = false;
  CHECK(convert(folder.path / "a.npz", folder.path / "b.pkl", options));
}

TEST_CASE("save: a pair of which one cannot be replaced says which stands", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  const auto npz = folder.path / "a.npz";
  std::filesystem::create_directory(folder.path / "a.json");
  const auto refused = save_checkpoint(p.parameters(), npz, {std::nullopt, Value::dict({{"lr", 0.1}})});
  REQUIRE_FALSE(refused);
  CHECK_FALSE(std::filesystem::exists(npz));
  CHECK(refused.error().file == (folder.path / "a.json").string());
}

TEST_CASE("save: a child after fork neither waits for a save nor ends by it", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  SaveOptions options;
  std::atomic<bool> go = false;
  options.on_durable = [&]() -> Result<void> {
    while (!go) ::usleep(1000);
    return {};
  };
  auto pending = save_async(state_of(p), folder.path / "a", options);
  REQUIRE(pending);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const bool refused = !pending->wait();
    { const PendingSave gone(std::move(*pending)); }
    ::_exit(refused && !pending->wait() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  go = true;
  CHECK(pending->wait());
}

TEST_CASE("save: loading is all or nothing, and says all that does not match", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  std::vector<float> more(4);
  auto parameters = p.parameters();
  REQUIRE(save_params(parameters, folder.path / "a"));

  Program q(100);
  const Program before = q;
  std::vector<Parameter> other = {{"fc.weight", host_target(q.weight, {3, 2})},
                                  {"fc.bias", host_target(q.bias, {2})},
                                  {"extra", host_target(more, {4})}};
  const auto state = load_state(folder.path / "a");
  REQUIRE(state);
  const auto refused = load_parameters(*state, other);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message ==
        "the file does not match the parameters: missing name: extra; "
        "mismatched tensor: fc.weight: float32 (2, 3) for float32 (3, 2)");
  CHECK(q == before);

  MatchOptions lenient;
  lenient.strict = false;
  const auto report = load_parameters(*state, other, lenient);
  REQUIRE(report);
  CHECK(report->loaded == std::vector<std::string>{"fc.bias"});
  CHECK(report->missing == std::vector<std::string>{"extra"});
  CHECK(q.bias == p.bias);
  CHECK(q.weight == before.weight);

  const auto unexpected = load_parameters(*state, std::vector<Parameter>{parameters[0]});
  REQUIRE_FALSE(unexpected);
  CHECK(unexpected.error().message == "the file does not match the parameters: unexpected name: fc.bias");
  CHECK(load_params(std::vector<Parameter>{parameters[0]}, folder.path / "a"));  // netcl passes over it

  // A damaged payload is found before any parameter changes.
  std::string bytes = read_text(folder.path / "a.npz");
  const auto at = bytes.find(std::string(reinterpret_cast<const char*>(p.bias.data()), 8));
  REQUIRE(at != bytes.npos);
  bytes[at] ^= 1;
  write_text(folder.path / "damaged.npz", bytes);
  Program untouched(100);
  const auto damaged = load_params(untouched.parameters(), folder.path / "damaged");
  REQUIRE_FALSE(damaged);
  CHECK(damaged.error().code == ErrorCode::checksum_mismatch);
  CHECK(untouched == Program(100));
}

TEST_CASE("save: prefixes, transposition and casts are asked for", "[write]") {
  const TemporaryFolder folder;
  std::vector<float> weight = {1, 2, 3, 4, 5, 6}, back(6);
  REQUIRE(save_params(std::vector<Parameter>{{"module.fc.weight", host_target(weight, {2, 3})}}, folder.path / "a"));
  MatchOptions options;
  options.strip_prefix = "module.";
  options.transpose = {"*.weight"};
  REQUIRE(load_params(std::vector<Parameter>{{"fc.weight", host_target(back, {3, 2})}}, folder.path / "a", options));
  CHECK(back == std::vector<float>{1, 4, 2, 5, 3, 6});

  std::vector<double> wide(6);
  const std::vector<Parameter> doubles = {
      {"module.fc.weight", {make_dtype(ScalarType::float64), {2, 3}, std::as_writable_bytes(std::span(wide))}}};
  CHECK_FALSE(load_params(doubles, folder.path / "a"));
  options = {};
  options.allow_cast = true;
  REQUIRE(load_params(doubles, folder.path / "a", options));
  CHECK(wide == std::vector<double>{1, 2, 3, 4, 5, 6});
}

TEST_CASE("save: netcl's single file holds the architecture", "[write]") {
  const TemporaryFolder folder;
  Program p(1), q(100);
  const Value layers = Value::list({Value::dict({{"type", "Linear"}, {"args", Value::dict({{"in_features", 3}})}})});
  std::vector<Parameter> saved = {{"0:weight", host_target(p.weight, {2, 3})}};
  REQUIRE(save_model(layers, saved, folder.path / "m.netcl"));
  const auto loaded =
      load_model(std::vector<Parameter>{{"0:weight", host_target(q.weight, {2, 3})}}, folder.path / "m.netcl");
  INFO(message_of(loaded));
  REQUIRE(loaded);
  CHECK(q.weight == p.weight);
  CHECK(loaded->checkpoint.format == Format::netcl);
  const auto* meta = loaded->checkpoint.tree.find(loaded->checkpoint.attributes, "__netcl_meta__");
  REQUIRE(meta);
  CHECK(dump(loaded->checkpoint.tree, meta->value) ==
        "{'type': 'Sequential', 'config': [{'type': 'Linear', 'args': {'in_features': 3}}], 'version': 2, "
        "'format': 'netcl.single-file'}");
}

TEST_CASE("save: in the background a snapshot is written, and errors wait", "[write]") {
  const TemporaryFolder folder;
  Program p(1), q(100);
  auto pending = save_async(state_of(p), folder.path / "a");
  REQUIRE(pending);
  p.weight.assign(6, -1.0F);  // the training goes on
  REQUIRE(pending->wait());
  CHECK(pending->done());
  MatchOptions options;
  options.scope = "model";
  REQUIRE(load_parameters(*load_state(folder.path / "a"), q.parameters(), options));
  CHECK(q.weight == Program(1).weight);

  auto failing = save_async(state_of(p), folder.path / "no such folder" / "a");
  REQUIRE(failing);
  const auto outcome = failing->wait();
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == ErrorCode::io);
}

TEST_CASE("save: finds what netcl wrote under its shortened names", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  REQUIRE(save_params(p.parameters(), folder.path / "run.npz"));
  CHECK(load_state(folder.path / "run.v2"));  // with_suffix(".npz")
  CHECK(load_state(folder.path / "run"));
  const auto missing = load_state(folder.path / "other");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::io);
}

TEST_CASE("save: a state nested 200,000 deep is an error", "[write][hostile]") {
  const TemporaryFolder folder;
  Value state = 1;
  for (int i = 0; i < 200'000; ++i) state = i % 2 == 0 ? Value::list({state}) : Value::dict({{"k", state}});
  const Value copy = state;
  const auto saved = save_state(Value::dict({{"deep", copy}}), folder.path / "a.npz");
  REQUIRE_FALSE(saved);
  CHECK(saved.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("save: what was moved from, or never filled, is an error", "[write]") {
  const TemporaryFolder folder;
  const auto refused = [](const auto& result) {
    return !result.has_value() && result.error().code == ErrorCode::invalid_argument;
  };
  CHECK(refused(inspect(Checkpoint())));
  CHECK(refused(diff(Checkpoint(), Checkpoint())));
  CHECK(refused(convert(Checkpoint(), folder.path / "a.npz")));
  CHECK(refused(strip_optimizer(Checkpoint(), folder.path / "a.npz")));
  CHECK(refused(expectations_of(Checkpoint())));
  CHECK(refused(load_parameters(Checkpoint(), {})));
  CHECK(refused(open_checkpoint(SourcePtr(), "")));
  CHECK(refused(verify(SourcePtr(), "")));
  CHECK(refused(repair(nullptr, folder.path / "a.npz")));

  auto saving = save_async(Value::dict({}), folder.path / "b.npz").value();
  PendingSave save = std::move(saving);
  CHECK(refused(saving.wait()));
  CHECK(saving.done());
  CHECK(save.wait());
  auto opened = CheckpointManager::open(folder.path / "run").value();
  CheckpointManager manager = std::move(opened);
  CHECK(refused(opened.maybe_save(1, 1, Value::dict({}))));
  CHECK(refused(opened.save_final(1, 1, Value::dict({}))));
  CHECK(refused(opened.restore_latest()));
  CHECK(refused(opened.restore_best()));
  CHECK(refused(opened.wait()));
  opened.protect(1);
  opened.request_save();
  auto file = OutputFile::create(folder.path / "c", false).value();
  const OutputFile output = std::move(file);
  CHECK(refused(file.write_at(0, {})));
  CHECK(refused(file.preallocate(1)));
  CHECK(refused(file.reopen(1)));
  CHECK(refused(file.commit(1)));
  file.expect_at_most(1);
  Value value = Value::list({1, 2});
  const Value moved = std::move(value);
  CHECK_FALSE(value.is_dict());
  CHECK(save_state(Value::dict({{"a", value}, {"b", moved}}), folder.path / "d.npz"));
}

TEST_CASE("save: whatever a callback throws is an error", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  SaveOptions options;
  options.on_durable = []() -> Result<void> { throw 7; };
  CHECK(save_state(state_of(p), folder.path / "a.npz", options).error().code == ErrorCode::internal);
  CHECK(save_async(state_of(p), folder.path / "b.npz", options).value().wait().error().code == ErrorCode::internal);
  ConvertOptions converting;
  converting.run.progress = [](std::uint64_t, std::uint64_t) { throw "text"; };
  CHECK(convert(folder.path / "a.npz", folder.path / "c.npz", converting).error().code == ErrorCode::internal);
  CHECK_FALSE(std::filesystem::exists(folder.path / "c.npz"));
}

TEST_CASE("save: an npy that was written is compared with the one tensor that it was made from", "[write]") {
  const TemporaryFolder folder;
  Program p(1);
  REQUIRE(save_params({{{"fc.weight", host_target(p.weight, {2, 3})}}}, folder.path / "a.npz"));
  ConvertOptions options;
  options.verify = true;
  CHECK(convert(folder.path / "a.npz", folder.path / "a.npy", options));
}

TEST_CASE("save: views that repeat what is stored thousands of times are listed, and not read", "[write][hostile]") {
  const TemporaryFolder folder;
  Checkpoint c;
  c.path = "c";
  c.file_bytes = 8;
  Tensor t;
  t.dtype = make_dtype(ScalarType::uint8);
  t.shape = {std::uint64_t{1} << 20, std::uint64_t{1} << 20};
  t.strides = {0, 0};
  t.storage = file_storage(memory_source({std::byte{7}}, "one"), 0, 1);
  const Tree::Entry entry{c.tree.add_string("wide"), c.tree.add_tensor(t)};
  c.root = c.tree.add_dict({&entry, 1});
  c.attributes = c.tree.add_dict({});
  InspectOptions hash;
  hash.hash = true;
  const auto listed = inspect(c, hash);
  REQUIRE(listed);
  CHECK(listed->totals.num_tensors == 1);
  REQUIRE(listed->problems.size() == 1);
  CHECK(listed->problems[0].code == ProblemCode::limit_exceeded);
  const auto written = convert(c, folder.path / "a.npz");
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::limit_exceeded);
  CHECK(written.error().member == "wide");
  Checkpoint other = c;
  other.tree.tensors()[0].storage = file_storage(memory_source({std::byte{8}}, "one"), 0, 1);
  const auto compared = diff(c, other);
  REQUIRE(compared);
  CHECK(compared->tensors[0].change == TensorChange::unreadable);
}
