// What docs/library.md shows, in one program that runs: scripts/check_docs finds each line of it here.
#include <netcl/ckpt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

using namespace netcl::ckpt;

namespace {

/// What a program does with an error is its own affair; this one ends.
template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "tour: %s\n", result.error().to_string().c_str());
    std::exit(2);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

struct Network {
  std::vector<float> weight = std::vector<float>(12), bias = std::vector<float>(3);
  std::vector<float> m = weight, v = weight;

  std::vector<Parameter> parameters() {
    return {{"fc.weight", host_target(weight, {4, 3})}, {"fc.bias", host_target(bias, {3})}};
  }
  AdamState adam() { return {0, {{host_target(m, {4, 3}), host_target(v, {4, 3})}}}; }
};

Value state_of(Network& network, std::int64_t t) {
  AdamState adam = network.adam();
  adam.t = t;
  Value::Entries model;
  for (const Parameter& p : network.parameters()) model.emplace_back(p.name, p.target);
  return {{"model", Value::dict(std::move(model))}, {"optimizer", adam.value()}, {"epoch", 3}};
}

void a_few_lines() {
  std::vector<float> weight(6);
  std::uint64_t step = 1000;
  must(save_state({{"model", {{"fc.weight", weight, {2, 3}}}}, {"step", step}}, "small.npz"));

  const Checkpoint checkpoint = must(open_checkpoint("small.npz"));
  if (const Tensor* found = checkpoint.find("model.fc.weight")) {
    weight = must(found->read<float>());
  }
}

void save() {
  Network network;
  must(save_state(state_of(network, 1000), "run.v2"));  // run.v2.npz
}

void load() {
  Network network;
  const Checkpoint state = must(load_state("run.v2"));
  MatchOptions options;
  options.scope = "model";
  const MatchReport report = must(load_parameters(state, network.parameters(), options));
  AdamState adam = network.adam();
  must(load_optimizer(state, "optimizer", adam));
  std::printf("%zu parameters, t = %lld\n", report.loaded.size(), static_cast<long long>(adam.t));
}

void load_what_fits() {
  Network network;
  MatchOptions options;
  options.scope = "model";
  options.strip_prefix = "module.";
  options.strict = false;
  options.allow_cast = true;
  const MatchReport report = must(load_parameters(must(load_state("run.v2")), network.parameters(), options));
  for (const std::string& name : report.missing) std::printf("the file has no %s\n", name.c_str());
}

void in_the_background() {
  Network network;
  PendingSave pending = must(save_async(state_of(network, 1001), "run.v3"));
  // … the arrays may change here: they were copied …
  must(pending.wait());
}

void train() {
  Network network;
  ManagerOptions options;
  options.every_steps = 100;
  options.async = true;
  options.retention.keep_last = 3;
  options.retention.keep_best = BestBy{"val_loss", false};
  CheckpointManager manager = must(CheckpointManager::open("runs/7", options));

  std::uint64_t step = 0;
  if (const auto last = must(manager.restore_latest())) {
    MatchOptions match;
    match.scope = "model";
    must(load_parameters(last->checkpoint, network.parameters(), match));
    step = last->info.step.value_or(0);
  }
  while (step < 1000) {
    ++step;  // … one step of training …
    must(manager.maybe_save(step, 0, state_of(network, 0), {{"val_loss", 1.0 / static_cast<double>(step)}}));
  }
  must(manager.save_final(step, 0, state_of(network, 0)));
}

void look() {
  const Checkpoint checkpoint = must(open_checkpoint("run.v2.npz"));
  for (const NamedTensor& named : must(list_tensors(checkpoint))) {
    const Tensor& tensor = checkpoint.tree.tensor(named.value);
    if (tensor.dtype.type != ScalarType::float32) continue;
    const std::vector<float> elements = must(tensor.read<float>());
    std::printf("%s: %s, %zu elements\n", named.name.c_str(), tensor.dtype.name().c_str(), elements.size());
  }
}

void check_and_convert() {
  must(convert(must(open_checkpoint("run.v2.npz")), "run.pt", {}));
  const DiffReport changes = must(diff(must(open_checkpoint("run.v2.npz")), must(open_checkpoint("run.pt"))));
  const VerifyReport report = must(verify("run.pt"));
  std::printf("%s, %s\n", changes.differs ? "different" : "the same", report.sound() ? "sound" : "not sound");
}

}  // namespace

int main() {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("netcl-ckpt-tour-" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::current_path(folder);
  a_few_lines();
  save();
  load();
  load_what_fits();
  in_the_background();
  train();
  look();
  check_and_convert();
  fs::current_path(folder.parent_path());
  fs::remove_all(folder);
}
