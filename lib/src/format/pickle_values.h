#pragma once

#include <functional>
#include <string>

#include "container/pickle_reader.h"
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

/// torch's name of an element type: "FloatStorage" or "float32". Errors: unsupported.
Result<DType> torch_dtype(const PickleGlobal& global);

/// True for a class of ml_dtypes that is an element type known here: `ml_dtypes.bfloat16`.
bool is_ml_dtype(const PickleGlobal& global);

/// Turns the symbols of a pickle into values of `out.tree`. Only a list of pure constructors is
/// understood (NumPy's arrays, scalars and dtypes, collections, torch's tensors, …); anything else
/// becomes an opaque value, and a problem "unsafe-global" of `out`, under `where`.
/// `payload`: what the graph's ranges are ranges of. `resolve`: null outside torch files.
/// Errors: corrupt where a constructor's arguments contradict each other; limit_exceeded.
Result<ValueId> interpret_pickle(const PickleGraph& graph, const StoragePtr& payload, const std::string& where,
                                 const StorageResolver& resolve, const ReadOptions& options, Checkpoint& out);

/// Adds a problem for each of `globals` that is not on the list. TorchScript's own classes
/// (`__torch__.…`) count as known where `script` is true.
void report_globals(std::span<const PickleGlobal> globals, const std::string& where, bool script, Checkpoint& out);

}  // namespace netcl::ckpt
