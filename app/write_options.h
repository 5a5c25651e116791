#pragma once

#include <string>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"

namespace CLI {
class App;
}

// What the subcommands that write a checkpoint share.

namespace netcl::ckpt::app {

/// --to, --compression, --force, --dry-run, --verify, --compact, --no-sidecar, --embed-sidecar, --jobs
void add_target_options(CLI::App& command, ConvertOptions& options);
/// --dtype
void add_dtype_option(CLI::App& command, ConvertOptions& options);

/// Opens a checkpoint by path, or standard input where `path` is "-"; without `sidecar` an npz alone.
Result<Checkpoint> open_input(const std::string& path, bool sidecar = true);

}  // namespace netcl::ckpt::app
