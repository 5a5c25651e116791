// The value tree: nodes of 16 bytes that point into arrays of texts, items and entries.
#include "netcl/ckpt/tree.h"

#include <bit>
#include <charconv>
#include <functional>
#include <limits>
#include <stdexcept>

namespace netcl::ckpt {
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
  const Node node{kind, false, counted(text.size()), text_.size()};
  text_.append(text);
  return push(node);
}

ValueId Tree::add_none() { return push({ValueKind::none, false, 0, 0}); }
ValueId Tree::add_boolean(bool value) { return push({ValueKind::boolean, false, 0, value ? 1U : 0U}); }
ValueId Tree::add_integer(std::int64_t value) {
  return push({ValueKind::integer, false, 0, static_cast<std::uint64_t>(value)});
}

ValueId Tree::add_big_integer(std::string_view decimal) {
  std::int64_t small;
  const auto [end, error] = std::from_chars(decimal.data(), decimal.data() + decimal.size(), small);
  if (error == std::errc() && end == decimal.data() + decimal.size()) return add_integer(small);
  return add_text(ValueKind::big_integer, decimal);
}

ValueId Tree::add_real(double value) { return push({ValueKind::real, false, 0, std::bit_cast<std::uint64_t>(value)}); }

ValueId Tree::add_complex(double real, double imaginary) {
  complexes_.emplace_back(real, imaginary);
  return push({ValueKind::complex, false, 0, complexes_.size() - 1});
}

ValueId Tree::add_string(std::string_view text) { return add_text(ValueKind::string, text); }
ValueId Tree::add_bytes(std::string_view bytes) { return add_text(ValueKind::bytes, bytes); }
ValueId Tree::add_name(std::string_view qualified_name) { return add_text(ValueKind::name, qualified_name); }

ValueId Tree::add_tensor(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return push({ValueKind::tensor, false, 0, tensors_.size() - 1});
}

ValueId Tree::add_scalar(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return push({ValueKind::scalar, false, 0, tensors_.size() - 1});
}

Tree::Node Tree::sequence_node(ValueKind kind, std::span<const ValueId> items) {
  const Node node{kind, false, counted(items.size()), items_.size()};
  append(items_, items);
  return node;
}

Tree::Node Tree::dict_node(std::span<const Entry> entries, std::optional<ValueId> attributes) {
  const Node node{ValueKind::dict, attributes.has_value(), counted(entries.size()), entries_.size()};
  append(entries_, entries);
  if (attributes) entries_.push_back({*attributes, *attributes});
  return node;
}

// An opaque's first item is a string node that holds the global's name.
Tree::Node Tree::opaque_node(std::string_view global, std::span<const ValueId> parts) {
  const std::vector<ValueId> copy(parts.begin(), parts.end());
  const ValueId name = add_string(global);
  const Node node{ValueKind::opaque, false, counted(copy.size()), items_.size()};
  items_.push_back(name);
  append(items_, std::span(copy));
  return node;
}

ValueId Tree::add_sequence(ValueKind kind, std::span<const ValueId> items) { return push(sequence_node(kind, items)); }
ValueId Tree::add_dict(std::span<const Entry> entries, std::optional<ValueId> attributes) {
  return push(dict_node(entries, attributes));
}
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
void Tree::define_dict(ValueId id, std::span<const Entry> entries, std::optional<ValueId> attributes) {
  define(id, dict_node(entries, attributes));
}
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

std::optional<ValueId> Tree::attributes(ValueId dict) const {
  const Node n = node(dict);
  return n.is_ordered ? std::optional(entries_[n.data + n.count].value) : std::nullopt;
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

}  // namespace netcl::ckpt
