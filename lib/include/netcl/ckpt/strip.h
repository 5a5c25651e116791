#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

struct StripOptions {
  /// Parts to keep that would be dropped: "optimizer", "scheduler", "scaler", "rng", "ema", "trainer".
  std::vector<std::string> keep;
  /// Put an EMA's weights in the model's place: by name, or in order if the EMA is a plain list.
  bool ema = false;
  /// Globs of tensors that are optimizer state whatever they look like.
  std::vector<std::string> optimizer_patterns;
  /// How to write; `include`, `exclude` and `renames` apply to what is left.
  ConvertOptions write;
};

struct StripReport {
  ConvertReport written;
  bool found = false;                ///< whether there was any optimizer state
  std::vector<std::string> dropped;  ///< dotted names of tensors and values, outermost only
  std::vector<std::string> why;      ///< for each of them, the rule that dropped it
  std::uint64_t dropped_bytes = 0;   ///< of tensors, decoded
};

/// Writes the checkpoint that one ships: without optimizer state, EMA shadow, scheduler, scaler, random state and the
/// trainer's own, wherever they are. Epoch, step and config stay. Payloads that stay move as they are
/// stored, so the cost grows with what is kept. An opaque part of a pickle that is dropped is no
/// obstacle.
/// Errors: as convert(); invalid_argument if `ema` finds no weights that fit the model, or no tensor would be left:
/// nothing is written then.
NETCL_CKPT_EXPORT Result<StripReport> strip_optimizer(Checkpoint in, const std::filesystem::path& out,
                                                      const StripOptions& options = {});

}  // namespace netcl::ckpt
