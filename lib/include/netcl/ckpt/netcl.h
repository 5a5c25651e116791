#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/load.h"
#include "netcl/ckpt/save.h"

// netcl's calls, with their promises kept. What is written opens in netcl 0.4.4, and what that writes opens here.

namespace netcl::ckpt {

/// Opens a saved state; if the path as given is no file, ".npz" is put behind it, and last in the place of
/// what follows its last dot, as netcl does. Reads no payload.
/// Errors: as open_checkpoint().
NETCL_CKPT_EXPORT Result<Checkpoint> load_state(const std::filesystem::path& path);

/// "p0", "p1", …: netcl's names if none are given.
NETCL_CKPT_EXPORT std::vector<Parameter> numbered(std::vector<TensorTarget> targets);

NETCL_CKPT_EXPORT Result<void> save_params(std::span<const Parameter> parameters, const std::filesystem::path& path,
                                           const SaveOptions& options = {});
/// As netcl's: tensors that the program does not name are passed over.
NETCL_CKPT_EXPORT Result<MatchReport> load_params(std::span<const Parameter> parameters,
                                                  const std::filesystem::path& path, MatchOptions options = {});

/// What netcl keeps beside the parameters. The optimizer's arrays are saved as arrays.
struct CheckpointExtras {
  std::optional<Value> optim_state;
  std::optional<Value> config;
};
/// Writes PATH.npz and PATH.json. The two are one commit: the npz holds all of it, and the sidecar is a copy
/// for netcl and for people, which a reader here takes only if it is of the same save.
NETCL_CKPT_EXPORT Result<void> save_checkpoint(std::span<const Parameter> parameters, const std::filesystem::path& path,
                                               const CheckpointExtras& extras = {}, const SaveOptions& options = {});

struct LoadedCheckpoint {
  MatchReport report;
  Checkpoint checkpoint;               ///< for the optimizer's arrays: load_parameters() with scope "optim_state"
  std::optional<ValueId> optim_state;  ///< in checkpoint.tree
  std::optional<ValueId> config;
};
NETCL_CKPT_EXPORT Result<LoadedCheckpoint> load_checkpoint(std::span<const Parameter> parameters,
                                                           const std::filesystem::path& path,
                                                           MatchOptions options = {});

/// netcl's single file, exactly at `path`. `layers`: its `config`, a list of {"type": …, "args": {…}};
/// parameters are named "<layer index>:<name>".
NETCL_CKPT_EXPORT Result<void> save_model(const Value& layers, std::span<const Parameter> parameters,
                                          const std::filesystem::path& path, const SaveOptions& options = {});
/// The architecture is in the checkpoint's attributes, under "__netcl_meta__".
NETCL_CKPT_EXPORT Result<LoadedCheckpoint> load_model(std::span<const Parameter> parameters,
                                                      const std::filesystem::path& path, MatchOptions options = {});

}  // namespace netcl::ckpt
