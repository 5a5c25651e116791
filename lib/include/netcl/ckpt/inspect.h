#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// What a tensor is for, as far as its name and its neighbours tell.
enum class Group : std::uint8_t { model, optimizer, other };

/// "model", "optimizer", "other". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(Group group);

constexpr std::size_t kHistogramBins = 16;

/// Of a tensor's elements. min, max, mean and std are those of the finite ones, NaN if there are none.
struct TensorStats {
  long double min = std::numeric_limits<long double>::quiet_NaN();  ///< exact for 64-bit integers too
  long double max = std::numeric_limits<long double>::quiet_NaN();
  double mean = std::numeric_limits<double>::quiet_NaN();
  double std = std::numeric_limits<double>::quiet_NaN();  ///< of the population, as NumPy's
  std::uint64_t zeros = 0;
  std::uint64_t nan = 0;
  std::uint64_t inf = 0;
  /// Bins of equal width from min to max, of every n-th element: of all up to 16,384, else of at most
  /// as many.
  std::array<std::uint64_t, kHistogramBins> histogram{};
};

struct InspectOptions {
  Limits limits;
  /// Only tensors whose name matches one of these; all if empty. `*` matches any characters, dots
  /// and slashes too, `?` one, `[a-z]` one of a set.
  std::vector<std::string> include;
  /// No tensor whose name matches one of these.
  std::vector<std::string> exclude;
  /// Names that are optimizer state whatever else they look like.
  std::vector<std::string> optimizer_patterns;
  /// Take the SHA-256 of each tensor, which reads all of it.
  bool hash = false;
  /// Also make one hash of names, dtypes, shapes and values of the tensors listed, whatever the format.
  bool identity = false;
  /// Gather statistics of each tensor of booleans, integers or floats, in the same pass.
  bool stats = false;
  Run run;
};

struct TensorInfo {
  std::string name;  ///< dotted; "" for a lone array
  DType dtype;
  std::vector<std::uint64_t> shape;
  bool fortran_order = false;
  Group group = Group::model;
  std::uint64_t size_bytes = 0;  ///< of the elements
  /// What the file spends on the storage, header included; tensors that share one all say the same.
  std::uint64_t stored_bytes = 0;
  Compression compression = Compression::none;
  std::optional<std::uint32_t> crc32;
  std::string sha256;                        ///< hexadecimal, of the C-order little-endian bytes; "" if not asked for
  std::shared_ptr<const TensorStats> stats;  ///< null if not asked for, or of a type that has none
};

struct InspectTotals {
  std::uint64_t num_tensors = 0;
  std::uint64_t num_parameters = 0;  ///< elements of the model's tensors
  std::uint64_t size_bytes = 0;
  std::uint64_t stored_bytes = 0;  ///< each storage once
};

struct InspectReport {
  std::string path;
  Format format = Format::npz;
  std::uint64_t file_bytes = 0;
  std::vector<TensorInfo> tensors;  ///< in file order
  InspectTotals totals;             ///< of `tensors`
  std::string identity;             ///< hexadecimal; "" if not asked for, or a tensor could not be read
  /// All that is no tensor, as one dict: attributes, then the other values of the state. A tree of its
  /// own without sharing or cycles, at most kMaxMetadataDepth deep, with the string "…" if
  /// something was cut. Keys are strings. Containers that held nothing but tensors are left out. An opaque
  /// value has one part, or none: a dict of its attributes that are plain values or short lists of those.
  Tree metadata;
  ValueId metadata_root = 0;
  Problems problems;
};

constexpr std::size_t kMaxMetadataDepth = 64;

/// Lists a checkpoint. Reads payloads only for `hash`, `identity` and `stats`; what goes wrong there is a problem
/// of the report, and the tensor has neither.
/// Errors: limit_exceeded if the names cannot be listed.
NETCL_CKPT_EXPORT Result<InspectReport> inspect(const Checkpoint& checkpoint, const InspectOptions& options = {});

}  // namespace netcl::ckpt
