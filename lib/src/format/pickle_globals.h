#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "container/pickle_reader.h"
#include "netcl/ckpt/checkpoint.h"

namespace netcl::ckpt {

/// How far a global is trusted, if it is named in a pickle.
enum class Grade : std::uint8_t {
  plain,    ///< pure data: read as a value, and sound
  foreign,  ///< not known here: never executed, and an error unless allowed
  unsafe,   ///< a known way to execute something
};

/// What the call of a global would give, as far as this program makes it.
enum class Meaning : std::uint8_t {
  opaque,  ///< nothing that is known here
  // Python
  ordered_dict,
  default_dict,
  mapping,  ///< a dict of its argument and of what is set in it
  list,
  tuple,
  set,
  frozenset,
  deque,
  bytes,
  complex,
  number,      ///< int, float, bool, str and NumPy's scalar types: of one plain argument, that
  record,      ///< object, slice, range: a tuple of its name and its arguments
  attributes,  ///< an object that is its attributes: Namespace
  date,
  time,
  datetime,
  timedelta,
  timezone,
  path,
  written,  ///< a number of arbitrary precision, as text
  uuid,
  encode,         ///< _codecs.encode(text, 'latin1'): bytes, before protocol 3
  reconstructor,  ///< copyreg._reconstructor(class, base, state)
  first,          ///< a wrapper: the value of its first argument
  // NumPy and what is built on it
  array_class,
  reconstruct,  ///< an empty array that BUILD fills
  frombuffer,
  numpy_scalar,
  dtype,
  ml_dtype,      ///< a class of ml_dtypes, as an argument to dtype
  random_state,  ///< its state, or its arguments
  jax_array,
  joblib_array,       ///< joblib's wrapper: the array's elements lie behind its BUILD
  joblib_array_file,  ///< joblib's before 0.10: they lie in a file beside it
  // torch
  tensor,        ///< _rebuild_tensor and _rebuild_tensor_v2
  typed_tensor,  ///< of an untyped storage, with the dtype as an argument
  from_type,
  wrapper_subclass,
  sparse,
  nested,
  quantized,
  meta,
  element_type,  ///< a storage class or dtype
  size,
  device,
  layout,
  load_from_bytes,
  module,
  persistent_module,  ///< of torch_utils.persistence: its state, and a source that is never run
  script_class,       ///< TorchScript's own: a bag of attributes
};

struct GlobalInfo {
  Grade grade = Grade::foreign;
  Meaning meaning = Meaning::opaque;
};

/// The one table of globals. `called`: it is called, not only named; a harmless function that is called is foreign.
/// TorchScript's own classes (`__torch__.…`) are known only if `script` is true.
GlobalInfo classify(const PickleGlobal& global, bool called, bool script);

/// torch's element type of a storage class or dtype: "FloatStorage", "float32", "QInt8Storage". nullopt: not known.
std::optional<ScalarType> torch_element_type(std::string_view name);

/// Why torch.load(weights_only=True) does not take a global, if it has not been told to allow it; nothing if it does.
std::optional<std::string> weights_only_refuses(const PickleGlobal& global);

/// What Python 3 calls a type that stands as a value, and who loads it; nothing if it is no such type.
struct TypeName {
  std::string_view module;
  std::string_view name;
  bool weights_only = false;  ///< torch.load(weights_only=True) takes it
};
std::optional<TypeName> type_name(std::string_view module, std::string_view name);

/// Adds a problem for each of `globals` that is not plain, under `where`.
void report_globals(std::span<const PickleGlobal> globals, const std::string& where, bool script, Checkpoint& out);

}  // namespace netcl::ckpt
