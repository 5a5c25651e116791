// Which part of a training checkpoint a tensor belongs to.
//
// There is no rule that all programs follow, so three kinds of evidence are weighed, the surest first:
//   1. structure: torch's `state` beside `param_groups`, netcl's `moments` beside `t`, lists under
//      `velocity` or `shadow`;
//   2. names that only optimizers use: `exp_avg`, `momentum_buffer`, and `adam/m/…` of Keras;
//   3. the first name on the path: `optimizer…`, `opt_state`, `scheduler`, `scaler`, `rng`, `ema`.
// Words such as `scaler` or `ema` are also fine names for a layer. They count only where the file is
// plainly a training checkpoint, that is where a `model` or an `optimizer` lies beside them; a plain
// model, whatever its layers are called, is all model.
#include "ops/groups.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/glob.h"
#include "model/tree.h"
#include "ops/architecture.h"

namespace netcl::ckpt {
namespace {

using Words = std::vector<std::string_view>;

template <std::size_t N>
bool is_any_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_number(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return '0' <= c && c <= '9'; });
}

/// "optimizer/m/dense" and "optimizer.m.dense" alike.
Words split(std::string_view name) {
  Words words;
  std::size_t start = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '.' && name[i] != '/') continue;
    if (i > start) words.push_back(name.substr(start, i - start));
    start = i + 1;
  }
  return words;
}

/// "model_state_dict", "optimizer_states" and "rng_state" are a word and one of these.
std::string_view without_suffix(std::string_view word) {
  for (std::string_view suffix : {"_state_dict", "_state_dicts", "_states", "_state", "_weights", "_variables"}) {
    if (word.size() > suffix.size() && word.ends_with(suffix)) return word.substr(0, word.size() - suffix.size());
  }
  return word;
}

constexpr std::array<std::string_view, 9> kModelWords = {"model",   "module",     "net",       "network",      "params",
                                                         "weights", "state_dict", "generator", "discriminator"};
constexpr std::array<std::string_view, 5> kOptimizerWords = {"optimizer", "optimizers", "optim", "opt_state", "opt"};
constexpr std::array<std::string_view, 4> kWrapperWords = {"checkpoint", "ckpt", "train", "training"};
constexpr std::array<std::string_view, 10> kAlgorithms = {"adam",     "adamw", "sgd",  "rmsprop", "adagrad",
                                                          "adadelta", "nadam", "lion", "lamb",    "adamax"};
constexpr std::array<std::string_view, 12> kSlots = {"m",  "v",  "vhat",     "mu",       "nu",          "exp_avg",
                                                     "ms", "mg", "momentum", "velocity", "accumulator", "momentums"};
constexpr std::array<std::string_view, 7> kOptimizerLeaves = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_avg_max", "momentum_buffer", "square_avg", "acc_delta"};

/// The role that the first word on a path gives; nothing for an unknown word.
std::optional<Role> role_of_word(std::string_view word) {
  if (is_any_of(word, kModelWords)) return Role::model;
  if (is_any_of(word, kOptimizerWords) || word.starts_with("optimizer_")) return Role::optimizer;
  const std::string_view stem = without_suffix(word);
  if (is_any_of(stem, kModelWords)) return Role::model;
  if (is_any_of(stem, kOptimizerWords)) return Role::optimizer;
  if (stem == "scheduler" || stem == "lr_scheduler" || stem == "lr_schedulers" || stem == "schedulers") {
    return Role::scheduler;
  }
  if (stem == "scaler" || stem == "grad_scaler" || stem == "amp" || stem == "amp_scaler") return Role::scaler;
  if (stem == "rng" || stem == "random" || stem.ends_with("_rng") || stem.starts_with("rng_")) return Role::rng;
  if (stem == "ema" || stem == "shadow" || stem == "model_ema" || stem == "ema_model" || stem == "averaged_model") {
    return Role::ema;
  }
  return std::nullopt;
}

bool is_wrapper(std::string_view word) { return is_any_of(without_suffix(word), kWrapperWords); }

/// The words from the first that says something, past "checkpoint" and the like.
std::optional<Role> first_role(const Words& words) {
  if (words.empty()) return std::nullopt;
  return role_of_word(words.size() > 1 && is_wrapper(words[0]) ? words[1] : words[0]);
}

bool has_optimizer_names(const Words& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (is_any_of(words[i], kOptimizerLeaves)) return true;
    if (i + 1 < words.size() && is_any_of(words[i], kAlgorithms) && is_any_of(words[i + 1], kSlots)) return true;
  }
  const bool listed = words.size() > 1 && is_number(words[1]);
  return listed && ((words[0] == "moments" && words.size() == 3) || (words[0] == "velocity" && words.size() == 2));
}

/// What the containers on the way to a tensor say, by the keys that lie beside the one taken. Tensors come in the
/// order of the tree, so what the last path had in common with the next one is kept: containers of a million
/// entries are gone through once, not once for each.
class StructureRoles {
 public:
  StructureRoles(const Tree& tree, ValueId root) : tree_(tree), root_(root) {}

