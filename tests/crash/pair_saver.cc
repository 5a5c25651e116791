// The program that crash_test.py kills while it saves netcl's pair, and asks afterwards what is there.
//
//     pair_saver save DIR N     arrays, optimizer and config all of the number N
//     pair_saver load DIR       prints the three numbers that it finds
#include <cstdio>
#include <string>
#include <vector>

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

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  const auto done = what == "save" && argc == 4 ? save(argv[2] + std::string("/run.v1"), std::stoi(argv[3]))
                                                : load(argv[2] + std::string("/run.v1"));
  if (!done) std::fprintf(stderr, "%s\n", done.error().to_string().c_str());
  return done ? 0 : 2;
}
