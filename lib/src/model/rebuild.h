#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// A place on the way through a tree. The places that hold tensors come in the order of list_tensors().
struct Place {
  const std::string& name;  ///< dotted. Those of a chain add up to the square of its length: bound how many are read
  ValueId parent;           ///< the container it lies in
  ValueId value;
  PathStep step;       ///< from the container it lies in
  std::size_t depth;   ///< steps from the root: 1 for what lies in it directly
  bool holds_tensors;  ///< a tensor, or a container on the way to one
};

/// What rebuild() asks at each place of a tree. Names are dotted, as list_tensors() gives them.
struct RebuildRules {
  /// False drops the tensor.
  std::function<bool(const std::string& name)> keep_tensor;
  /// False drops a value with all that is below it; asked before its parts are.
  std::function<Result<bool>(const Place& place)> keep_value;
  /// What held tensors and loses them all goes whole, with the values beside them.
  bool drop_with_tensors = false;
  /// An object of a class that is not known becomes a tuple of what it holds.
  bool open_opaque = false;
  /// The tensor's new name.
  std::function<Result<std::string>(const std::string& name)> rename;
  /// The tensor to put in its place.
  std::function<Result<Tensor>(const std::string& name, const Tensor& tensor)> change;
};

struct Rebuilt {
  ValueId root;
  std::vector<std::string> dropped;  ///< names of what was dropped, but for what is below another
};

/// A changed copy of what `root` reaches, in the same tree. Containers that hold no
/// tensor are kept as they are; those that lose all that they held disappear. A dropped element of a
/// list or tuple becomes None, so that the others keep their places. What contains itself still does.
/// A renamed tensor stays in its dict where the new name begins with the dict's own, else it moves to
/// the nearest dict above whose name does.
/// Errors: limit_exceeded where sharing would make the copy too large, or depth the names; those of `rename` and
/// `change`.
Result<Rebuilt> rebuild(Tree& tree, ValueId root, const RebuildRules& rules, const Limits& limits);

}  // namespace netcl::ckpt
