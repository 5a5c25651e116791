#pragma once

#include <filesystem>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

struct OpenOptions {
  Limits limits;
  /// Look for netcl's `.json` beside an `.npz` and read it as attributes.
  bool sidecar = true;
  /// Also check what listing does not need: every local header, overlaps, gaps and unread members.
  /// Findings become Checkpoint::problems.
  bool thorough = false;
};

/// True if `path` is a folder of npy files that convert wrote: one checkpoint, not several.
NETCL_CKPT_EXPORT bool is_npy_folder(const std::filesystem::path& path);

/// True if the file at `path` begins as a checkpoint does: by its first bytes alone, whatever its name. One small
/// read; false if it cannot be read.
NETCL_CKPT_EXPORT bool looks_like_checkpoint(const std::filesystem::path& path);

/// Opens a checkpoint. The format is found by content, never by the extension alone; a wrong
/// extension is noted in `problems`. Reads directories and headers, no payload; runs nothing.
/// Errors: io; unsupported if it is no checkpoint (the message names what it looks like: an LFS
/// pointer, a web page, a gzip); truncated, corrupt, limit_exceeded if not even a list of
/// tensors can be had. Anything less is a Problem in the result.
NETCL_CKPT_EXPORT Result<Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                                     const OpenOptions& options = {});

/// The same for an open source. `path` is only for messages and the sidecar; it may be empty.
NETCL_CKPT_EXPORT Result<Checkpoint> open_checkpoint(SourcePtr source, const std::filesystem::path& path,
                                                     const OpenOptions& options = {});

}  // namespace netcl::ckpt
