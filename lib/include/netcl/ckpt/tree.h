#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netcl/ckpt/export.h"
#include "netcl/ckpt/tensor.h"

namespace netcl::ckpt {

enum class ValueKind : std::uint8_t {
  none,
  boolean,
  integer,      ///< fits int64
  big_integer,  ///< any size, as decimal text
  real,
  complex,
  string,  ///< UTF-8; lone surrogates of a pickle as three bytes each (WTF-8)
  bytes,
  list,
  tuple,
  set,
  frozenset,
  dict,
  scalar,  ///< a NumPy scalar: a 0-d tensor in memory that is listed as a value
  tensor,
  name,    ///< a harmless global used as a value: "torch.float32", "builtins.int"
  opaque,  ///< a global, or a call of one, that is never executed; text() is its name
};

/// Index of a value in its Tree.
using ValueId = std::uint32_t;

/// A checkpoint's values: a directed graph of small nodes in one arena. Values may be shared (one
/// dict under two names) and may form cycles, as in a pickle; walks bound themselves by Limits.
/// Reading never fails: a value of another kind, or an id that the tree does not have, has no text, no items and
/// no entries, and is 0. What is given to an add_ or define_ function may lie in the tree itself.
/// Throws, of all that adds, as the standard containers do: std::bad_alloc, and std::length_error for a text over
/// 4 GiB or more than 2^32 values.
/// Lifetime: ids and tensors are valid as long as the tree, spans and texts until something is added to it.
class NETCL_CKPT_EXPORT Tree {
 public:
  struct Entry {
    ValueId key;
    ValueId value;
  };

  ValueId add_none();
  ValueId add_boolean(bool value);
  ValueId add_integer(std::int64_t value);
  /// Decimal text, "-" first if negative. Becomes `integer` if it fits.
  ValueId add_big_integer(std::string_view decimal);
  ValueId add_real(double value);
  ValueId add_complex(double real, double imaginary);
  ValueId add_string(std::string_view text);
  ValueId add_bytes(std::string_view bytes);
  ValueId add_tensor(Tensor tensor);
  ValueId add_scalar(Tensor tensor);
  ValueId add_name(std::string_view qualified_name);
  /// list, tuple, set or frozenset.
  ValueId add_sequence(ValueKind kind, std::span<const ValueId> items);
  /// With `attributes`, a dict, it is an OrderedDict of Python's: what that keeps beside its entries, as a state dict
  /// of torch keeps `_metadata`, mostly nothing.
  ValueId add_dict(std::span<const Entry> entries, std::optional<ValueId> attributes = std::nullopt);
  /// `global`: module.name; `parts`: what it was called with or given as state.
  ValueId add_opaque(std::string_view global, std::span<const ValueId> parts);
  /// A place for a value that refers to itself: reserve, build the children, then define once, as it is or as what
  /// another value is.
  ValueId reserve();
  void define(ValueId id, ValueId as);
  void define_sequence(ValueId id, ValueKind kind, std::span<const ValueId> items);
  void define_dict(ValueId id, std::span<const Entry> entries, std::optional<ValueId> attributes = std::nullopt);
  void define_opaque(ValueId id, std::string_view global, std::span<const ValueId> parts);

  /// A NumPy scalar becomes an array without dimensions; what is none stays as it is.
  void scalar_to_tensor(ValueId id);

  std::size_t size() const { return nodes_.size(); }
  ValueKind kind(ValueId id) const { return node(id).kind; }
  bool boolean(ValueId id) const { return integer(id) != 0; }
  std::int64_t integer(ValueId id) const;  ///< of integer and boolean
  double real(ValueId id) const;           ///< of real and complex
  double imaginary(ValueId id) const;
  /// The text of big_integer, string, bytes, name and opaque.
  std::string_view text(ValueId id) const;
  /// The elements of list, tuple, set, frozenset and opaque.
  std::span<const ValueId> items(ValueId id) const;
  /// The entries of a dict, in the file's order.
  std::span<const Entry> entries(ValueId id) const;
  /// Of tensor and scalar.
  const Tensor& tensor(ValueId id) const;
  /// All tensors and NumPy scalars, to give them other storages.
  std::deque<Tensor>& tensors() { return tensors_; }

  /// The attributes of an OrderedDict; nothing for any other value.
  std::optional<ValueId> attributes(ValueId dict) const;

  /// The value under string key `key` of a dict, or nullptr.
  const Entry* find(ValueId dict, std::string_view key) const;

 private:
  struct Node {  // 16 bytes: a hostile pickle makes one for each of its bytes
    ValueKind kind = ValueKind::none;
    bool is_ordered = false;  // of a dict: behind its entries is one with the attributes
    std::uint32_t count = 0;  // text bytes are stored as (offset, count), children likewise
    std::uint64_t data = 0;
  };
  Node node(ValueId id) const { return id < nodes_.size() ? nodes_[id] : Node{}; }
  void define(ValueId id, Node node);
  ValueId push(Node node);
  ValueId add_text(ValueKind kind, std::string_view text);
  Node sequence_node(ValueKind kind, std::span<const ValueId> items);
  Node dict_node(std::span<const Entry> entries, std::optional<ValueId> attributes);
  Node opaque_node(std::string_view global, std::span<const ValueId> parts);

  std::vector<Node> nodes_;
  std::string text_;
  std::vector<ValueId> items_;
  std::vector<Entry> entries_;
  std::deque<Tensor> tensors_;  // not a vector: of 200,000, growing would hold 67 MB twice
  std::vector<std::pair<double, double>> complexes_;
};

}  // namespace netcl::ckpt
