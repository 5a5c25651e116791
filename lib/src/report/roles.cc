// Which part of a training checkpoint a tensor belongs to.
//
// There is no rule that all programs follow, so several kinds of evidence are weighed, the surest first:
//   1. structure: torch's `state` beside `param_groups`, netcl's `moments` beside `t`, lists under `velocity` or
//      `shadow`, the words of NumPy's generators behind their names;
//   2. words that only optimizers use: `exp_avg`, `momentum_buffer`, and `adam/m/…` of Keras;
//   3. neighbours: V joined with a slot word, beside a V of the same shape (slot_words.h);
//   4. steps that say it themselves, at any depth: Chainer's `optimizer:main` and `model:main`;
//   5. the names of the checkpoint's parts: `optimizer…`, `opt_state`, `scheduler`, `scaler`, `rng`, `ema`.
// Words such as `scaler` or `ema` are also fine names for a layer. They count only where the file is plainly a training
// checkpoint, that is where a `model` or an `optimizer` lies beside them; a plain model, whatever its layers are
// called, is all model. A word that only contains an optimizer's (`g_optim`, `opt`) counts where moments lie below it.
//
// Rejected: to decide by the first word of a name alone. It took `opt/target` of Flax, which is the model, for the
// optimizer's, and found neither Detectron's momentum nor Chainer's snapshots.
#include "report/roles.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>

#include "base/glob.h"
#include "format/architecture.h"
#include "model/cast.h"
#include "model/tree_walk.h"
#include "report/slot_words.h"

namespace netcl::ckpt {
namespace {

using Words = std::vector<std::string_view>;

/// Parts of a checkpoint lie near its root; what is further down is the parts' own.
constexpr std::size_t kMostSteps = 8;

template <std::size_t N>
bool is_any_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_number(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return '0' <= c && c <= '9'; });
}

/// "optimizer/m/dense" and "optimizer.m.dense" alike. `words` lends its memory: there may be 200,000 names.
void split(std::string_view name, Words& words) {
  words.clear();
  std::size_t start = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '.' && name[i] != '/') continue;
    if (i > start) words.push_back(name.substr(start, i - start));
    start = i + 1;
  }
}

constexpr std::array<std::string_view, 4> kWrapperWords = {"checkpoint", "ckpt", "train", "training"};
constexpr std::array<std::string_view, 10> kAlgorithms = {"adam",     "adamw", "sgd",  "rmsprop", "adagrad",
                                                          "adadelta", "nadam", "lion", "lamb",    "adamax"};
constexpr std::array<std::string_view, 12> kSlots = {"m",  "v",  "vhat",     "mu",       "nu",          "exp_avg",
                                                     "ms", "mg", "momentum", "velocity", "accumulator", "momentums"};
/// No layer is called so.
constexpr std::array<std::string_view, 11> kOptimizerLeaves = {
    "exp_avg",        "exp_avg_sq", "max_exp_avg_sq", "exp_avg_max",  "exp_inf",       "momentum_buffer",
    "momentum_cache", "square_avg", "acc_delta",      "param_states", "OPTIMIZER_SLOT"};
/// Moments and counters: they make an optimizer of what is called like one. The second list's words are short, so they
/// count only near it.
constexpr std::array<std::string_view, 9> kMoments = {"moments",  "momentums",      "accumulator",
                                                      "grad_ema", "grad_sq_ema",    "grad_avg",
                                                      "sum",      "master_weights", "param_groups"};
constexpr std::array<std::string_view, 14> kMomentsNearby = {
    "m", "v", "vhat", "mu", "nu", "ms", "mg", "state", "step", "count", "momentum", "velocity", "trace", "t"};
/// The last step of what is a layer's parameter.
constexpr std::array<std::string_view, 6> kLayerLeaves = {"weight", "bias", "kernel", "W", "b", "embedding"};

bool is_moment(std::string_view word) {
  return is_any_of(word, kOptimizerLeaves) || is_any_of(word, kMoments) ||
         std::any_of(kSlotWords.begin(), kSlotWords.end(),
                     [&](const SlotWord& s) { return s.alone && word.ends_with(s.ending); });
}

