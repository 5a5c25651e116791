// What may be written of a checkpoint that names globals which nobody executes.
#include "ops/unsafe.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "base/try.h"
#include "model/tree.h"

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

void forgive_dropped(Checkpoint& checkpoint, ValueId old_root) {
  const auto before = opaque_names(checkpoint.tree, {old_root});
  const auto after = opaque_names(checkpoint.tree, {checkpoint.root, checkpoint.attributes});
  std::erase_if(checkpoint.problems, [&](const Problem& p) {
    return p.severity == Severity::unsafe && before.contains(p.global) && !after.contains(p.global);
  });
}

std::vector<LeftOut> left_behind(const Checkpoint& checkpoint) {
  constexpr std::array<std::string_view, 5> kCodes = {"raw-member", "not-npy", "trailing-bytes", "trailing-payload",
                                                      "zip-prefix"};
  std::vector<LeftOut> out;
  for (const Problem& p : checkpoint.problems) {
    if (std::find(kCodes.begin(), kCodes.end(), p.code) != kCodes.end()) out.push_back({p.where, p.message});
  }
  return out;
}

Result<void> refuse_unsafe(const Checkpoint& checkpoint) {
  for (const Problem& p : checkpoint.problems) {
    if (p.severity == Severity::unsafe) {
      return fail_at(ErrorCode::unsafe, p.where, p.offset_bytes, "refused: it needs {}, which is never executed",
                     p.global);
    }
  }
  return {};
}

}  // namespace netcl::ckpt
