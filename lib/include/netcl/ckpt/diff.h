#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

enum class DiffScope : std::uint8_t {
  all,
  model,      ///< tensors of Group::model alone
  optimizer,  ///< tensors of Group::optimizer alone
  metadata,   ///< what is no tensor alone
};

struct DiffOptions {
  Limits limits;
  /// Elements are the same if |a - b| <= atol + rtol * |b|, as in NumPy; b is the second file's.
  double rtol = 0;
  double atol = 0;
  /// Floats are the same if at most this many representable numbers lie between. Other types are
  /// compared exactly. Not together with tolerances.
  std::uint64_t ulp = 0;
  /// NaN payloads and the sign of zero count. Not together with tolerances, `ulp` or `ignore_dtype`.
  bool bitwise = false;
  bool equal_nan = true;
  /// Tensors of different dtypes are compared by value.
  bool ignore_dtype = false;
  /// POSIX extended regular expressions, and what replaces each match in the names of the first file;
  /// \1 to \9 are groups. One after another.
  std::vector<std::pair<std::string, std::string>> map;
  /// Two-dimensional tensors of the first file whose mapped name matches are compared transposed.
  std::vector<std::string> transpose;
  /// Only tensors, and values by their dotted path, whose name matches one of these globs; all if empty.
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  std::vector<std::string> optimizer_patterns;
  DiffScope scope = DiffScope::all;
  /// Stop at the first difference. The report says that there is one; it need not list it.
  bool brief = false;
  /// Count the differences by decade.
  bool histogram = false;
  /// List at most so many differing elements of each tensor.
  std::uint64_t max_elements = 0;
  Run run;
};

enum class TensorChange : std::uint8_t {
  same,
  values,
  dtype,  ///< and not compared further
  shape,  ///< perhaps the dtype, too
  only_in_a,
  only_in_b,
  not_comparable,  ///< an object array: its elements are a pickle
  unreadable,      ///< see `error`
};

/// "same", "values", "dtype", "shape", "only-in-a", "only-in-b", "not-comparable", "unreadable".
/// Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(TensorChange change);

constexpr std::size_t kDiffDecades = 20;

/// The largest of something. `index` counts elements in C order.
struct DiffPeak {
  long double value = 0;  ///< exact for 64-bit integers
  std::uint64_t index = 0;
};

/// By how much two tensors of numbers differ. All but the counts of NaN and Inf is of the pairs of which
/// both are finite, and within tolerance or not.
struct DiffFigures {
  std::optional<DiffPeak> max_abs;       ///< |a - b|; absent if it is 0 everywhere
  std::optional<DiffPeak> max_rel;       ///< |a - b| / |b| if b is not 0
  std::optional<std::uint64_t> max_ulp;  ///< floats of one type
  double rms = 0;                        ///< root of the mean of (a - b)²
  std::optional<double> cosine;          ///< similarity; absent if one of them is 0 everywhere
  std::optional<double> moved;           ///< ‖a - b‖ / ‖a‖; absent if a is 0 everywhere
  std::uint64_t nan_appeared = 0;        ///< NaN in b, finite in a
  std::uint64_t nan_vanished = 0;
  std::uint64_t inf_appeared = 0;
  std::uint64_t inf_vanished = 0;
  /// |a - b| by decade: below 1e-12, [1e-12, 1e-11), …, [1e5, 1e6), from 1e6 on. Zeros are in none.
  std::optional<std::array<std::uint64_t, kDiffDecades>> histogram;
};

/// One element that differs, as text.
struct DiffElement {
  std::uint64_t index = 0;  ///< in C order
  std::string a;
  std::string b;
};

struct DiffSide {
  std::string name;  ///< in its own file
  DType dtype;
  std::vector<std::uint64_t> shape;
};

struct TensorDiff {
  std::string name;  ///< as the second file would call it
  TensorChange change = TensorChange::same;
  Group group = Group::model;
  std::shared_ptr<const DiffSide> a;  ///< null if only b has it; the shape is as compared: transposed if asked for
  std::shared_ptr<const DiffSide> b;  ///< likewise; the same object as `a` if the two are equal
  std::uint64_t num_elements = 0;     ///< that were compared
  std::uint64_t differing = 0;        ///< of those
  std::shared_ptr<const DiffFigures> figures;  ///< if the bytes differ and are numbers, else null
  std::vector<DiffElement> elements;
  std::shared_ptr<const Error> error;  ///< null for none
};

/// A value that is no tensor: in one file only, or another one in each.
struct MetadataDiff {
  std::string path;  ///< dotted
  std::optional<std::string> a;
  std::optional<std::string> b;
};

constexpr std::size_t kMaxMetadataDiffs = 10'000;

struct NETCL_CKPT_EXPORT DiffReport {
  std::vector<TensorDiff> tensors;     ///< all that were compared: in the order of a, then what is only in b
  std::vector<MetadataDiff> metadata;  ///< the first kMaxMetadataDiffs
  std::uint64_t num_metadata = 0;
  bool differs = false;

  std::uint64_t count(TensorChange change) const;
  /// True if every tensor could be compared.
  bool complete() const;
};

/// Compares two checkpoints, of any formats, tensor by tensor. Tensors are paired by their dotted names; a
/// shape never broadcasts. Values that are no tensors are compared by path, whatever the order of a dict;
/// a list is a tuple. Reads each payload at most twice, none that lies in the same place of the same file.
/// The result depends on neither the number of threads nor the machine.
/// Errors: unsafe if a pickle names globals that are not executed, unless only tensors are in scope;
/// invalid_argument; limit_exceeded. A payload that cannot be read is TensorChange::unreadable.
NETCL_CKPT_EXPORT Result<DiffReport> diff(const Checkpoint& a, const Checkpoint& b, const DiffOptions& options = {});

}  // namespace netcl::ckpt
