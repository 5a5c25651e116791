#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/loaders.h"
#include "netcl/ckpt/source.h"

// What other programs' loaders ask of a file before they take it, one function a program. They look at the file's own
// structure and not at what this program's readers make of it, because a loader may be stricter than these, or laxer.
// Payloads are left alone, and nothing is executed.

namespace netcl::ckpt {

/// Why a loader would not take a file, in its own terms.
struct LoadRefusal {
  std::string where = {};  ///< the member or tensor; "" for the file itself
  std::optional<std::uint64_t> offset_bytes = {};
  std::string message = {};
};

/// Nothing if the loader has no objection. Errors: io, out_of_memory.
using LoadAnswer = Result<std::optional<LoadRefusal>>;

/// torch.load(). `mapped`: as transformers calls it, with mmap=True.
LoadAnswer torch_refusal(const SourcePtr& source, Loader::Version version, bool mapped, const Limits& limits);

/// numpy.load(), and every array of an archive after it.
LoadAnswer numpy_refusal(const SourcePtr& source, Loader::Version version, const Limits& limits);

/// safetensors' safe_open().
LoadAnswer safetensors_refusal(const SourcePtr& source, Loader::Version version, const Limits& limits);

}  // namespace netcl::ckpt