  std::optional<Role> role_of(std::span<const PathStep> path) {
    std::size_t same = 0;
    while (same < path.size() && same < levels_.size() && levels_[same].step == path[same]) ++same;
    levels_.resize(std::min(levels_.size(), same + 1));
    for (std::size_t depth = same; depth < path.size(); ++depth) {
      if (depth == levels_.size()) levels_.emplace_back(depth == 0 ? root_ : levels_[depth - 1].child);
      if (!enter(levels_[depth], path[depth])) {
        levels_.resize(depth);
        return std::nullopt;
      }
      if (depth > 0 && levels_[depth - 1].role) levels_[depth].role = levels_[depth - 1].role;
      levels_.resize(depth + 1);
    }
    return levels_.empty() ? std::nullopt : levels_.back().role;
  }

 private:
  struct Level {
    explicit Level(ValueId id = 0) : container(id) {}
    ValueId container;
    PathStep step;
    ValueId child = 0;
    std::size_t entry = 0;                    // of a dict: the one taken
    std::optional<Role> role;                 // that this or an upper level gives
    std::optional<bool> param_groups, has_t;  // whether there is such a key
  };

  /// Takes the step; false where the container has no such child.
  bool enter(Level& level, const PathStep& step) {
    level.step = step;
    level.role = std::nullopt;
    if (step.kind == PathStep::Kind::index) {
      if (step.value >= num_children(tree_, level.container)) return false;
      level.child = child(tree_, level.container, step.value);
      return true;
    }
    const auto entries = tree_.entries(level.container);
    const auto is_taken = [&](const Tree::Entry& e) { return e.key == step.value; };
    const auto last = entries.begin() + static_cast<std::ptrdiff_t>(level.entry);
    auto taken = std::find_if(last, entries.end(), is_taken);
    if (taken == entries.end()) taken = std::find_if(entries.begin(), last, is_taken);
    if (taken == entries.end() || !is_taken(*taken)) return false;
    level.entry = static_cast<std::size_t>(taken - entries.begin());
    level.child = taken->value;
    if (tree_.kind(step.value) != ValueKind::string) return true;
    const std::string_view key = tree_.text(step.value);
    const bool list = tree_.kind(taken->value) == ValueKind::list;
    if ((key == "state" && has(level, level.param_groups, "param_groups")) ||
        (key == "moments" && list && has(level, level.has_t, "t")) || (key == "velocity" && list)) {
      level.role = Role::optimizer;
    } else if (key == "shadow" && list) {
      level.role = Role::ema;
    }
    return true;
  }

  bool has(const Level& level, std::optional<bool>& known, std::string_view key) const {
    if (!known) known = tree_.find(level.container, key) != nullptr;
    return *known;
  }

  const Tree& tree_;
  const ValueId root_;
  std::vector<Level> levels_;
};

}  // namespace

Group group_of(Role role) {
  switch (role) {
    case Role::model: return Group::model;
    case Role::optimizer: return Group::optimizer;
    default: return Group::other;
  }
}

std::optional<Role> role_of_part(std::string_view name) {
  const Words words = split(name);
  const bool is_part = words.size() == 1 || (words.size() == 2 && is_wrapper(words[0]));
  return is_part ? first_role(words) : std::nullopt;
}

std::vector<Role> roles_of(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                           std::span<const std::string> optimizer_patterns) {
  bool has_model = false, has_optimizer = false;
  for (const NamedTensor& t : tensors) {
    const auto role = first_role(split(t.name));
    has_model |= role == Role::model;
    has_optimizer |= role == Role::optimizer;
  }
  StructureRoles structure(checkpoint.tree, checkpoint.root);
  std::vector<Role> roles;
  roles.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    const bool asked_for = std::any_of(optimizer_patterns.begin(), optimizer_patterns.end(),
                                       [&](const std::string& p) { return glob_match(p, t.name); });
    if (asked_for) {
      roles.push_back(Role::optimizer);
      continue;
    }
    // A flat file has one step to each tensor, and as many entries as tensors: nothing lies beside.
    const auto structural = t.path.size() > 1 ? structure.role_of(t.path) : std::nullopt;
    if (t.name == kArchitecture) {
      roles.push_back(Role::other);
      continue;
    }
    const Words words = split(t.name);
    const auto named = first_role(words);
    if (structural) {
      roles.push_back(*structural);
    } else if (has_optimizer_names(words)) {
      roles.push_back(Role::optimizer);
    } else if (named && (*named == Role::model || *named == Role::optimizer || has_model || has_optimizer)) {
      roles.push_back(*named);
    } else {
      roles.push_back(has_model && !named && has_optimizer ? Role::other : Role::model);
    }
  }
  return roles;
}

}  // namespace netcl::ckpt
