// strip-optimizer: decide for each tensor and value what it is for, and write the rest.
#include "netcl/ckpt/strip.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/try.h"
#include "model/rebuild.h"
#include "model/tree.h"
#include "ops/groups.h"
#include "ops/unsafe.h"

namespace netcl::ckpt {
namespace {

const char* keep_word(Role role) {
  switch (role) {
    case Role::optimizer: return "optimizer";
    case Role::scheduler: return "scheduler";
    case Role::scaler: return "scaler";
    case Role::rng: return "rng";
    case Role::ema: return "ema";
    default: return nullptr;
  }
}

bool is_dropped(Role role, const StripOptions& options) {
  const char* word = keep_word(role);
  return word != nullptr && std::find(options.keep.begin(), options.keep.end(), word) == options.keep.end();
}

/// What follows the first step of a path that names the part: "w" of "model.w" and of "ema.shadow.w".
std::string_view without_part(std::string_view name) {
  const auto dot = name.find('.');
  return dot == name.npos ? name : name.substr(dot + 1);
}

/// The EMA's tensor for each model tensor that has one.
Result<std::unordered_map<std::string, Tensor>> match_ema(const Tree& tree, std::span<const NamedTensor> tensors,
                                                          std::span<const Role> roles) {
  std::vector<const NamedTensor*> model, ema;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (roles[i] == Role::model) model.push_back(&tensors[i]);
    if (roles[i] == Role::ema) ema.push_back(&tensors[i]);
  }
  std::unordered_map<std::string, Tensor> out;
  auto fits = [&](const NamedTensor& a, const NamedTensor& b) {
    return tree.tensor(a.value).shape == tree.tensor(b.value).shape;
  };
  for (const NamedTensor* e : ema) {
    for (const NamedTensor* m : model) {
      const std::string_view rest = without_part(m->name);
      const bool same =
          e->name == m->name || e->name.ends_with("." + std::string(rest)) || e->name.ends_with("." + m->name);
      if (same && fits(*e, *m)) out.emplace(m->name, tree.tensor(e->value));
    }
  }
  if (out.size() == ema.size() && !ema.empty()) return out;
  // netcl's EMA is a list in parameter order.
  out.clear();
  bool in_order = ema.size() == model.size() && !ema.empty();
  for (std::size_t i = 0; in_order && i < ema.size(); ++i) in_order = fits(*ema[i], *model[i]);
  if (!in_order) {
    return fail(ErrorCode::invalid_argument, "{} EMA weights do not fit the model's {} tensors, by name or in order",
                ema.size(), model.size());
  }
  for (std::size_t i = 0; i < ema.size(); ++i) out.emplace(model[i]->name, tree.tensor(ema[i]->value));
  return out;
}

}  // namespace

Result<StripReport> strip_optimizer(Checkpoint in, const std::filesystem::path& out, const StripOptions& options) {
  return guarded([&]() -> Result<StripReport> {
    CKPT_TRY(const auto tensors, list_tensors(in, options.write.limits));
    const auto roles = roles_of(in, tensors, options.optimizer_patterns);
    StripReport report;

    std::unordered_map<std::string, Tensor> ema;
    if (options.ema) {
      CKPT_TRY(ema, match_ema(in.tree, tensors, roles));
    }
    std::unordered_set<std::string_view> kept;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const bool drop = is_dropped(roles[i], options);
      report.found |= roles[i] == Role::optimizer || roles[i] == Role::ema;
      if (drop) report.dropped_bytes += in.tree.tensor(tensors[i].value).size_bytes();
      if (!drop) kept.insert(tensors[i].name);
    }
    RebuildRules rules;
    rules.keep_tensor = [&](const std::string& name) { return kept.contains(name); };
    // With the numbers beside them (Adam's step).
    rules.drop_with_tensors = true;
    const auto keep_part = [&](const std::string& name) {
      const auto role = role_of_part(name);
      const bool keep = !role || !is_dropped(*role, options);
      report.found |= !keep && role == Role::optimizer;
      return keep;
    };
    rules.keep_value = [&](const Place& place) {
      constexpr std::size_t kMostWords = 2;  // of a part's name
      return place.holds_tensors || place.depth > kMostWords || keep_part(place.name);
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
      if (keep_part(name)) {
        attributes.push_back(e);
      } else {
        report.dropped.push_back(name);
      }
    }
    in.attributes = in.tree.add_dict(attributes);
    forgive_dropped(in, old_root);
    CKPT_TRY(report.written, convert(std::move(in), out, options.write));
    return report;
  });
}

}  // namespace netcl::ckpt
