// strip-optimizer: decide for each tensor and value what it is for, and write the rest.
#include "netcl/ckpt/strip.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/try.h"
#include "model/rebuild.h"
#include "model/tree_walk.h"
#include "report/roles.h"
#include "write/left_out.h"

namespace netcl::ckpt {
namespace {

const char* keep_word(Role role) {
  switch (role) {
    case Role::optimizer: return "optimizer";
    case Role::scheduler: return "scheduler";
    case Role::scaler: return "scaler";
    case Role::rng: return "rng";
    case Role::ema: return "ema";
    case Role::trainer: return "trainer";
    default: return nullptr;
  }
}

bool is_dropped(Role role, const StripOptions& options) {
  const char* word = keep_word(role);
  return word != nullptr && std::find(options.keep.begin(), options.keep.end(), word) == options.keep.end();
}

/// The dicts in which a checkpoint's parts lie: its root, and wrappers near it.
std::unordered_set<ValueId> dicts_of_parts(const Checkpoint& in) {
  constexpr int kMostLevels = 3;
  std::unordered_set<ValueId> out;
  std::vector<ValueId> level{in.root}, next;
  for (int i = 0; i < kMostLevels && !level.empty(); ++i, level = std::exchange(next, {})) {
    for (const ValueId dict : level) {
      if (!out.insert(dict).second) continue;
      for (const Tree::Entry& e : in.tree.entries(dict)) {
        if (in.tree.kind(e.value) == ValueKind::dict && holds_parts(in.tree, key_text(in.tree, e.key), e.value))
          next.push_back(e.value);
      }
    }
  }
  return out;
}

/// For each name that was dropped, of a tensor or of what holds some, the rule.
std::vector<std::string> reasons(const std::vector<std::string>& dropped, std::span<const NamedTensor> tensors,
                                 std::span<const TensorRole> roles) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors[a].name < tensors[b].name; });
  std::vector<std::string> out;
  for (const std::string& name : dropped) {
    const auto found = [&](const std::string& from) {
      const auto it = std::lower_bound(order.begin(), order.end(), from,
                                       [&](std::size_t i, const std::string& n) { return tensors[i].name < n; });
      return it != order.end() && tensors[*it].name.starts_with(from) ? &roles[*it] : nullptr;
    };
    const TensorRole* role = found(name);
    if (role == nullptr) role = found(name + ".");
    out.emplace_back(role != nullptr ? role->why : "it is called so, and holds no tensors");
  }
  return out;
}

// ---- the EMA's weights ------------------------------------------------------------------------------

using Steps = std::vector<std::string_view>;

Steps split(std::string_view name) {
  Steps steps;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find_first_of("./", start), name.size());
    steps.push_back(name.substr(start, end - start));
    start = end + 1;
  }
  return steps;
}

std::string without_dots(std::string_view text) {
  std::string out(text);
  std::erase_if(out, [](char c) { return c == '.' || c == '/'; });
  return out;
}

/// Steps that a wrapper adds and the model's own names lack.
bool is_wrapper(std::string_view step) {
  constexpr std::array<std::string_view, 7> kWrappers = {"module",  "model",    "ema_model", "shadow",
                                                         "network", "averaged", "_orig_mod"};
  return std::find(kWrappers.begin(), kWrappers.end(), step) != kWrappers.end();
}

/// What an EMA keeps beside its weights, and the copy of the model that some keep within it.
bool is_bookkeeping(std::string_view name, const Tensor& tensor) {
  return tensor.num_elements() <= 1 || name.find("online_model") != name.npos;
}

