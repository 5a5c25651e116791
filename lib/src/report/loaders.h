#pragma once

#include <filesystem>
#include <span>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/loaders.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// What is known of a file when its loaders are asked for.
struct LoadSubject {
  SourcePtr source;  ///< null for a folder
  std::filesystem::path path;
  const Checkpoint* checkpoint = nullptr;  ///< null if this program could not open it
  std::span<const Problem> problems;       ///< that were found before, payloads read
};

/// Adds a problem for each of `loaders` that would refuse the file. Errors: io, out_of_memory.
Result<void> judge_loaders(std::span<const Loader> loaders, const LoadSubject& subject, const Limits& limits,
                           Problems& out);

}  // namespace netcl::ckpt
