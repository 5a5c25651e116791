#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

struct RepairOptions {
  Limits limits;
  bool replace = false;  ///< whether an existing output may be replaced; the input never is
  Run run;
};

struct RepairReport {
  std::string path;  ///< of the output
  std::uint64_t source_bytes = 0;
  std::uint64_t file_bytes = 0;
  /// The file has lost its end: what stood behind the last member that was found, other members and an npz's values
  /// that are no arrays, cannot be named.
  bool end_lost = false;
  std::optional<Format> format;   ///< of the output; nothing if it cannot be read
  std::uint64_t num_tensors = 0;  ///< that the output lists
  std::vector<std::string> kept;  ///< members, or tensors of safetensors, in the order of the file
  /// Those of them whose CRC-32 is wrong: pickles that are whole nevertheless.
  std::vector<std::string> doubtful;
  struct Loss {
    std::string member;
    std::uint64_t offset_bytes = 0;  ///< where its local header is, or should be; of safetensors, its data
    std::string message;
  };
  std::vector<Loss> lost;
  /// Tensors that the output still describes and whose bytes are lost (torch keeps the two apart): reading one
  /// is an error, and torch.load refuses the file.
  std::vector<std::string> lost_tensors;
  Problems problems;  ///< what else is worth saying about what was kept

  bool complete() const {
    return lost.empty() && lost_tensors.empty() && doubtful.empty() && !end_lost && num_tensors > 0;
  }
};

/// Rebuilds a damaged or truncated npz, `.netcl`, torch's zip or safetensors file. Members of an archive are found by
/// their local headers and by what is left of the directory; those whose data decodes to the recorded CRC-32 are moved
/// as they are stored into a new archive, the others are listed. A `data.pkl` of which only the CRC is wrong is kept
/// if it is a whole pickle. Of safetensors the tensors are kept whose data is all there. The output has the format
/// of the input, and appears complete or not at all. Errors: unsupported if no zip member is found; corrupt if
/// none is whole; invalid_argument if the output is the input or has the name of another format; io, limit_exceeded,
/// cancelled.
NETCL_CKPT_EXPORT Result<RepairReport> repair(SourcePtr in, const std::filesystem::path& out,
                                              const RepairOptions& options = {});

}  // namespace netcl::ckpt
