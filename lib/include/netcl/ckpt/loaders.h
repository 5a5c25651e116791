#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

/// A program that loads checkpoints, as it does if it is asked for nothing special: `torch.load(file)`,
/// `numpy.load(file)`, safetensors' `safe_open`, transformers' `from_pretrained` of one file, netcl's own calls.
struct Loader {
  enum class Program : std::uint8_t { torch, numpy, safetensors, transformers, netcl };
  struct Version {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    auto operator<=>(const Version&) const = default;
  };
  Program program = Program::torch;
  Version version;
  bool operator==(const Loader&) const = default;
};

/// "torch", "numpy", "safetensors", "transformers", "netcl". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(Loader::Program program);

/// "torch 2.11".
NETCL_CKPT_EXPORT std::string to_string(const Loader& loader);

/// Reads "torch,numpy=1.26": names, each with a version if the newest that is known here is not meant.
/// Errors: invalid_argument, naming the programs that are known; out_of_memory.
NETCL_CKPT_EXPORT Result<std::vector<Loader>> parse_loaders(std::string_view text);

}  // namespace netcl::ckpt
