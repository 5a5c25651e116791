// A tree as opcodes, with a stack of its own instead of recursion: depth comes from the input.
#include "format/tree_pickler.h"

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBatch = 1000;  // elements between two marks, as Python's pickler does

/// A container half-way: a dict's children are key, value, key, value …
struct Frame {
  ValueId id;
  ValueKind kind;
  std::vector<ValueId> children;
  std::size_t next = 0;

  /// Lists and dicts exist before their elements, which may refer to them; the others do not.
  bool exists_first() const { return kind == ValueKind::list || kind == ValueKind::dict; }
  std::size_t batch() const { return kind == ValueKind::dict ? 2 * kBatch : kBatch; }
};

std::vector<ValueId> children_of(const Tree& tree, ValueId id) {
  std::vector<ValueId> out;
  if (tree.kind(id) == ValueKind::dict) {
    for (const Tree::Entry& e : tree.entries(id)) {
      out.push_back(e.key);
      out.push_back(e.value);
    }
  } else {
    const auto items = tree.items(id);
    out.assign(items.begin(), items.end());
  }
  return out;
}

bool is_container(ValueKind kind) {
  switch (kind) {
    case ValueKind::list:
    case ValueKind::tuple:
    case ValueKind::set:
    case ValueKind::frozenset:
    case ValueKind::dict: return true;
    default: return false;
  }
}

}  // namespace

Result<void> TreePickler::leaf(const Tree& tree, ValueId id) {
  switch (tree.kind(id)) {
    case ValueKind::none: writer.none(); return {};
    case ValueKind::boolean: writer.boolean(tree.boolean(id)); return {};
    case ValueKind::integer: writer.integer(tree.integer(id)); return {};
    case ValueKind::big_integer: writer.big_integer(tree.text(id)); return {};
    case ValueKind::real: writer.real(tree.real(id)); return {};
    case ValueKind::complex:
      writer.global("__builtin__", "complex");
      writer.mark();
      writer.real(tree.real(id));
      writer.real(tree.imaginary(id));
      writer.tuple();
      writer.reduce();
      return {};
    case ValueKind::string: writer.string(tree.text(id)); return {};
    case ValueKind::bytes: writer.bytes(tree.text(id)); return {};
    case ValueKind::scalar: return scalar(id);
    case ValueKind::tensor: return tensor(id);
    case ValueKind::name: {
      const std::string_view name = tree.text(id);
      const auto dot = name.rfind('.');
      const std::string_view module = name.substr(0, dot == name.npos ? 0 : dot);
      if (module != "builtins" && module != "torch" && module != "numpy") {
        return fail(ErrorCode::unsupported, "{} is a name that only its own program can load", name);
      }
      writer.global(module, name.substr(dot + 1));
      return {};
    }
    default:
      return fail(ErrorCode::unsafe, "it calls {}, which is never executed; strip or exclude that part", tree.text(id));
  }
}

Result<void> TreePickler::write(const Checkpoint& checkpoint) {
  const Tree& tree = checkpoint.tree;
  std::unordered_map<ValueId, std::uint32_t> memo;
  std::vector<bool> open(tree.size());
  std::vector<Frame> stack;

  auto begin = [&](ValueId id) -> Result<void> {
    const ValueKind kind = tree.kind(id);
    if (const auto known = memo.find(id); known != memo.end()) {
      writer.get(known->second);
      return {};
    }
    if (!is_container(kind)) {
      CKPT_CHECK(leaf(tree, id));
      if (kind == ValueKind::tensor || kind == ValueKind::string) memo.emplace(id, writer.put());
      return {};
    }
    if (open[id]) return fail(ErrorCode::unsupported, "a tuple or set holds itself, which is not written");
    open[id] = true;
    Frame frame{id, kind, children_of(tree, id)};
    if (stack.empty() && kind == ValueKind::dict) {
      for (const Tree::Entry& e : tree.entries(checkpoint.attributes)) {
        if (tree.find(id, tree.text(e.key)) != nullptr) continue;
        frame.children.push_back(e.key);
        frame.children.push_back(e.value);
      }
    }
    if (kind == ValueKind::list) writer.empty_list();
    if (kind == ValueKind::dict) writer.empty_dict();
    if (frame.exists_first()) {
      memo.emplace(id, writer.put());
    } else {
      // A set is a call of its type with a tuple of one tuple: protocol 2 has no opcode for sets.
      if (kind != ValueKind::tuple) writer.global("__builtin__", kind == ValueKind::set ? "set" : "frozenset");
      if (kind != ValueKind::tuple) writer.mark();
      writer.mark();
    }
    stack.push_back(std::move(frame));
    return {};
  };

  CKPT_CHECK(begin(checkpoint.root));
  while (!stack.empty()) {
    Frame& top = stack.back();
    const bool ended = top.next == top.children.size();
    if (top.exists_first() && top.next > 0 && (ended || top.next % top.batch() == 0)) {
      if (top.kind == ValueKind::list) writer.appends();
      if (top.kind == ValueKind::dict) writer.set_items();
    }
    if (ended) {
      if (!top.exists_first()) writer.tuple();
      if (top.kind == ValueKind::set || top.kind == ValueKind::frozenset) {
        writer.tuple();
        writer.reduce();
      }
      open[top.id] = false;
      if (!memo.contains(top.id)) memo.emplace(top.id, writer.put());
      stack.pop_back();
      continue;
    }
    if (top.exists_first() && top.next % top.batch() == 0) writer.mark();
    CKPT_CHECK(begin(top.children[top.next++]));
  }
  writer.stop();
  return {};
}

}  // namespace netcl::ckpt
