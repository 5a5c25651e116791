#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/open.h"

namespace netcl::ckpt {

struct PeekOptions {
  Limits limits;
  /// Bring the plain values; without it only whether the file is complete is found out.
  bool values = true;
  /// Flat npz: the lone numbers to bring, by name; no other array is looked at.
  std::function<bool(std::string_view name)> wanted;
};

/// Tells with a few reads whether a file is complete, trailer included, and what it says about itself,
/// however many tensors it has: of an archive only the directory is read, and the structure document.
/// The result has the values of root and attributes as far as they are plain, and of npz no tensors.
/// Errors: as open_checkpoint(); corrupt where the directory lists data that is not there; truncated,
/// corrupt for a sidecar that is torn.
Result<Checkpoint> peek_checkpoint(const std::filesystem::path& path, const PeekOptions& options);

}  // namespace netcl::ckpt