/// Finds model tensors by the end of their names, without the dots, which Stable Diffusion's EMA drops.
class ModelNames {
 public:
  void add(const NamedTensor& tensor) {
    const std::string_view name = tensor.name;
    constexpr int kMostSteps = 8;  // names of wrappers in front
    std::size_t start = 0;
    for (int i = 0; i < kMostSteps; ++i) {
      const auto [it, fresh] = by_end_.try_emplace(without_dots(name.substr(start)), &tensor);
      if (!fresh && it->second != &tensor) it->second = nullptr;
      start = name.find_first_of("./", start);
      if (start++ == name.npos) break;
    }
    whole_.emplace(name, &tensor);
  }
  const NamedTensor* find(const std::string& name) const {
    if (const auto it = whole_.find(name); it != whole_.end()) return it->second;
    const auto it = by_end_.find(without_dots(name));
    return it == by_end_.end() ? nullptr : it->second;
  }

 private:
  std::unordered_map<std::string, const NamedTensor*> by_end_;  // null where two end so
  std::unordered_map<std::string, const NamedTensor*> whole_;
};

/// The names that the model's tensor may have, the most telling first: the copy's own with "ema" taken out of it, then
/// what follows the step that says "ema", with ever fewer steps of wrappers.
std::vector<std::string> model_names_of(std::string_view name) {
  std::vector<std::string> names{std::string(name)};
  const Steps steps = split(name);
  std::size_t at = 0;
  while (at < steps.size() && steps[at].find("ema") == steps[at].npos && steps[at] != "shadow") ++at;
  if (at == steps.size()) at = 0;
  const std::size_t step_begin = static_cast<std::size_t>(steps[at].data() - name.data());
  const std::string_view before = name.substr(0, step_begin), after = name.substr(step_begin + steps[at].size());
  for (std::string_view mark : {"_ema", "ema_"}) {
    std::string step(steps[at]);
    if (const auto found = step.find(mark); found != step.npos)
      names.push_back(std::string(before) + step.erase(found, mark.size()) + std::string(after));
  }
  const Steps rest(steps.begin() + static_cast<std::ptrdiff_t>(at) + 1, steps.end());
  const auto join = [](std::span<const std::string_view> some) {
    std::string out;
    for (std::string_view s : some) out += s;
    return out;
  };
  Steps kept;
  std::copy_if(rest.begin(), rest.end(), std::back_inserter(kept), [](std::string_view s) { return !is_wrapper(s); });
  names.push_back(join(rest));
  names.push_back(join(kept));
  constexpr std::size_t kMostDropped = 4;
  for (std::size_t i = 1; i < std::min(kept.size(), kMostDropped); ++i)
    names.push_back(join(std::span(kept).subspan(i)));
  std::erase(names, "");
  return names;
}

/// The EMA's tensor for each model tensor that has one.
Result<std::unordered_map<std::string, Tensor>> match_ema(const Tree& tree, std::span<const NamedTensor> tensors,
                                                          std::span<const TensorRole> roles) {
  std::vector<std::size_t> model, ema;
  ModelNames names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (roles[i].role == Role::model) {
      model.push_back(i);
      names.add(tensors[i]);
    }
    if (roles[i].role == Role::ema) ema.push_back(i);
  }
  std::unordered_map<std::string, Tensor> out;
  if (ema.empty()) return fail(ErrorCode::invalid_argument, "no EMA weights were found, so there is nothing to put in");
  const auto fits = [&](std::size_t e, const NamedTensor& m) {
    return tree.tensor(tensors[e].value).shape == tree.tensor(m.value).shape;
  };
  std::size_t unmatched = 0;
  for (const std::size_t e : ema) {
    const NamedTensor* found = roles[e].variable ? &tensors[*roles[e].variable] : nullptr;
    const Tensor& tensor = tree.tensor(tensors[e].value);
    const bool book = is_bookkeeping(tensors[e].name, tensor);
    if (found == nullptr && tensors[e].name.find("online_model") == std::string::npos) {
      for (const std::string& name : model_names_of(tensors[e].name)) {
        const NamedTensor* m = names.find(name);
        if (m == nullptr || !fits(e, *m)) continue;
        found = m;
        break;
      }
    }
    if (found != nullptr) {
      out.emplace(found->name, tensor);
    } else {
      unmatched += !book;
    }
  }
  if (!out.empty() && unmatched == 0) return out;
  // netcl's EMA is a list in parameter order.
  out.clear();
  bool in_order = ema.size() == model.size() && !ema.empty();
  for (std::size_t i = 0; in_order && i < ema.size(); ++i) in_order = fits(ema[i], tensors[model[i]]);
  if (!in_order) {
    return fail(ErrorCode::invalid_argument, "{} EMA weights do not fit the model's {} tensors, by name or in order",
                ema.size(), model.size());
  }
  for (std::size_t i = 0; i < ema.size(); ++i) out.emplace(tensors[model[i]].name, tree.tensor(tensors[ema[i]].value));
  return out;
}

}  // namespace

