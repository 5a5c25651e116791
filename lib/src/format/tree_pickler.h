#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "container/pickle_writer.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Writes a checkpoint's values as pickle opcodes; what a tensor and a NumPy scalar are is the format's.
struct TreePickler {
  PickleWriter writer;
  /// Leaves the tensor on the pickle's stack.
  std::function<Result<void>(ValueId id)> tensor;
  std::function<Result<void>(ValueId id)> scalar;

  /// The root, with the attributes as further entries where it is a dict, then STOP. Shared values are
  /// written once; a list or dict may hold itself.
  /// Errors: unsafe for an opaque value; unsupported for a tuple or set that holds itself, and for a
  /// global that only its own program could load.
  Result<void> write(const Checkpoint& checkpoint);

 private:
  Result<void> leaf(const Tree& tree, ValueId id);
};

}  // namespace netcl::ckpt
