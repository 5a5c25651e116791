#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/memory.h"
#include "netcl/ckpt/tensor.h"
#include "netcl/ckpt/tree.h"

namespace netcl::ckpt {

/// A state as a program builds it: None, bool, int, float, text, an array in memory, and lists, tuples and
/// dicts of these. Copying one copies no array and no container.
/// Throws std::bad_alloc, as the standard containers do. A moved-from one is None.
/// Lifetime: arrays are borrowed, see Memory.
class Value {
 public:
  using Items = std::vector<Value>;
  using Entries = std::vector<std::pair<std::string, Value>>;

  Value() = default;  ///< None
  Value(bool v) : data_(v) {}
  Value(int v) : data_(std::int64_t{v}) {}
  Value(std::int64_t v) : data_(v) {}
  Value(double v) : data_(v) {}
  Value(const char* v) : data_(std::string(v)) {}
  Value(std::string v) : data_(std::move(v)) {}
  Value(TensorTarget v) : data_(std::move(v)) {}
  Value(Tensor v) : data_(std::move(v)) {}
  static Value list(Items items);
  static Value tuple(Items items);
  static Value dict(Entries entries);

  bool is_dict() const;
  /// The dict with `value` under `key`, where it has nothing under it; what is no dict, as it is.
  Value with_default(std::string key, Value value) const;

  /// Adds the value to `tree`.
  /// Errors: invalid_argument for an array whose memory is not of its size; limit_exceeded where it is
  /// nested deeper than a thousand levels.
  Result<ValueId> add_to(Tree& tree) const;

 private:
  struct Container;
  explicit Value(std::shared_ptr<const Container> v) : data_(std::move(v)) {}
  Result<ValueId> add_to(Tree& tree, int depth) const;

  std::variant<std::monostate, bool, std::int64_t, double, std::string, TensorTarget, Tensor,
               std::shared_ptr<const Container>>
      data_;
};

}  // namespace netcl::ckpt
