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
  bool braced;  // written as a list in braces, which may be one item of a dict

  Container(ValueKind k, Items i, Entries e, bool b = false)
      : kind(k), items(std::move(i)), entries(std::move(e)), braced(b) {}
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  /// What is nested goes one after another, not by recursion: a state may be nested as deep as memory is large.
  ~Container() {
    thread_local Items* pending = nullptr;
    Items own;
    const bool outermost = pending == nullptr;
    if (outermost) pending = &own;
    const auto put_off = [](Value& value) {
      if (!std::holds_alternative<ContainerPtr>(value.data_)) return;
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

Value::Value(std::initializer_list<Value> items) {
  Entries entries;
  for (const Value& item : items) {
    auto entry = item.as_entry();
    if (!entry) break;
    entries.push_back(std::move(*entry));
  }
  const bool is_dict = items.size() > 0 && entries.size() == items.size();
  data_ = is_dict ? std::make_shared<const Container>(ValueKind::dict, Items(), std::move(entries))
                  : std::make_shared<const Container>(ValueKind::list, Items(items), Entries(), true);
}

const Value::Container* Value::container() const {
  const auto* container = std::get_if<ContainerPtr>(&data_);
  return container == nullptr ? nullptr : container->get();
}

std::optional<std::vector<std::uint64_t>> Value::as_shape() const {
  const Container* list = container();
  if (list == nullptr || !list->braced) return std::nullopt;
  std::vector<std::uint64_t> shape;
  for (const Value& item : list->items) {
    const auto* size = std::get_if<Integer>(&item.data_);
    if (size == nullptr) return std::nullopt;
    const auto* with_sign = std::get_if<std::int64_t>(size);
    if (with_sign != nullptr && *with_sign < 0) return std::nullopt;
    shape.push_back(with_sign != nullptr ? static_cast<std::uint64_t>(*with_sign) : std::get<std::uint64_t>(*size));
  }
  return shape;
}

std::optional<std::pair<std::string, Value>> Value::as_entry() const {
  const Container* list = container();
  if (list == nullptr || !list->braced || list->items.size() < 2 || list->items.size() > 3) return std::nullopt;
  const auto* key = std::get_if<std::string>(&list->items[0].data_);
  if (key == nullptr) return std::nullopt;
  if (list->items.size() == 2) return std::pair(*key, list->items[1]);
  const auto* array = std::get_if<Tensor>(&list->items[1].data_);
  auto shape = list->items[2].as_shape();
  if (array == nullptr || !array->storage || !shape) return std::nullopt;
  return std::pair(*key, Value(array_over(array->storage, array->dtype.type, std::move(*shape))));
}

Tensor Value::copied(ScalarType type, std::span<const std::byte> elements) {
  const std::uint64_t bytes = elements.size();
  auto storage =
      file_storage(memory_source(std::vector<std::byte>(elements.begin(), elements.end()), "a vector"), 0, bytes);
  return array_over(std::move(storage), type, {bytes / make_dtype(type).item_bytes});
}

bool Value::is_dict() const { return container() != nullptr && container()->kind == ValueKind::dict; }

Value Value::with_default(std::string key, Value value) const {
  if (!is_dict()) return *this;
  Entries entries = container()->entries;
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
  if (const auto* v = std::get_if<Integer>(&data_)) {
    const auto* with_sign = std::get_if<std::int64_t>(v);
    return with_sign != nullptr ? tree.add_integer(*with_sign)
                                : tree.add_big_integer(fmt::format("{}", std::get<std::uint64_t>(*v)));
  }
  if (const auto* v = std::get_if<double>(&data_)) return tree.add_real(*v);
  if (const auto* v = std::get_if<std::string>(&data_)) return tree.add_string(*v);
  if (const auto* v = std::get_if<Tensor>(&data_)) {
    if (!v->why_unreadable.empty()) return fail(ErrorCode::invalid_argument, "{}", v->why_unreadable);
    return tree.add_tensor(*v);
  }
  if (const auto* v = std::get_if<TensorTarget>(&data_)) {
    CKPT_TRY(Tensor tensor, view_of(*v));
    return tree.add_tensor(std::move(tensor));
  }
  const Container* own = container();
  if (own == nullptr) return tree.add_none();
  std::vector<ValueId> items;
  for (const Value& item : own->items) {
    CKPT_TRY(const ValueId id, item.add_to(tree, depth + 1));
    items.push_back(id);
  }
  std::vector<Tree::Entry> entries;
  for (const auto& [name, value] : own->entries) {
    const ValueId key = tree.add_string(name);
    CKPT_TRY(const ValueId id, value.add_to(tree, depth + 1));
    entries.push_back({key, id});
  }
  return own->kind == ValueKind::dict ? tree.add_dict(entries) : tree.add_sequence(own->kind, items);
}

}  // namespace netcl::ckpt
