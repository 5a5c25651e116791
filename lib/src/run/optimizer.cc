// Optimizers' states as values, and back into the program's arrays.
#include "netcl/ckpt/optimizer.h"

#include "base/try.h"
#include "netcl/ckpt/load.h"

namespace netcl::ckpt {
namespace {

/// The value at a dotted path of dict keys and list indices.
std::optional<ValueId> find_value(const Tree& tree, ValueId root, std::string_view path) {
  std::optional<ValueId> at = root;
  while (at && !path.empty()) {
    const std::string step(path.substr(0, path.find('.')));
    path.remove_prefix(std::min(path.size(), step.size() + 1));
    if (tree.kind(*at) == ValueKind::dict) {
      const Tree::Entry* entry = tree.find(*at, step);
      at = entry == nullptr ? std::nullopt : std::optional(entry->value);
    } else {
      at = std::nullopt;
    }
  }
  return at;
}

Result<std::int64_t> number_at(const Checkpoint& checkpoint, const std::string& scope, const char* name) {
  const auto parent = find_value(checkpoint.tree, checkpoint.root, scope);
  const Tree::Entry* entry =
      parent && checkpoint.tree.kind(*parent) == ValueKind::dict ? checkpoint.tree.find(*parent, name) : nullptr;
  if (entry == nullptr || (checkpoint.tree.kind(entry->value) != ValueKind::integer &&
                           checkpoint.tree.kind(entry->value) != ValueKind::boolean)) {
    return fail_at(ErrorCode::invalid_argument, scope, std::nullopt, "the optimizer's state has no number '{}'", name);
  }
  return checkpoint.tree.kind(entry->value) == ValueKind::boolean ? checkpoint.tree.boolean(entry->value)
                                                                  : checkpoint.tree.integer(entry->value);
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
    const auto decay = find_value(checkpoint.tree, checkpoint.root, scope + ".decay");
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