/// The pieces of one word, lower case, without what says nothing: "optimizer_G", "optimizerG" and
/// "optimizer_state_dict" all have "optimizer".
std::vector<std::string> pieces_of(std::string_view word) {
  std::vector<std::string> pieces(1);
  char last = '_';
  for (const char c : word) {
    const bool upper = 'A' <= c && c <= 'Z';
    const bool letter = upper || ('a' <= c && c <= 'z');
    if (!letter || (upper && 'a' <= last && last <= 'z')) pieces.emplace_back();
    if (letter) pieces.back() += upper ? static_cast<char>(c - 'A' + 'a') : c;
    last = c;
  }
  constexpr std::array<std::string_view, 6> kSaysNothing = {"", "state", "states", "dict", "dicts", "variables"};
  std::erase_if(pieces, [&](const std::string& p) { return is_any_of(p, kSaysNothing); });
  return pieces;
}

/// What one word says about a part.
struct WordRole {
  Role role;
  bool if_moments = false;  // only where there are moments below
  bool if_partner = false;  // only where the word without its "ema" lies beside
};

std::optional<WordRole> role_of_word(std::string_view word) {
  if (word.size() > 100) return std::nullopt;
  constexpr std::array<std::string_view, 9> kModel = {"model",  "models",  "module",    "net",          "network",
                                                      "params", "weights", "generator", "discriminator"};
  constexpr std::array<std::string_view, 4> kOptimizer = {"optimizer", "optimizers", "optim", "optims"};
  constexpr std::array<std::string_view, 5> kScheduler = {"scheduler", "schedulers", "sched", "warmup", "lrscheduler"};
  constexpr std::array<std::string_view, 4> kRandom = {"rng", "rngs", "random", "prng"};
  const std::vector<std::string> pieces = pieces_of(word);
  const auto has = [&](const auto& words) {
    return std::any_of(pieces.begin(), pieces.end(), [&](const std::string& p) { return is_any_of(p, words); });
  };
  const auto only = [&](const auto& words) {
    return std::all_of(pieces.begin(), pieces.end(), [&](const std::string& p) { return is_any_of(p, words); });
  };
  if (pieces.empty()) {
    return word.starts_with("state_dict") ? std::optional(WordRole{Role::model}) : std::nullopt;
  }
  if (word == "callbacks" || word == "loops") return WordRole{Role::trainer};
  constexpr std::array<std::string_view, 2> kEma = {"ema", "shadow"};
  if (has(kEma) || word == "averaged_model" || word == "swa_model") {
    constexpr std::array<std::string_view, 9> kCopy = {"ema",     "shadow",  "model",    "module", "net",
                                                       "network", "weights", "averaged", "swa"};
    return WordRole{Role::ema, false, !only(kCopy)};
  }
  // A diffusion's noise schedule is part of its model.
  if (has(kScheduler)) return pieces[0] == "noise" ? std::nullopt : std::optional(WordRole{Role::scheduler});
  if (has(std::array<std::string_view, 1>{"scaler"}) || word == "amp") return WordRole{Role::scaler};
  if (pieces[0] == "random" || has(std::array<std::string_view, 3>{"rng", "rngs", "prng"})) return WordRole{Role::rng};
  if (has(kRandom) && word.find("state") != word.npos) return WordRole{Role::rng};
  if (has(kOptimizer)) {
    constexpr std::array<std::string_view, 5> kPlain = {"optimizer", "optimizers", "optim", "optims", "weights"};
    return WordRole{Role::optimizer, !only(kPlain)};
  }
  if (pieces[0] == "opt" && (word.starts_with("opt_state") || word == "opt_weights")) return WordRole{Role::optimizer};
  if (has(std::array<std::string_view, 2>{"opt", "opts"})) return WordRole{Role::optimizer, true};
  if (only(kModel)) return WordRole{Role::model};
  return std::nullopt;
}

/// "g" for "g_ema", "params" for "params_ema", "state_dict" for "state_dict_ema" and "ema_state_dict".
std::string without_ema(std::string_view word) {
  for (std::string_view part : {"_ema", "ema_"}) {
    const auto at = word.find(part);
    if (at != word.npos) return std::string(word.substr(0, at)) + std::string(word.substr(at + part.size()));
  }
  return "";
}

