// Editing a value tree by making a new one beside it: the arena only grows, so ids stay valid and an
// error half-way leaves the old root as it was.
#include "model/rebuild.h"

#include <fmt/format.h>

#include "base/try.h"
#include "model/tree.h"

namespace netcl::ckpt {
namespace {

struct Frame {
  ValueId id;
  ValueKind kind;
  std::size_t next = 0;
  std::size_t name_bytes = 0;
  bool kept_any = false;  // something other than placeholders
  std::vector<Tree::Entry> entries;
  std::vector<ValueId> items;

  void add(ValueId key, ValueId value) {
    kept_any = true;
    if (kind == ValueKind::dict) {
      entries.push_back({key, value});
    } else {
      items.push_back(value);
    }
  }
};

/// The rest of `name` below a container called `parent`, or nothing.
std::optional<std::string_view> below(std::string_view name, std::string_view parent, bool is_root) {
  if (is_root) return name;
  if (name.size() <= parent.size() + 1 || !name.starts_with(parent) || name[parent.size()] != '.') return std::nullopt;
  return name.substr(parent.size() + 1);
}

}  // namespace

Result<ValueId> rebuild(Tree& tree, ValueId root, const RebuildRules& rules, const Limits& limits) {
  const std::vector<bool> holds_tensor = contains_tensor(tree, root);
  const std::size_t old_size = tree.size();
  std::vector<bool> open(old_size);
  std::vector<Frame> stack;
  std::string name;

  auto changed = [&](ValueId id) -> Result<ValueId> {
    if (!rules.change) return id;
    CKPT_TRY(Tensor tensor, rules.change(name, tree.tensor(id)));
    return tree.add_tensor(std::move(tensor));
  };
  if (tree.kind(root) == ValueKind::tensor) {
    if (rules.keep_tensor && !rules.keep_tensor(name)) return tree.add_dict({});
    return changed(root);
  }
  if (num_children(tree, root) == 0) return root;

  stack.push_back({root, tree.kind(root), 0, 0, false, {}, {}});
  open[root] = true;
  for (;;) {
    if (tree.size() - old_size > limits.max_values) {
      return fail(ErrorCode::limit_exceeded, "shared containers make the checkpoint too large to rewrite");
    }
    Frame& top = stack.back();
    if (top.next == num_children(tree, top.id)) {
      Frame done = std::move(top);
      stack.pop_back();
      open[done.id] = false;
      std::optional<ValueId> made;
      if (done.kept_any || stack.empty()) {
        if (done.kind == ValueKind::dict) {
          made = tree.add_dict(done.entries);
        } else if (done.kind == ValueKind::opaque) {
          made = tree.add_opaque(std::string(tree.text(done.id)), done.items);
        } else {
          made = tree.add_sequence(done.kind, done.items);
        }
      }
      if (stack.empty()) return *made;
      Frame& parent = stack.back();
      name.resize(done.name_bytes);
      const std::size_t i = parent.next - 1;
      if (made) {
        parent.add(parent.kind == ValueKind::dict ? tree.entries(parent.id)[i].key : 0, *made);
      } else if (parent.kind != ValueKind::dict) {
        parent.items.push_back(tree.add_none());
      }
      continue;
    }

    const std::size_t i = top.next++;
    const ValueId value = child(tree, top.id, i);
    const bool keyed = top.kind == ValueKind::dict;
    const ValueId key = keyed ? tree.entries(top.id)[i].key : 0;
    name.resize(top.name_bytes);
    if (stack.size() > 1) name += '.';
    name += keyed ? key_text(tree, key) : fmt::format("{}", i);
    if (name.size() > limits.max_name_bytes) return fail(ErrorCode::limit_exceeded, "a tensor's name is too long");

    const bool is_tensor = tree.kind(value) == ValueKind::tensor;
    const bool keep =
        (!rules.keep_value || rules.keep_value(name)) && (!is_tensor || !rules.keep_tensor || rules.keep_tensor(name));
    if (!keep) {
      if (!keyed) top.items.push_back(tree.add_none());
    } else if (is_tensor) {
      CKPT_TRY(const ValueId tensor, changed(value));
      const std::string renamed = rules.rename ? rules.rename(name) : name;
      if (renamed == name) {
        top.add(key, tensor);
        continue;
      }
      // The nearest dict whose own name the new one begins with; the root takes any.
      for (std::size_t f = stack.size(); f-- > 0;) {
        const std::string_view own = std::string_view(name).substr(0, stack[f].name_bytes);
        const auto rest = below(renamed, own, f == 0);
        if (stack[f].kind != ValueKind::dict || !rest) continue;
        stack[f].add(tree.add_string(*rest), tensor);
        break;
      }
      if (!keyed) top.items.push_back(tree.add_none());
    } else if (open[value]) {
      top.add(key, value);  // a cycle: writers that cannot say it will
    } else if (holds_tensor[value] || (rules.keep_value && num_children(tree, value) > 0)) {
      open[value] = true;
      stack.push_back({value, tree.kind(value), 0, name.size(), false, {}, {}});
    } else {
      top.add(key, value);
    }
  }
}

}  // namespace netcl::ckpt
