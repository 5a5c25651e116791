#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"

namespace netcl::ckpt {

/// A tensor that a strict load would ask for.
struct ExpectedTensor {
  std::string name;
  std::string dtype;  ///< NumPy's name; "" accepts any
  std::vector<std::uint64_t> shape;
};

/// What `checkpoint` holds, as an expectation of another.
/// Errors: limit_exceeded.
NETCL_CKPT_EXPORT Result<std::vector<ExpectedTensor>> expectations_of(const Checkpoint& checkpoint,
                                                                      const Limits& limits = {});

/// Expectations in a JSON file: {"name": [2, 3]} or {"name": {"dtype": "float32", "shape": [2, 3]}},
/// or the output of `netcl-ckpt inspect --json`.
/// Errors: io, corrupt, limit_exceeded.
NETCL_CKPT_EXPORT Result<std::vector<ExpectedTensor>> read_expectations(const std::filesystem::path& path,
                                                                        const Limits& limits = {});

}  // namespace netcl::ckpt
