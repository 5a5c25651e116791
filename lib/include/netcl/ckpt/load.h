#pragma once

#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/memory.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/tensor.h"

namespace netcl::ckpt {

/// A tensor, mostly of a file, and where it goes. Dtypes are equal but for the byte order.
struct TensorLoad {
  Tensor from;
  TensorTarget to;
  std::string name;  ///< what errors call it
};

/// Fills all targets, or none: dtypes, shapes and sizes are compared and every checksum is verified before
/// the first byte of a target changes.
/// Errors: invalid_argument, naming the tensor; those of the storages' readers, checksum_mismatch among
/// them; device; cancelled.
NETCL_CKPT_EXPORT Result<void> load_tensors(std::span<const TensorLoad> loads, const Run& run = {});

/// An array of a program under its name.
struct Parameter {
  std::string name;
  TensorTarget target;
};

struct MatchOptions {
  /// A missing, unexpected or different tensor is an error; else it is in the report, and the rest is loaded.
  bool strict = true;
  /// Tensors that the program does not name are passed over, strict or not; they are in the report.
  bool allow_unexpected = false;
  /// Convert between float16, bfloat16, float32 and float64, as netcl does with all that it loads.
  bool allow_cast = false;
  std::string scope;                   ///< only the tensors below this dotted path ("model"), named from there
  std::string strip_prefix;            ///< taken off the file's names that begin with it ("module.")
  std::string add_prefix;              ///< put before the file's names
  std::vector<std::string> transpose;  ///< globs: the file's matrices are transposed (torch's Linear weights)
  Limits limits;
  Run run;
};

/// Names as the program has them.
struct MatchReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     ///< the program has them, the file does not
  std::vector<std::string> unexpected;  ///< the file has them, the program does not; arrays of text are no parameters
  std::vector<std::string> mismatched;  ///< another shape or dtype, with both: "w: float32 (2,) for float32 (3,)"
};

/// Loads the checkpoint's tensors into the parameters of the same names, all or nothing: names, dtypes, shapes
/// and checksums are compared before the first byte of any parameter changes.
/// Errors: invalid_argument with all that does not match, in one message, if `strict`; those of
/// load_tensors().
NETCL_CKPT_EXPORT Result<MatchReport> load_parameters(const Checkpoint& checkpoint,
                                                      std::span<const Parameter> parameters,
                                                      const MatchOptions& options = {});

}  // namespace netcl::ckpt