bool is_wrapper(std::string_view word) {
  for (std::string_view suffix : {"_state_dict", "_state"}) {
    if (word.size() > suffix.size() && word.ends_with(suffix)) word.remove_suffix(suffix.size());
  }
  return is_any_of(word, kWrapperWords);
}

/// The first steps of all names, as a tree.
class NameTree {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  NameTree() { nodes_.emplace_back(); }

  void add(const Words& words) {
    const std::size_t depth = std::min(words.size(), kMostSteps);
    std::array<std::size_t, kMostSteps + 1> on_path{};
    for (std::size_t i = 0; i < depth; ++i) {
      const auto [it, fresh] = children_.try_emplace({on_path[i], words[i]}, nodes_.size());
      if (fresh) nodes_.emplace_back();
      on_path[i + 1] = it->second;
    }
    for (std::size_t i = 1; i < words.size(); ++i) {
      const bool far = is_moment(words[i]);
      if (!far && (i > kMostSteps + 3 || !is_any_of(words[i], kMomentsNearby))) continue;
      for (std::size_t n = std::min(i, depth) + 1; n-- > 1 && (far || n + 2 >= i);) nodes_[on_path[n]].moments = true;
    }
  }

  std::size_t child(std::size_t node, std::string_view word) const {
    const auto it = children_.find({node, word});
    return it == children_.end() ? kNone : it->second;
  }
  bool has_moments(std::size_t node) const { return nodes_[node].moments; }

  /// What the step `word` below `node` is, memoized.
  std::optional<WordRole> role(std::size_t node, std::string_view word) {
    const std::size_t c = child(node, word);
    if (c == kNone) return std::nullopt;
    if (nodes_[c].known) return nodes_[c].role;
    nodes_[c].known = true;
    auto role = word_role(c, word);
    if (word == "slots") {  // trax: beside the weights
      const auto beside = [&](std::string_view other) { return child(node, other) != kNone; };
      if (beside("weights") || beside("flat_weights")) role = WordRole{Role::optimizer};
    }
    if (role && role->if_moments && !nodes_[c].moments) role = std::nullopt;
    if (role && role->if_partner) {
      const std::string partner = without_ema(word);
      if (partner.empty() || child(node, partner) == kNone) role = std::nullopt;
    }
    return nodes_[c].role = role;
  }

  /// What `word`, the step to `node`, says alone, memoized.
  std::optional<WordRole> word_role(std::size_t node, std::string_view word) {
    auto& memo = nodes_[node].of_word;
    if (!memo) memo = role_of_word(word);
    return *memo;
  }

  /// Whether the parts of a checkpoint lie below this node, one step further down.
  bool holds_parts(std::size_t node, std::string_view word) const {
    if (is_wrapper(word)) return true;
    return std::any_of(kPartWords.begin(), kPartWords.end(),
                       [&](std::string_view part) { return child(node, part) != kNone; });
  }

  static constexpr std::array<std::string_view, 6> kPartWords = {
      "optimizer", "optimizers", "optim", "optimizer_state_dict", "optimizer_states", "opt_state"};

