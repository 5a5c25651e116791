// Optimizers' states as values, and back into the program's arrays.
#include "netcl/ckpt/optimizer.h"

#include "base/try.h"
#include "netcl/ckpt/load.h"

namespace netcl::ckpt {
namespace {

/// `name` as a name below `scope`.
std::string below(const std::string& scope, const char* name) { return scope.empty() ? name : scope + "." + name; }

Result<std::int64_t> number_at(const Checkpoint& checkpoint, const std::string& scope, const char* name) {
  const Tree& tree = checkpoint.tree;
  const auto value = checkpoint.find_value(below(scope, name));
  if (!value || (tree.kind(*value) != ValueKind::integer && tree.kind(*value) != ValueKind::boolean))
    return fail_at(ErrorCode::invalid_argument, scope, std::nullopt, "the optimizer's state has no number '{}'", name);
  return tree.integer(*value);
}

Result<void> load_arrays(const Checkpoint& checkpoint, const std::string& scope,
                         const std::vector<Parameter>& parameters) {
  MatchOptions options;
  options.scope = scope;
  CKPT_TRY([[maybe_unused]] const MatchReport report, load_parameters(checkpoint, parameters, options));
  return {};
}

std::vector<Parameter> listed(const char* name, const std::vector<TensorTarget>& targets) {
  std::vector<Parameter> out;
  for (std::size_t i = 0; i < targets.size(); ++i) out.push_back({fmt::format("{}.{}", name, i), targets[i]});
  return out;
}

}  // namespace

Value AdamState::value() const {
  Value::Items pairs;
  for (const auto& [m, v] : moments) pairs.push_back(Value::tuple({m, v}));
  return Value::dict({{"t", t}, {"moments", Value::list(std::move(pairs))}});
}

Value MomentumState::value() const {
  return Value::dict({{"velocity", Value::list(Value::Items(velocity.begin(), velocity.end()))}});
}

Value EmaState::value() const {
  return Value::dict({{"decay", decay},
                      {"warmup", warmup},
                      {"step_count", step_count},
                      {"shadow", Value::list(Value::Items(shadow.begin(), shadow.end()))}});
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, AdamState& state) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(const std::int64_t t, number_at(checkpoint, scope, "t"));
    std::vector<Parameter> arrays;
    for (std::size_t i = 0; i < state.moments.size(); ++i) {
      arrays.push_back({fmt::format("moments.{}.0", i), state.moments[i].first});
      arrays.push_back({fmt::format("moments.{}.1", i), state.moments[i].second});
    }
    CKPT_CHECK(load_arrays(checkpoint, scope, arrays));
    state.t = t;
    return {};
  });
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, MomentumState& state) {
  return guarded([&] { return load_arrays(checkpoint, scope, listed("velocity", state.velocity)); });
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, EmaState& state) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(const std::int64_t step_count, number_at(checkpoint, scope, "step_count"));
    CKPT_TRY(const std::int64_t warmup, number_at(checkpoint, scope, "warmup"));
    const auto decay = checkpoint.find_value(below(scope, "decay"));
    if (!decay || checkpoint.tree.kind(*decay) != ValueKind::real)
      return fail_at(ErrorCode::invalid_argument, scope, std::nullopt, "the EMA's state has no decay");
    CKPT_CHECK(load_arrays(checkpoint, scope, listed("shadow", state.shadow)));
    state.step_count = step_count;
    state.warmup = warmup != 0;
    state.decay = checkpoint.tree.real(*decay);
    return {};
  });
}

}  // namespace netcl::ckpt
