#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/memory.h"
#include "netcl/ckpt/tensor.h"
#include "netcl/ckpt/tree.h"

namespace netcl::ckpt {

/// A state as a program builds it: None, bool, int, float, text, arrays, and lists, tuples and dicts of these.
///
///   Value state = {{"model", {{"fc.weight", weights, {2, 3}}}}, {"step", step}};
///
/// In braces, a list of which every item is {text, value} is a dict; {text, vector, {sizes}} is such an item too, the
/// vector's elements as an array of that shape. Any other is a list; but of one Value alone compilers make a copy, for
/// which Value::list({x}) is the list.
/// Copying a Value copies no array and no container.
/// Throws std::bad_alloc, as the standard containers do. A moved-from one is None.
/// Lifetime: vectors are copied; what is a TensorTarget or a Tensor is borrowed, see Memory.
class NETCL_CKPT_EXPORT Value {
 public:
  using Items = std::vector<Value>;
  using Entries = std::vector<std::pair<std::string, Value>>;

  Value() = default;  ///< None
  template <std::same_as<bool> T>
  Value(T v) : data_(v) {}
  template <std::integral T>
  requires Element<T> &&(!std::same_as<T, bool>)Value(T v) : data_(integer(v)) {}
  Value(float v) : data_(double{v}) {}
  Value(double v) : data_(v) {}
  Value(const char* v) : data_(std::string(v)) {}
  Value(std::string_view v) : data_(std::string(v)) {}
  Value(std::string v) : data_(std::move(v)) {}
  Value(TensorTarget v) : data_(std::move(v)) {}
  Value(Tensor v) : data_(std::move(v)) {}
  /// An array of one dimension.
  template <Element T>
  requires(!std::same_as<T, bool>) Value(const std::vector<T>& v)
      : Value(copied(kScalarType<T>, std::as_bytes(std::span(v)))) {}
  Value(std::initializer_list<Value> items);
  static Value list(Items items);
  static Value tuple(Items items);
  static Value dict(Entries entries);

  bool is_dict() const;
  /// The dict with `value` under `key`, if it has nothing under it; what is no dict, as it is.
  Value with_default(std::string key, Value value) const;

  /// Adds the value to `tree`.
  /// Errors: invalid_argument for an array whose memory is not of its size; limit_exceeded if it is
  /// nested deeper than a thousand levels.
  Result<ValueId> add_to(Tree& tree) const;

 private:
  struct Container;
  using ContainerPtr = std::shared_ptr<const Container>;
  using Integer = std::variant<std::int64_t, std::uint64_t>;
  explicit Value(ContainerPtr v) : data_(std::move(v)) {}

  template <class T>
  static Integer integer(T v) {
    if constexpr (std::signed_integral<T>) {
      return std::int64_t{v};
    } else {
      return std::uint64_t{v};
    }
  }
  static Tensor copied(ScalarType type, std::span<const std::byte> elements);
  const Container* container() const;
  /// The sizes that a list in braces gives; nothing if it is something else.
  std::optional<std::vector<std::uint64_t>> as_shape() const;
  /// The key and the value of an item in braces that is {text, value} or {text, vector, {sizes}}.
  std::optional<std::pair<std::string, Value>> as_entry() const;
  Result<ValueId> add_to(Tree& tree, int depth) const;

  std::variant<std::monostate, bool, Integer, double, std::string, TensorTarget, Tensor, ContainerPtr> data_;
};

}  // namespace netcl::ckpt
