// The value tree and the walk that names its tensors.
#include "netcl/ckpt/checkpoint.h"

#include <fmt/format.h>
#include <algorithm>
#include <bit>
#include <charconv>
#include <functional>
#include <limits>
#include <stdexcept>

#include "base/text.h"
#include "base/try.h"
#include "model/tree.h"

namespace netcl::ckpt {

const char* to_string(Format format) {
  switch (format) {
    case Format::npz: return "npz";
    case Format::npy: return "npy";
    case Format::netcl: return "netcl";
    case Format::pickle: return "pickle";
    case Format::torch: return "torch";
    case Format::npy_folder: return "npy-folder";
    case Format::torch_legacy: return "torch-legacy";
    case Format::safetensors: return "safetensors";
    case Format::flax: return "flax";
  }
  return "npz";
}

namespace {

std::uint32_t counted(std::size_t size) {
  if (size > std::numeric_limits<std::uint32_t>::max()) throw std::length_error("Tree");
  return static_cast<std::uint32_t>(size);
}

/// Puts `added`, which may be a part of `to`, at its end.
template <class Element>
void append(std::vector<Element>& to, std::span<const Element> added) {
  const std::less<const Element*> before;
  if (!added.empty() && !before(added.data(), to.data()) && before(added.data(), to.data() + to.size())) {
    const std::vector<Element> copy(added.begin(), added.end());
    to.insert(to.end(), copy.begin(), copy.end());
  } else {
    to.insert(to.end(), added.begin(), added.end());
  }
}

}  // namespace

ValueId Tree::push(Node node) {
  const ValueId id = counted(nodes_.size());
  nodes_.push_back(node);
  return id;
}

void Tree::define(ValueId id, Node node) {
  if (id < nodes_.size()) nodes_[id] = node;
}

ValueId Tree::add_text(ValueKind kind, std::string_view text) {
  const Node node{kind, counted(text.size()), text_.size()};
  text_.append(text);
  return push(node);
}

ValueId Tree::add_none() { return push({ValueKind::none, 0, 0}); }
ValueId Tree::add_boolean(bool value) { return push({ValueKind::boolean, 0, value ? 1U : 0U}); }
ValueId Tree::add_integer(std::int64_t value) {
  return push({ValueKind::integer, 0, static_cast<std::uint64_t>(value)});
}

ValueId Tree::add_big_integer(std::string_view decimal) {
  std::int64_t small;
  const auto [end, error] = std::from_chars(decimal.data(), decimal.data() + decimal.size(), small);
  if (error == std::errc() && end == decimal.data() + decimal.size()) return add_integer(small);
  return add_text(ValueKind::big_integer, decimal);
}

ValueId Tree::add_real(double value) { return push({ValueKind::real, 0, std::bit_cast<std::uint64_t>(value)}); }

ValueId Tree::add_complex(double real, double imaginary) {
  complexes_.emplace_back(real, imaginary);
  return push({ValueKind::complex, 0, complexes_.size() - 1});
}

ValueId Tree::add_string(std::string_view text) { return add_text(ValueKind::string, text); }
ValueId Tree::add_bytes(std::string_view bytes) { return add_text(ValueKind::bytes, bytes); }
ValueId Tree::add_name(std::string_view qualified_name) { return add_text(ValueKind::name, qualified_name); }

ValueId Tree::add_tensor(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return push({ValueKind::tensor, 0, tensors_.size() - 1});
}

ValueId Tree::add_scalar(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return push({ValueKind::scalar, 0, tensors_.size() - 1});
}

Tree::Node Tree::sequence_node(ValueKind kind, std::span<const ValueId> items) {
  const Node node{kind, counted(items.size()), items_.size()};
  append(items_, items);
  return node;
}

Tree::Node Tree::dict_node(std::span<const Entry> entries) {
  const Node node{ValueKind::dict, counted(entries.size()), entries_.size()};
  append(entries_, entries);
  return node;
}

// An opaque's first item is a string node that holds the global's name.
Tree::Node Tree::opaque_node(std::string_view global, std::span<const ValueId> parts) {
  const std::vector<ValueId> copy(parts.begin(), parts.end());
  const ValueId name = add_string(global);
  const Node node{ValueKind::opaque, counted(copy.size()), items_.size()};
  items_.push_back(name);
  append(items_, std::span(copy));
  return node;
}

ValueId Tree::add_sequence(ValueKind kind, std::span<const ValueId> items) { return push(sequence_node(kind, items)); }
ValueId Tree::add_dict(std::span<const Entry> entries) { return push(dict_node(entries)); }
ValueId Tree::add_opaque(std::string_view global, std::span<const ValueId> parts) {
  return push(opaque_node(global, parts));
}

ValueId Tree::reserve() { return add_none(); }
void Tree::scalar_to_tensor(ValueId id) {
  if (kind(id) == ValueKind::scalar) nodes_[id].kind = ValueKind::tensor;
}
void Tree::define(ValueId id, ValueId as) {
  const Node node = nodes_[as];
  nodes_[id] = node;
}
void Tree::define_sequence(ValueId id, ValueKind kind, std::span<const ValueId> items) {
  define(id, sequence_node(kind, items));
}
void Tree::define_dict(ValueId id, std::span<const Entry> entries) { define(id, dict_node(entries)); }
void Tree::define_opaque(ValueId id, std::string_view global, std::span<const ValueId> parts) {
  define(id, opaque_node(global, parts));
}

std::int64_t Tree::integer(ValueId id) const {
  const Node n = node(id);
  const bool whole = n.kind == ValueKind::integer || n.kind == ValueKind::boolean;
  return whole ? static_cast<std::int64_t>(n.data) : 0;
}

double Tree::real(ValueId id) const {
  const Node n = node(id);
  if (n.kind == ValueKind::complex) return complexes_[n.data].first;
  return n.kind == ValueKind::real ? std::bit_cast<double>(n.data) : 0.0;
}

double Tree::imaginary(ValueId id) const {
  const Node n = node(id);
  return n.kind == ValueKind::complex ? complexes_[n.data].second : 0.0;
}

std::string_view Tree::text(ValueId id) const {
  const Node n = node(id);
  switch (n.kind) {
    case ValueKind::opaque: return text(items_[n.data]);
    case ValueKind::big_integer:
    case ValueKind::string:
    case ValueKind::bytes:
    case ValueKind::name: return std::string_view(text_).substr(n.data, n.count);
    default: return {};
  }
}

std::span<const ValueId> Tree::items(ValueId id) const {
  const Node n = node(id);
  switch (n.kind) {
    case ValueKind::list:
    case ValueKind::tuple:
    case ValueKind::set:
    case ValueKind::frozenset: return std::span(items_).subspan(n.data, n.count);
    case ValueKind::opaque: return std::span(items_).subspan(n.data + 1, n.count);
    default: return {};
  }
}

std::span<const Tree::Entry> Tree::entries(ValueId id) const {
  const Node n = node(id);
  if (n.kind != ValueKind::dict) return {};
  return std::span(entries_).subspan(n.data, n.count);
}

const Tensor& Tree::tensor(ValueId id) const {
  static const Tensor none;
  const Node n = node(id);
  return n.kind == ValueKind::tensor || n.kind == ValueKind::scalar ? tensors_[n.data] : none;
}

const Tree::Entry* Tree::find(ValueId dict, std::string_view key) const {
  for (const Entry& e : entries(dict)) {
    if (kind(e.key) == ValueKind::string && text(e.key) == key) return &e;
  }
  return nullptr;
}

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

Result<std::vector<NamedTensor>> list_tensors(const Checkpoint& checkpoint, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<NamedTensor>> {
    CKPT_CHECK(check_roots(checkpoint));
    const Tree& tree = checkpoint.tree;
    std::vector<NamedTensor> out;
    const std::vector<bool> wanted = contains_tensor(tree, checkpoint.root);
    if (!wanted[checkpoint.root]) return out;

    struct Frame {
      ValueId id;
      std::size_t next;
      std::size_t name_bytes;  // of the path down to here
      bool named;              // it has steps
    };
    std::vector<Frame> stack{{checkpoint.root, 0, 0, false}};
    std::vector<bool> open(tree.size());  // on the stack now: a second visit is a cycle
    std::string name;
    std::vector<PathStep> path;
    const std::uint64_t max_names = max_names_of(tree, limits);
    std::uint64_t budget_bytes = limits.max_name_bytes;
    std::uint64_t steps = 0;  // elements passed over, tensors or not
    std::uint64_t key_bytes = 0;
    auto emit = [&](ValueId id) -> Result<void> {
      const std::uint64_t cost = name.size() + path.size() * sizeof(PathStep);
      if (out.size() >= max_names || cost > budget_bytes) {
        return fail(ErrorCode::limit_exceeded,
                    "the names of the tensors are too many or too long: {} are listed, and more follow", out.size());
      }
      const Tensor& t = tree.tensor(id);
      if (t.storage && t.shape.size() != t.strides.size()) {
        return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "a tensor of {} dimensions has {} strides",
                       t.shape.size(), t.strides.size());
      }
      if (t.dtype.type == ScalarType::structured && !t.dtype.fields)
        return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "its structured dtype has no fields");
      budget_bytes -= cost;
      out.push_back({name, path, id});
      return {};
    };
    if (tree.kind(checkpoint.root) == ValueKind::tensor) {
      CKPT_CHECK(emit(checkpoint.root));
      return out;
    }
    open[checkpoint.root] = true;
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.next == num_children(tree, top.id)) {
        open[top.id] = false;
        stack.pop_back();
        if (!path.empty()) path.pop_back();
        continue;
      }
      if (++steps > 16 * std::max<std::uint64_t>(limits.max_values, tree.size()))
        return fail(ErrorCode::limit_exceeded, "shared containers make the checkpoint too large to list");
      const std::size_t i = top.next++;
      const ValueId c = child(tree, top.id, i);
      if (!wanted[c] || open[c]) continue;
      const bool keyed = tree.kind(top.id) == ValueKind::dict;
      name.resize(top.name_bytes);
      // An object that is not known here has the names of its only part: its attributes, or its arguments.
      const bool step = tree.kind(top.id) != ValueKind::opaque || num_children(tree, top.id) > 1;
      if (step) {
        if (top.named) name += '.';
        name += keyed ? key_text(tree, tree.entries(top.id)[i].key) : fmt::format("{}", i);
      }
      key_bytes += name.size() - top.name_bytes;
      if (key_bytes > 16 * limits.max_name_bytes)
        return fail(ErrorCode::limit_exceeded,
                    "shared containers or keys make the checkpoint's names too long to list");
      path.push_back(keyed ? PathStep{PathStep::Kind::key, tree.entries(top.id)[i].key}
                           : PathStep{PathStep::Kind::index, static_cast<std::uint32_t>(i)});
      if (tree.kind(c) == ValueKind::tensor) {
        CKPT_CHECK(emit(c));
        path.pop_back();
      } else {
        open[c] = true;
        const bool named = top.named || step;
        stack.push_back({c, 0, name.size(), named});
      }
    }
    return out;
  });
}

}  // namespace netcl::ckpt
