// What walks over a tree have in common.
#include "model/tree_walk.h"

#include <fmt/format.h>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {

std::size_t num_children(const Tree& tree, ValueId id) {
  return tree.kind(id) == ValueKind::dict ? tree.entries(id).size() : tree.items(id).size();
}

ValueId child(const Tree& tree, ValueId id, std::size_t i) {
  return tree.kind(id) == ValueKind::dict ? tree.entries(id)[i].value : tree.items(id)[i];
}

Result<void> check_roots(const Checkpoint& checkpoint) {
  const std::size_t size = checkpoint.tree.size();
  if (checkpoint.root < size && checkpoint.attributes < size) return {};
  return fail(ErrorCode::invalid_argument, "the checkpoint is empty: it was never filled, or moved from");
}

std::vector<bool> contains_tensor(const Tree& tree, ValueId root) {
  // Reverse reachability: collect edges from the root once, then flood from the tensors.
  std::vector<bool> seen(tree.size()), contains(tree.size());
  std::vector<std::pair<ValueId, ValueId>> edges;  // (child, parent)
  std::vector<ValueId> queue{root};
  std::vector<ValueId> tensors;
  seen[root] = true;
  while (!queue.empty()) {
    const ValueId id = queue.back();
    queue.pop_back();
    if (tree.kind(id) == ValueKind::tensor) tensors.push_back(id);
    for (std::size_t i = 0, n = num_children(tree, id); i < n; ++i) {
      const ValueId c = child(tree, id, i);
      edges.emplace_back(c, id);
      if (!seen[c]) {
        seen[c] = true;
        queue.push_back(c);
      }
    }
  }
  std::sort(edges.begin(), edges.end());
  for (ValueId t : tensors) contains[t] = true;
  queue = std::move(tensors);
  while (!queue.empty()) {
    const ValueId id = queue.back();
    queue.pop_back();
    for (auto it = std::lower_bound(edges.begin(), edges.end(), std::pair{id, ValueId{0}});
         it != edges.end() && it->first == id; ++it) {
      if (!contains[it->second]) {
        contains[it->second] = true;
        queue.push_back(it->second);
      }
    }
  }
  return contains;
}

std::string key_text(const Tree& tree, ValueId key) {
  switch (tree.kind(key)) {
    case ValueKind::string: return to_valid_utf8(tree.text(key));
    case ValueKind::big_integer:
    case ValueKind::name: return std::string(tree.text(key));
    case ValueKind::integer: return fmt::format("{}", tree.integer(key));
    case ValueKind::boolean: return tree.boolean(key) ? "True" : "False";
    case ValueKind::real: return fmt::format("{}", tree.real(key));
    case ValueKind::none: return "None";
    case ValueKind::bytes: return to_valid_utf8(tree.text(key));
    default: return fmt::format("<key {}>", key);
  }
}

}  // namespace netcl::ckpt
