// The program that crash_test.py kills while it saves netcl's pair, or by a manager, and asks afterwards what is there.
//
//     pair_saver save DIR N     arrays, optimizer and config all of the number N
//     pair_saver load DIR       prints the three numbers that it finds
//     pair_saver run DIR N      saves the steps 1 to N by a manager that keeps two, and tells of each
//     pair_saver restore DIR    prints the step that is restored, 0 for none
#include <cstdio>
#include <string>
#include <vector>

#include "netcl/ckpt/manager.h"
#include "netcl/ckpt/netcl.h"
#include "netcl/ckpt/optimizer.h"
#include "netcl/ckpt/save.h"

using namespace netcl::ckpt;

namespace {

struct State {
  std::vector<float> weight = std::vector<float>(1000), m = weight, v = weight;
  std::vector<Parameter> parameters() { return {{"w", host_target(weight, {1000})}}; }
  AdamState adam() { return {0, {{host_target(m, {1000}), host_target(v, {1000})}}}; }
};

Result<void> save(const std::string& path, int number) {
  State state;
  for (auto* values : {&state.weight, &state.m, &state.v}) values->assign(1000, static_cast<float>(number));
  AdamState adam = state.adam();
  adam.t = number;
  return save_checkpoint(state.parameters(), path, {adam.value(), Value::dict({{"number", number}})});
}

Result<void> load(const std::string& path) {
  State state;
  const auto parameters = state.parameters();
  const auto loaded = load_checkpoint(parameters, path);
  if (!loaded) return tl::make_unexpected(loaded.error());
  AdamState adam = state.adam();
  if (auto done = load_optimizer(loaded->checkpoint, "optim_state", adam); !done) return done;
  const Tree& tree = loaded->checkpoint.tree;
  const auto* number = loaded->config ? tree.find(*loaded->config, "number") : nullptr;
  const bool whole =
      state.weight.front() == state.weight.back() && state.m == state.v && static_cast<float>(adam.t) == state.v.back();
  std::printf("%g %s%lld %lld\n", state.weight[0], whole ? "" : "mixed ", static_cast<long long>(adam.t),
              number == nullptr ? -1LL : static_cast<long long>(tree.integer(number->value)));
  return {};
}

Result<void> manage(const std::string& folder, std::uint64_t steps) {
  ManagerOptions options;
  options.every_steps = 1;
  options.retention.keep_last = 2;
  auto manager = CheckpointManager::open(folder, options);
  if (!manager) return tl::make_unexpected(manager.error());
  State state;
  if (steps == 0) {
    const auto found = manager->restore_latest();
    if (!found) return tl::make_unexpected(found.error());
    if (*found) {
      if (auto done = load_parameters((*found)->checkpoint, state.parameters()); !done)
        return tl::make_unexpected(done.error());
    }
    const bool whole = state.weight.front() == state.weight.back() &&
                       (!*found || static_cast<float>(*(*found)->info.step) == state.weight.front());
    std::printf("%s%g\n", whole ? "" : "mixed ", state.weight.front());
  }
  for (std::uint64_t step = 1; step <= steps; ++step) {
    state.weight.assign(1000, static_cast<float>(step));
    const auto saved = manager->maybe_save(step, 0, Value::dict({{"w", state.parameters()[0].target}}));
    if (!saved) return tl::make_unexpected(saved.error());
    std::printf("saved %d\n", static_cast<int>(step));
    std::fflush(stdout);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  const auto done = what == "save" && argc == 4  ? save(argv[2] + std::string("/run.v1"), std::stoi(argv[3]))
                    : what == "run" && argc == 4 ? manage(argv[2], std::stoull(argv[3]))
                    : what == "restore"          ? manage(argv[2], 0)
                                                 : load(argv[2] + std::string("/run.v1"));
  if (!done) std::fprintf(stderr, "%s\n", done.error().to_string().c_str());
  return done ? 0 : 2;
}