 private:
  struct Node {
    bool moments = false;
    bool known = false;
    std::optional<WordRole> role;
    std::optional<std::optional<WordRole>> of_word;
  };
  struct KeyHash {
    std::size_t operator()(const std::pair<std::size_t, std::string_view>& key) const {
      return std::hash<std::string_view>()(key.second) + key.first * 0x9e3779b97f4a7c15;
    }
  };
  std::vector<Node> nodes_;
  std::unordered_map<std::pair<std::size_t, std::string_view>, std::size_t, KeyHash> children_;
};

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
    std::size_t entry = 0;                                      // of a dict: the one taken
    std::optional<Role> role;                                   // that this or an upper level gives
    std::optional<bool> param_groups, has_t, decay, generator;  // whether there is such a key
  };

  /// Takes the step; false where the container has no such child.
  bool enter(Level& level, const PathStep& step) {
    level.step = step;
    level.role = std::nullopt;
    if (step.kind == PathStep::Kind::index) {
      if (step.value >= num_children(tree_, level.container)) return false;
      level.child = child(tree_, level.container, step.value);
      if (step.value == 1 && names_bit_generator(child(tree_, level.container, 0))) level.role = Role::rng;
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
    if ((key == "state" || key == "key" || key == "buffer") && has(level, level.generator, "bit_generator")) {
      level.role = Role::rng;
    } else if ((key == "state" && has(level, level.param_groups, "param_groups")) ||
               (key == "moments" && list && has(level, level.has_t, "t")) || (key == "velocity" && list)) {
      level.role = Role::optimizer;
    } else if ((key == "shadow" && list) || (key == "shadow_params" && list && has(level, level.decay, "decay"))) {
      level.role = Role::ema;
    }
    return true;
  }

  bool has(const Level& level, std::optional<bool>& known, std::string_view key) const {
    if (!known) known = tree_.find(level.container, key) != nullptr;
    return *known;
  }

  /// RandomState.get_state() is ("MT19937", its 624 words, …); a Generator's state is a dict with `bit_generator`.
  bool names_bit_generator(ValueId id) const {
    constexpr std::array<std::string_view, 5> kBitGenerators = {"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"};
    return tree_.kind(id) == ValueKind::string && is_any_of(tree_.text(id), kBitGenerators);
  }

  const Tree& tree_;
  const ValueId root_;
  std::vector<Level> levels_;
};

/// Finds each tensor that is called as a slot of another one.
class SlotRoles {
 public:
  SlotRoles(const Tree& tree, std::span<const NamedTensor> tensors) {
    std::vector<Candidate> candidates;
    std::unordered_map<std::string, std::optional<std::size_t>> variables;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      std::string_view name = tensors[i].name;
      const bool numbered = name.ends_with(":0");
      if (numbered) name.remove_suffix(2);
      for (const SlotWord& slot : kSlotWords) {
        if (name.size() <= slot.ending.size() || !name.ends_with(slot.ending)) continue;
        std::string variable(name.substr(0, name.size() - slot.ending.size()));
        if (numbered) variable += ":0";
        variables.try_emplace(variable);
        candidates.push_back({i, &slot, std::move(variable)});
      }
    }
    if (candidates.empty()) return;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto it = variables.find(tensors[i].name);
      if (it != variables.end() && !it->second) it->second = i;
    }
    for (const Candidate& c : candidates) {
      const auto variable = variables.find(c.variable)->second;
      const bool fits = variable && (c.slot->any_shape || tree.tensor(tensors[*variable].value).shape ==
                                                              tree.tensor(tensors[c.tensor].value).shape);
      if (!fits && !c.slot->alone) continue;
      TensorRole role{c.slot->average ? Role::ema : Role::optimizer,
                      c.slot->average ? "it is a moving average of the tensor beside it"
                                      : "it is an optimizer's slot of the tensor beside it",
                      variable};
      if (!fits) role = {Role::optimizer, "its name ends in an optimizer's slot word", std::nullopt};
      found_.emplace(c.tensor, role);
      tensorflow_ |= fits && c.slot->ending[0] == '/';
    }
  }

  const TensorRole* find(std::size_t tensor) const {
    const auto it = found_.find(tensor);
    return it == found_.end() ? nullptr : &it->second;
  }
  /// Whether TensorFlow's slots are in the file, beside which its Adam keeps two numbers at the top.
  bool tensorflow() const { return tensorflow_; }

 private:
  struct Candidate {
    std::size_t tensor;
    const SlotWord* slot;
    std::string variable;
  };
  std::unordered_map<std::size_t, TensorRole> found_;
  bool tensorflow_ = false;
};

constexpr std::string_view kBecauseNothing = "nothing says otherwise";
constexpr std::string_view kBecausePartner = "it lies in a moving average of what lies beside it";
constexpr std::string_view kBecauseStep = "it lies in a part that is called so";

