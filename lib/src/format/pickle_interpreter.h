#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/pickle_tensors.h"
#include "format/pickle_values.h"
#include "format/pickle_view.h"

namespace netcl::ckpt {

/// Makes the values of one pickle: what interpret_pickle() runs. Its members are defined by what they make:
/// pickle_interpreter.cc walks the graph and makes plain values, pickle_parts.cc says what must be made before a value
/// can be, pickle_calls.cc makes what Python's library and its containers give, pickle_arrays.cc arrays and tensors.
class PickleInterpreter {
 public:
  PickleInterpreter(const PickleSource& source, const OpenOptions& options, Checkpoint& out);

  /// The value of the graph's root. Errors: corrupt, unsupported, limit_exceeded.
  Result<ValueId> run();

  /// Scale and zero point of quantized tensors, by value.
  const std::unordered_map<ValueId, ValueId>& quantization() const { return quantization_; }

 private:
  using Kind = PickleKind;
  static constexpr ValueId kUnknown = 0xffffffff;

  /// The value of a node, or the place that it will have: what holds it may be made before it is.
  ValueId value(PickleId id);
  std::vector<ValueId> values(const std::vector<PickleId>& ids);
  Result<ValueId> make(PickleId id);
  void report(ProblemCode code, std::string message, std::optional<Severity> severity = {}, std::string global = "");
  Result<ValueId> make_global(PickleId id);
  /// Of key, value, key, value …; a key that is set again keeps its place and takes the later value.
  Result<ValueId> make_dict(const std::vector<PickleId>& pairs, std::optional<ValueId> attributes = std::nullopt);
  /// Equal for keys that Python holds equal, as far as keys are plain.
  std::optional<std::string> key_identity(PickleId key) const;
  Result<ValueId> make_bytes(PickleId id);
  /// Bytes that are a pickle are nothing that loading the file runs; its own program may.
  void note_pickle(const std::string& bytes);
  /// Python 2's str is text if it can be.
  ValueId add_python2(const std::string& bytes);
  std::string name_of(PickleId call) const;
  Result<ValueId> make_opaque(PickleId id);
  Result<ValueId> make_persistent(PickleId id);

  static bool is_leaf(Kind kind);

  // pickle_parts.cc
  /// Everything about a call, for values that keep what they do not understand.
  std::vector<PickleId> all_parts(PickleId id) const;
  std::vector<PickleId> parts_of(PickleId id) const;
  std::vector<PickleId> parts_of_call(PickleId id) const;
  /// Of _rebuild_from_type_v2(function, type, arguments, state): the tensors that a wrapper subclass wraps.
  std::vector<PickleId> wrapped_parts(const std::vector<PickleId>& given) const;

  // pickle_calls.cc
  Result<ValueId> make_call(PickleId id, Meaning meaning, const std::vector<PickleId>& given);
  static bool is_dict_type(Meaning m);
  /// torch's `_metadata` of a state dict, a dict of dicts of plain values, as the attributes of an OrderedDict; any
  /// other is left out.
  ValueId ordered_attributes(PickleId state);
  /// A dict of plain values; nothing for any other.
  std::optional<ValueId> plain_dict(PickleId id);
  /// A state that an object without a __setstate__ takes.
  bool has_attributes(PickleId state) const;
  Result<ValueId> make_sequence(ValueKind kind, PickleId id);
  Result<ValueId> make_builtin_bytes(const std::vector<PickleId>& given);
  std::optional<double> number(PickleId id) const;
  Result<ValueId> make_complex(const std::vector<PickleId>& given);
  /// int, float, bool, str …: of nothing their zero, of a plain value that value.
  Result<ValueId> make_number(PickleId id, const std::vector<PickleId>& given);
  Result<ValueId> make_attributes(PickleId id, const std::vector<PickleId>& given);
  Result<ValueId> value_of_state(PickleId state, const std::vector<PickleId>& pairs);
  /// copyreg._reconstructor(class, base, state): objects of protocols 0 and 1.
  Result<ValueId> make_reconstructed(PickleId id, const std::vector<PickleId>& given);
  Result<ValueId> make_module(PickleId id);
  /// torch.device('cuda', 1): a name, as Python writes it.
  Result<ValueId> make_device(const std::vector<PickleId>& given);
  Result<ValueId> nested_value(PickleId call);

  // pickle_arrays.cc
  /// A tensor, or, if it cannot be read, its name in the list and the reason: one never hides the others.
  Result<ValueId> add(Tensor tensor, Result<void> made);
  Result<ValueId> make_array(PickleId id);
  Result<ValueId> make_joblib_array(PickleId id);
  /// joblib before 0.10 wrote each array to a file of its own: FILE_01.npy, or FILE_01.npy.z, the elements alone,
  /// compressed. https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle_compat.py
  Result<ValueId> make_joblib_file(PickleId id);
  /// verify reads through what stands in files of its own.
  void add_member(const std::string& name, const Tensor& tensor);
  Result<SourcePtr> open_beside(const std::string& name);
  Result<void> place_zfile(const SourcePtr& source, Tensor& tensor);
  Result<ValueId> make_scalar(const std::vector<PickleId>& given);
  Result<ValueId> make_tensor(PickleId id, Meaning meaning, const std::vector<PickleId>& given);
  /// (scheme, scale, zero point), or of each channel (scheme, scales, zero points, axis).
  Result<ValueId> quantizer(const std::vector<PickleId>& parts);
  /// _rebuild_from_type_v2(function, type, arguments, state)
  Result<ValueId> make_from_type(PickleId id, const std::vector<PickleId>& given);
  /// _rebuild_sparse_tensor(layout, (indices, values, size, coalesced)), and of rows, columns or blocks
  /// (layout, (crow_indices, col_indices, values, size)): its parts, each under its own name.
  Result<ValueId> make_sparse(const std::vector<PickleId>& given);
  Result<Tensor> nested_tensor(PickleId call);

  const PickleSource& source_;
  PickleView view_;
  const PickleGraph& g_;
  PickleTensors tensors_;
  const OpenOptions& options_;
  Checkpoint& out_;
  Tree& tree_;
  std::vector<ValueId> value_;                    // of each node; only value() looks at it
  std::unordered_map<PickleId, ValueId> nested_;  // by the node of the bytes
  std::unordered_map<ValueId, ValueId> quantization_;
  std::unordered_map<std::string, ValueId> by_id_;     // tensors, by the persistent id
  std::unordered_map<std::string, ValueId> beside_;    // arrays, by the name of the file
  std::unordered_map<std::string, SourcePtr> opened_;  // by name
  std::optional<ValueId> no_attributes_;               // of an OrderedDict, for all that have none
  bool dtensor_noted_ = false;
};

}  // namespace netcl::ckpt
