// The library's side of netcl_api.py: saves for netcl to load, and loads what netcl saved.
//
//     netcl_peer write DIR      DIR/params.npz, DIR/ck.npz and .json, DIR/model.netcl
//     netcl_peer read DIR       what netcl saved there, and saves it again as DIR/back-*.npz
#include <cstdio>
#include <deque>
#include <string>

#include "netcl/ckpt/netcl.h"
#include "netcl/ckpt/optimizer.h"
#include "netcl/ckpt/save.h"

using namespace netcl::ckpt;

namespace {

const std::vector<std::vector<std::uint64_t>> kShapes = {{12, 5}, {5}, {5, 3}, {3}};

/// Arrays of the network's shapes, counting up from `start`.
struct Arrays {
  explicit Arrays(float start) {
    for (const auto& shape : kShapes) {
      std::uint64_t n = 1;
      for (const std::uint64_t d : shape) n *= d;
      auto& array = values.emplace_back(n);
      for (float& x : array) x = start += 0.25F;
      targets.push_back(host_target(array, shape));
    }
  }
  std::vector<Parameter> named(std::vector<std::string> names) const {
    std::vector<Parameter> out;
    for (std::size_t i = 0; i < names.size(); ++i) out.push_back({std::move(names[i]), targets[i]});
    return out;
  }
  std::deque<std::vector<float>> values;
  std::vector<TensorTarget> targets;
};

const std::vector<std::string> kLayerNames = {"1:weight", "1:bias", "3:weight", "3:bias"};
const std::vector<std::string> kNames = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};

Value layer(const char* type, Value::Entries args) {
  return Value::dict({{"type", type}, {"args", Value::dict(std::move(args))}});
}

Value linear(int in, int out) { return layer("Linear", {{"in_features", in}, {"out_features", out}, {"bias", true}}); }

Result<void> write(const std::string& folder) {
  const Arrays arrays(0), m(100), v(200);
  if (auto done = save_params(numbered(arrays.targets), folder + "/params"); !done) return done;
  AdamState adam;
  adam.t = 8;
  for (std::size_t i = 0; i < m.targets.size(); ++i) adam.moments.emplace_back(m.targets[i], v.targets[i]);
  const CheckpointExtras extras{adam.value(), Value::dict({{"lr", 0.5}, {"note", "é"}})};
  if (auto done = save_checkpoint(arrays.named(kNames), folder + "/ck", extras); !done) return done;
  const Value layers = Value::list({layer("Flatten", {}), linear(12, 5), layer("ReLU", {}), linear(5, 3)});
  return save_model(layers, arrays.named(kLayerNames), folder + "/model.netcl");
}

Result<void> read(const std::string& folder) {
  const Arrays params(0), pair(0), model(0);
  if (auto done = load_params(numbered(params.targets), folder + "/params"); !done)
    return tl::make_unexpected(done.error());
  if (auto done = save_params(numbered(params.targets), folder + "/back-params"); !done) return done;
  auto loaded = load_checkpoint(pair.named(kNames), folder + "/run.v2");  // beside netcl's run.json
  if (!loaded) return tl::make_unexpected(loaded.error());
  if (!loaded->config) {
    Error missing;
    missing.code = ErrorCode::corrupt;
    missing.message = "no config";
    return tl::make_unexpected(std::move(missing));
  }
  if (auto done = save_params(pair.named(kNames), folder + "/back-pair"); !done) return done;
  if (auto done = load_model(model.named(kLayerNames), folder + "/model.netcl"); !done)
    return tl::make_unexpected(done.error());
  return save_params(model.named(kLayerNames), folder + "/back-model");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto done = std::string(argv[1]) == "write" ? write(argv[2]) : read(argv[2]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().to_string().c_str());
  return done ? 0 : 1;
}