/// Walks the steps of one name from the root, past wrappers, to the part it lies in.
std::optional<TensorRole> role_by_steps(NameTree& names, const Words& words) {
  std::size_t node = 0;
  for (std::size_t i = 0; i < std::min(words.size(), kMostSteps); ++i) {
    const auto found = names.role(node, words[i]);
    const std::size_t below = names.child(node, words[i]);
    if (found && found->role == Role::optimizer && i + 1 < words.size() && words[i + 1] == "target") {
      return TensorRole{Role::model, "the target of a Flax optimizer is the model", std::nullopt};
    }
    if (found && found->role == Role::model && i + 1 < words.size()) {
      // Stable Diffusion's LitEma, and `ema_model` beside `model`, in the state dict itself.
      const std::size_t ema = names.child(below, words[i + 1]);
      const auto inner = ema == NameTree::kNone ? role_of_word(words[i + 1]) : names.word_role(ema, words[i + 1]);
      if (inner && inner->role == Role::ema) {
        const std::string partner = without_ema(words[i + 1]);
        const bool counted = ema != NameTree::kNone && names.child(ema, "decay") != NameTree::kNone &&
                             names.child(ema, "num_updates") != NameTree::kNone;
        if (counted || (partner == "model" && names.child(below, partner) != NameTree::kNone))
          return TensorRole{Role::ema, "it lies in a moving average of the model", std::nullopt};
      }
    }
    if (found) return TensorRole{found->role, found->if_partner ? kBecausePartner : kBecauseStep, std::nullopt};
    if (below == NameTree::kNone || !names.holds_parts(below, words[i])) return std::nullopt;
    node = below;
  }
  return std::nullopt;
}

/// Chainer: the first such step decides.
std::optional<TensorRole> role_by_prefix(const Words& words) {
  for (std::string_view word : words) {
    if (word.starts_with("optimizer:")) return TensorRole{Role::optimizer, "a step of its name is optimizer:NAME", {}};
    if (word.starts_with("model:")) return TensorRole{Role::model, "a step of its name is model:NAME", {}};
  }
  return std::nullopt;
}

bool holds_numbers_of_a_scaler(const Tree& tree, ValueId value) {
  const auto entries = tree.entries(value);
  return entries.empty() || std::any_of(entries.begin(), entries.end(), [&](const Tree::Entry& e) {
           if (tree.kind(e.key) != ValueKind::string) return false;
           const std::string_view key = tree.text(e.key);
           return key == "scale" || key == "_scale" || key == "growth_factor" || key.starts_with("loss_scale") ||
                  key == "cur_scale";
         });
}

/// A dict of an optimizer's numbers, and not of the words that one is made from.
bool is_optimizer_state(const Tree& tree, ValueId value) {
  bool named = false;
  for (const Tree::Entry& e : tree.entries(value)) {
    if (tree.kind(e.key) != ValueKind::string) continue;
    const std::string_view key = tree.text(e.key);
    if (is_moment(key) || is_any_of(key, kMomentsNearby)) return true;
    const bool names = key == "type" || key == "name" || key == "_target_" || key == "class_name";
    named |= names && (tree.kind(e.value) == ValueKind::string || tree.kind(e.value) == ValueKind::name);
  }
  return !named;
}

}  // namespace

Group group_of(Role role) {
  switch (role) {
    case Role::model: return Group::model;
    case Role::optimizer: return Group::optimizer;
    default: return Group::other;
  }
}

std::optional<Role> role_of_value(const Tree& tree, std::string_view key, ValueId value) {
  const auto found = role_of_word(key);
  if (!found) return std::nullopt;
  const ValueKind kind = tree.kind(value);
  const bool list = kind == ValueKind::list || kind == ValueKind::tuple;
  const bool empty = kind == ValueKind::none || ((list || kind == ValueKind::dict) && num_children(tree, value) == 0);
  switch (found->role) {
    case Role::optimizer:
      if (found->if_moments) return std::nullopt;
      if (empty || list || kind == ValueKind::opaque || (kind == ValueKind::dict && is_optimizer_state(tree, value)))
        return Role::optimizer;
      return std::nullopt;
    case Role::scaler:
      if (empty || (kind == ValueKind::dict && holds_numbers_of_a_scaler(tree, value))) return Role::scaler;
      return std::nullopt;
    case Role::ema:
      if (found->if_partner) return std::nullopt;
      [[fallthrough]];
    case Role::scheduler:
    case Role::trainer:
      if (empty || list || kind == ValueKind::dict || kind == ValueKind::opaque) return found->role;
      return std::nullopt;
    case Role::rng:
      if (kind == ValueKind::integer || kind == ValueKind::string || kind == ValueKind::boolean) return std::nullopt;
      return found->role;
    default: return std::nullopt;
  }
}

