#pragma once

#include <functional>
#include <string>

#include "container/pickle_reader.h"
#include "format/pickle_globals.h"
#include "format/readers.h"

namespace netcl::ckpt {

/// What a torch pickle's persistent id stands for.
struct TorchStorage {
  StoragePtr storage;
  DType dtype;
  std::uint64_t num_elements = 0;
};

/// Finds the storage that a persistent id (a node of the graph) names.
using StorageResolver = std::function<Result<TorchStorage>(const PickleGraph& graph, PickleId persistent_id)>;

/// Makes the tensor that a persistent id names, where ids name tensors: `out` as far as it gets.
using TensorResolver = std::function<Result<void>(const PickleGraph& graph, PickleId persistent_id, Tensor& out)>;

/// Reads the torch file that lies in a pickle's bytes, `size_bytes` of `storage` from `offset_bytes` on, into the
/// same tree.
using NestedReader =
    std::function<Result<ValueId>(const StoragePtr& storage, std::uint64_t offset_bytes, std::uint64_t size_bytes)>;

/// torch's name of an element type: "FloatStorage" or "float32". Errors: unsupported.
Result<DType> torch_dtype(const PickleGlobal& global);

/// Opens the file of this name beside the pickle's own. Errors: corrupt, unsupported: what it says of the one tensor.
using BesideOpener = std::function<Result<SourcePtr>(std::string_view name)>;

/// A pickle that has been read as symbols, and what is around it.
struct PickleSource {
  const PickleGraph& graph;
  StoragePtr payload;                  ///< what the graph's ranges are ranges of
  std::string where;                   ///< the member
  StorageResolver resolve = {};        ///< null outside torch files
  bool script = false;                 ///< of TorchScript
  NestedReader read_nested = {};       ///< null in such a nested file
  NestedReader read_pickle = {};       ///< reads the pickle that lies in the payload, as joblib has object arrays
  TensorResolver resolve_tensor = {};  ///< in place of `resolve` in torch's tar
  BesideOpener open_beside = {};       ///< null where the pickle is no file's, or a pipe's
};

/// Turns the symbols of a pickle into values of `out.tree`. What is plain (format/pickle_globals.h) is understood;
/// anything else becomes an opaque value; what it is called, report_globals() says. A tensor that cannot be read is
/// listed without a storage, and is a problem of `out`.
/// Errors: corrupt where a constructor's arguments contradict each other; limit_exceeded.
Result<ValueId> interpret_pickle(const PickleSource& source, const OpenOptions& options, Checkpoint& out);

}  // namespace netcl::ckpt