Result<StripReport> strip_optimizer(Checkpoint in, const std::filesystem::path& out, const StripOptions& options) {
  return guarded([&]() -> Result<StripReport> {
    CKPT_TRY(const auto tensors, list_tensors(in, options.write.limits));
    const auto roles = explain_roles(in, tensors, options.optimizer_patterns);
    StripReport report;
    std::unordered_set<std::string_view> kept;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const bool drop = is_dropped(roles[i].role, options);
      report.found |= roles[i].role == Role::optimizer || roles[i].role == Role::ema;
      if (drop) report.dropped_bytes += in.tree.tensor(tensors[i].value).size_bytes();
      if (!drop) kept.insert(tensors[i].name);
    }
    if (tensors.empty()) return fail(ErrorCode::invalid_argument, "there is no tensor in it, so no model to write");
    if (kept.empty()) {
      return with_way_out(
          fail(ErrorCode::invalid_argument,
               "nothing would be left: all of its {} tensors are optimizer state or the like", tensors.size()),
          "`keep` names parts that stay");
    }
    std::unordered_map<std::string, Tensor> ema;
    if (options.ema) {
      CKPT_TRY(ema, match_ema(in.tree, tensors, roles));
    }
    const auto parts = dicts_of_parts(in);
    const auto is_dropped_part = [&](std::string_view key, ValueId value) {
      const auto role = role_of_value(in.tree, key, value);
      if (!role || !is_dropped(*role, options)) return false;
      report.found |= *role == Role::optimizer;
      return true;
    };
    RebuildRules rules;
    rules.keep_tensor = [&](const std::string& name) { return kept.contains(name); };
    // With the numbers beside them (Adam's step).
    rules.drop_with_tensors = true;
    rules.keep_value = [&](const Place& place) {
      constexpr std::size_t kMostLevels = 4;  // parts lie no deeper
      return place.holds_tensors || place.depth > kMostLevels || place.step.kind != PathStep::Kind::key ||
             !parts.contains(place.parent) || !is_dropped_part(key_text(in.tree, place.step.value), place.value);
    };
    if (!ema.empty()) {
      rules.change = [&](const std::string& name, const Tensor& tensor) -> Result<Tensor> {
        const auto it = ema.find(name);
        return it == ema.end() ? tensor : it->second;
      };
    }
    const ValueId old_root = in.root;
    CKPT_TRY(Rebuilt rebuilt, rebuild(in.tree, in.root, rules, options.write.limits));
    in.root = rebuilt.root;
    report.dropped = std::move(rebuilt.dropped);

    std::vector<Tree::Entry> attributes;
    for (const Tree::Entry& e : in.tree.entries(in.attributes)) {
      const std::string name = key_text(in.tree, e.key);
      if (!is_dropped_part(name, e.value)) {
        attributes.push_back(e);
      } else {
        report.dropped.push_back(name);
      }
    }
    report.why = reasons(report.dropped, tensors, roles);
    in.attributes = in.tree.add_dict(attributes);
    remove_dropped_problems(in, old_root);
    CKPT_TRY(report.written, convert(std::move(in), out, options.write));
    return report;
  });
}

}  // namespace netcl::ckpt
