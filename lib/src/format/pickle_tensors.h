#pragma once

#include <map>
#include <tuple>

#include "format/pickle_dtype.h"
#include "format/pickle_values.h"
#include "model/sign_bits.h"

namespace netcl::ckpt {

/// Puts `out`, whose dtype, shape and strides are known, `offset` elements into `storage`. Every element lies in it.
/// Errors: corrupt; limit_exceeded (max_expansion).
Result<void> place_tensor(const TorchStorage& storage, std::uint64_t offset, const Limits& limits, Tensor& out);

/// Makes tensors out of the arguments of NumPy's and torch's reconstructors. Each function fills `out` as far as it
/// gets: where it fails, dtype and shape may be known, and the storage is not.
class PickleTensors {
 public:
  PickleTensors(const PickleView& view, const StorageResolver& resolve)
      : view_(view), dtypes_(view), resolve_(resolve) {}

  struct ArrayState {
    PickleId shape = kNoPickle, dtype = kNoPickle, data = kNoPickle;
    std::string order = "C";
    PickleId axes = kNoPickle;  // the order in which the axes of `shape` lie, where `order` is "K"
  };
  /// What describes an array, wherever it stands: a call of NumPy's or of jax's. Errors: corrupt, where NumPy would
  /// refuse it.
  Result<ArrayState> array_state(PickleId call) const;
  /// `out.storage` stays null for an object array.
  Result<void> array(const ArrayState& state, Tensor& out) const;
  /// joblib's wrapper: its attributes, and the elements at the end of the bytes that stand behind it.
  Result<void> joblib_array(PickleId call, Tensor& out) const;
  /// joblib's wrapper of an array whose elements alone are in a file beside the pickle: all but the storage.
  Result<void> joblib_zarray(const std::vector<PickleId>& attributes, Tensor& out) const;
  /// numpy.core.multiarray.scalar(dtype, bytes)
  Result<void> scalar(const std::vector<PickleId>& given, Tensor& out) const;

  /// _rebuild_tensor_v2(storage, offset, size, stride, …) and its relatives. `dtype`: of v3, which has an untyped
  /// storage. `metadata`: with torch's conj and neg bits.
  Result<void> torch(const std::vector<PickleId>& given, PickleId dtype, PickleId metadata, Tensor& out) const;
  /// _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad): a shape without data.
  Result<void> meta(const std::vector<PickleId>& given, Tensor& out) const;
  /// A storage that is a value of its own, as old state dicts hold them.
  Result<void> lone_storage(PickleId persistent, Tensor& out) const;

  const PickleDTypes& dtypes() const { return dtypes_; }
  /// The storage that a persistent id names, or that a nested torch file is.
  Result<TorchStorage> storage(PickleId id) const;
  /// What a pickled torch file gave (torch.storage._load_from_bytes): set by whoever reads it.
  std::function<Result<Tensor>(PickleId call)> nested;

 private:
  const PickleView& view_;
  PickleDTypes dtypes_;
  const StorageResolver& resolve_;
  // Views of one storage with the same bits share the changed one, too.
  mutable std::map<std::tuple<const Storage*, ScalarType, bool, bool>, StoragePtr> changed_;
};

}  // namespace netcl::ckpt
