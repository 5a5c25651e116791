#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// What rebuild() asks at each place of a tree. Names are dotted, as list_tensors() gives them.
struct RebuildRules {
  /// False drops the tensor.
  std::function<bool(const std::string& name)> keep_tensor;
  /// False drops a value with all that is below it; asked before its parts are.
  std::function<bool(const std::string& name)> keep_value;
  /// The tensor's new name.
  std::function<std::string(const std::string& name)> rename;
  /// The tensor to put in its place.
  std::function<Result<Tensor>(const std::string& name, const Tensor& tensor)> change;
};

/// A changed copy of what `root` reaches, in the same tree; returns its root. Containers that hold no
/// tensor are kept as they are; those that lose all that they held disappear. A dropped element of a
/// list or tuple becomes None, so that the others keep their places. A renamed tensor stays in its
/// dict where the new name begins with the dict's own, else it moves to the nearest dict above whose
/// name does.
/// Errors: limit_exceeded where sharing would make the copy too large; those of `change`.
Result<ValueId> rebuild(Tree& tree, ValueId root, const RebuildRules& rules, const Limits& limits);

}  // namespace netcl::ckpt
