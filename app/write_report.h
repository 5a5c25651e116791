#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/diagnostics.h"
#include "terminal.h"

// What the subcommands that write a checkpoint say of it.

namespace netcl::ckpt::app {

/// What opening the input found, but for what log_left_out() will say.
void log_input_problems(const std::string& path, const Problems& problems);

/// A warning for each part that the output lacks.
void log_left_out(const std::string& path, const Problems& logged, const ConvertReport& report);

/// A ConvertOptions::sink. A reader that has gone away ends the write without complaint.
Result<void> write_to_standard_output(std::span<const std::byte> bytes);

void render_human(const ConvertReport& report, bool dry_run, Output& out);

}  // namespace netcl::ckpt::app
