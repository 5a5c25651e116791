// What may be written of a checkpoint that names globals which nobody executes.
#include "write/left_out.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "base/text.h"
#include "base/try.h"
#include "model/rebuild.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

/// Names of the opaque values that `root` reaches, as values or as keys.
std::set<std::string, std::less<>> opaque_names(const Tree& tree, std::initializer_list<ValueId> roots) {
  std::set<std::string, std::less<>> names;
  std::vector<bool> seen(tree.size());
  std::vector<ValueId> queue(roots);
  auto visit = [&](ValueId id) {
    if (!seen[id]) queue.push_back(id);
  };
  while (!queue.empty()) {
    const ValueId id = queue.back();
    queue.pop_back();
    if (seen[id]) continue;
    seen[id] = true;
    if (tree.kind(id) == ValueKind::opaque) names.emplace(tree.text(id));
    for (std::size_t i = 0, n = num_children(tree, id); i < n; ++i) visit(child(tree, id, i));
    for (const Tree::Entry& e : tree.entries(id)) visit(e.key);
  }
  return names;
}

}  // namespace

void remove_dropped_problems(Checkpoint& checkpoint, ValueId old_root) {
  const auto before = opaque_names(checkpoint.tree, {old_root});
  const auto after = opaque_names(checkpoint.tree, {checkpoint.root, checkpoint.attributes});
  std::erase_if(checkpoint.problems, [&](const Problem& p) {
    return p.severity == Severity::unsafe && before.contains(p.global) && !after.contains(p.global);
  });
}

std::vector<LeftOut> left_behind(const Checkpoint& checkpoint) {
  constexpr std::array kCodes = {ProblemCode::raw_member,     ProblemCode::foreign_member,   ProblemCode::not_npy,
                                 ProblemCode::trailing_bytes, ProblemCode::trailing_payload, ProblemCode::zip_prefix};
  std::vector<LeftOut> out;
  for (const Problem& p : checkpoint.problems) {
    if (std::find(kCodes.begin(), kCodes.end(), p.code) != kCodes.end()) out.push_back({p.where, p.message});
  }
  return out;
}

Result<std::vector<LeftOut>> leave_out_opaque(Checkpoint& checkpoint, const Limits& limits) {
  std::vector<LeftOut> out;
  Tree& tree = checkpoint.tree;
  if (opaque_names(tree, {checkpoint.root, checkpoint.attributes}).empty()) return out;
  for (ValueId* root : {&checkpoint.root, &checkpoint.attributes}) {
    const std::vector<bool> holds_tensor = contains_tensor(tree, *root);
    if (tree.kind(*root) == ValueKind::opaque) {
      out.push_back({"", std::string(tree.text(*root))});
      if (!holds_tensor[*root]) {
        *root = tree.add_none();
        continue;
      }
    }
    RebuildRules rules;
    rules.open_opaque = true;
    rules.keep_value = [&](const Place& place) {
      const bool keyed = place.step.kind == PathStep::Kind::key;
      if (keyed && tree.kind(place.step.value) == ValueKind::opaque) {
        out.push_back({place.name, std::string(tree.text(place.step.value))});
        return false;
      }
      if (tree.kind(place.value) != ValueKind::opaque) return true;
      out.push_back({place.name, std::string(tree.text(place.value))});
      return static_cast<bool>(holds_tensor[place.value]);
    };
    CKPT_TRY(const Rebuilt rebuilt, rebuild(tree, *root, rules, limits));
    *root = rebuilt.root;
  }
  return out;
}

}  // namespace netcl::ckpt