bool holds_parts(const Tree& tree, std::string_view key, ValueId value) {
  if (tree.kind(value) != ValueKind::dict || role_of_word(key)) return false;
  if (is_wrapper(key)) return true;
  return std::any_of(NameTree::kPartWords.begin(), NameTree::kPartWords.end(),
                     [&](std::string_view part) { return tree.find(value, part) != nullptr; });
}

std::vector<TensorRole> explain_roles(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                                      std::span<const std::string> optimizer_patterns) {
  const Tree& tree = checkpoint.tree;
  NameTree names;
  Words words;
  for (const NamedTensor& t : tensors) {
    split(t.name, words);
    names.add(words);
  }
  bool has_model = false, has_optimizer = false;
  std::vector<std::optional<TensorRole>> by_name;
  std::vector<bool> prefixed;
  by_name.reserve(tensors.size());
  prefixed.reserve(tensors.size());
  for (const NamedTensor& t : tensors) {
    split(t.name, words);
    auto role = role_by_prefix(words);
    prefixed.push_back(role.has_value());
    if (!role) role = role_by_steps(names, words);
    by_name.push_back(role);
    has_model |= role && (role->role == Role::model || role->why.data() == kBecausePartner.data());
    has_optimizer |= role && role->role == Role::optimizer;
  }
  const SlotRoles slots(tree, tensors);
  StructureRoles structure(tree, checkpoint.root);
  std::vector<TensorRole> roles;
  roles.reserve(tensors.size());
  bool has_weights = false;  // of a model, which an EMA may be a copy of
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const NamedTensor& t = tensors[i];
    const Tensor& tensor = tree.tensor(t.value);
    const auto decide = [&]() -> TensorRole {
      if (matches_any(optimizer_patterns, t.name))
        return {Role::optimizer, "a pattern for optimizer state matches it", {}};
      // A flat file has one step to each tensor, and as many entries as tensors: nothing lies beside.
      const auto structural = t.path.size() > 1 ? structure.role_of(t.path) : std::nullopt;
      if (t.name == kArchitecture) return {Role::other, "it is the model's architecture", {}};
      if (structural) return {*structural, "the keys beside it are those of such a state", {}};
      split(t.name, words);
      if (has_optimizer_names(words)) return {Role::optimizer, "a step of its name is an optimizer's own word", {}};
      if (const TensorRole* slot = slots.find(i)) return *slot;
      const auto& named = by_name[i];
      if (prefixed[i]) return *named;
      if (slots.tensorflow() && tensor.shape.empty() && words.size() == 1 &&
          (words[0].starts_with("beta1_power") || words[0].starts_with("beta2_power"))) {
        return {Role::optimizer, "it is a number of TensorFlow's Adam", {}};
      }
      const bool layer = !words.empty() && is_any_of(words.back(), kLayerLeaves);
      if (named && (named->role == Role::model || named->role == Role::optimizer)) return *named;
      if (named && (has_model || has_optimizer) && (named->role == Role::ema || !layer)) return *named;
      if (has_model && has_optimizer && !named && (tensor.num_elements() <= 1 || !is_castable(tensor.dtype.type)))
        return {Role::other, "it lies beside the model and the optimizer, in neither", {}};
      return {Role::model, kBecauseNothing, {}};
    };
    roles.push_back(decide());
    has_weights |= roles.back().role == Role::model &&
                   (tensor.num_elements() > 1 || roles.back().why.data() != kBecauseNothing.data());
  }
  if (!has_weights) {
    for (TensorRole& r : roles) {
      if (r.role == Role::ema) r = {Role::model, "it is a moving average, and the only model here", {}};
    }
  }
  return roles;
}

std::vector<Role> roles_of(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                           std::span<const std::string> optimizer_patterns) {
  std::vector<Role> roles;
  for (const TensorRole& r : explain_roles(checkpoint, tensors, optimizer_patterns)) roles.push_back(r.role);
  return roles;
}

}  // namespace netcl::ckpt
