#pragma once

#include <span>
#include <string>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"
#include "terminal.h"

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

/// What opening the input found, but for what log_left_out() will say.
void log_input_problems(const std::string& path, const Problems& problems);

/// A warning for each part that the output lacks.
void log_left_out(const std::string& path, const Problems& logged, const ConvertReport& report);

/// A ConvertOptions::sink. A reader that has gone away ends the write without complaint.
Result<void> write_to_standard_output(std::span<const std::byte> bytes);

void render_human(const ConvertReport& report, bool dry_run, Output& out);

}  // namespace netcl::ckpt::app
