// A program's state as it is handed over, and as the tree that a writer takes.
#include "netcl/ckpt/value.h"

#include <algorithm>

#include "base/try.h"

namespace netcl::ckpt {

/// What a list, tuple or dict holds, shared by the copies of its Value.
struct Value::Container {
  ValueKind kind;
  Items items;
  Entries entries;

  Container(ValueKind k, Items i, Entries e) : kind(k), items(std::move(i)), entries(std::move(e)) {}
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  /// What is nested goes one after another, not by recursion: a state may be nested as deep as memory is large.
  ~Container() {
    thread_local Items* pending = nullptr;
    Items own;
    const bool outermost = pending == nullptr;
    if (outermost) pending = &own;
    const auto put_off = [](Value& value) {
      if (!std::holds_alternative<std::shared_ptr<const Container>>(value.data_)) return;
      try {
        pending->push_back(std::move(value));
      } catch (const std::bad_alloc&) {
        // Then it is destroyed here and now.
      }
    };
    for (Value& item : items) put_off(item);
    for (auto& entry : entries) put_off(entry.second);
    if (!outermost) return;
    while (!own.empty()) {
      const Value next = std::move(own.back());
      own.pop_back();
    }
    pending = nullptr;
  }
};

Value Value::list(Items items) {
  return Value(std::make_shared<const Container>(ValueKind::list, std::move(items), Entries()));
}

Value Value::tuple(Items items) {
  return Value(std::make_shared<const Container>(ValueKind::tuple, std::move(items), Entries()));
}

Value Value::dict(Entries entries) {
  return Value(std::make_shared<const Container>(ValueKind::dict, Items(), std::move(entries)));
}

bool Value::is_dict() const {
  const auto* container = std::get_if<std::shared_ptr<const Container>>(&data_);
  return container != nullptr && *container && (*container)->kind == ValueKind::dict;
}

Value Value::with_default(std::string key, Value value) const {
  if (!is_dict()) return *this;
  Entries entries = std::get<std::shared_ptr<const Container>>(data_)->entries;
  const auto is_key = [&](const auto& entry) { return entry.first == key; };
  if (std::any_of(entries.begin(), entries.end(), is_key)) return *this;
  entries.emplace_back(std::move(key), std::move(value));
  return dict(std::move(entries));
}

Result<ValueId> Value::add_to(Tree& tree) const {
  return guarded([&] { return add_to(tree, 0); });
}

Result<ValueId> Value::add_to(Tree& tree, int depth) const {
  constexpr int kMaxDepth = 1000;
  if (depth > kMaxDepth) return fail(ErrorCode::limit_exceeded, "the state is nested deeper than {} levels", kMaxDepth);
  if (const auto* v = std::get_if<bool>(&data_)) return tree.add_boolean(*v);
  if (const auto* v = std::get_if<std::int64_t>(&data_)) return tree.add_integer(*v);
  if (const auto* v = std::get_if<double>(&data_)) return tree.add_real(*v);
  if (const auto* v = std::get_if<std::string>(&data_)) return tree.add_string(*v);
  if (const auto* v = std::get_if<Tensor>(&data_)) return tree.add_tensor(*v);
  if (const auto* v = std::get_if<TensorTarget>(&data_)) {
    CKPT_TRY(Tensor tensor, view_of(*v));
    return tree.add_tensor(std::move(tensor));
  }
  const auto* container = std::get_if<std::shared_ptr<const Container>>(&data_);
  if (container == nullptr || !*container) return tree.add_none();
  std::vector<ValueId> items;
  for (const Value& item : (*container)->items) {
    CKPT_TRY(const ValueId id, item.add_to(tree, depth + 1));
    items.push_back(id);
  }
  std::vector<Tree::Entry> entries;
  for (const auto& [name, value] : (*container)->entries) {
    const ValueId key = tree.add_string(name);
    CKPT_TRY(const ValueId id, value.add_to(tree, depth + 1));
    entries.push_back({key, id});
  }
  return (*container)->kind == ValueKind::dict ? tree.add_dict(entries) : tree.add_sequence((*container)->kind, items);
}

}  // namespace netcl::ckpt
