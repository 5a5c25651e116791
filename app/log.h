#pragma once

#include <string>
#include <string_view>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt::app {

/// What goes to standard error: `quiet` errors alone, `normal` warnings too, `verbose` all.
enum class Verbosity { quiet, normal, verbose };
void set_verbosity(Verbosity verbosity);

/// An error as its one line of text, not yet escaped: what the library calls `replace` in the way out is --force here.
std::string error_text(const Error& error);
/// The same without the place.
std::string error_message(const Error& error);

/// One line on standard error, "netcl-ckpt: …", escaped.
void log_error(std::string_view text);
void log_error(const Error& error);
/// The same where the error does not say which file: "netcl-ckpt: PATH: …".
void log_error(std::string_view path, Error error);
void log_warning(std::string_view text);
void log_note(std::string_view text);

/// Each problem as a line, at its severity, the first of each file only: `verify` lists them all.
void log_problems(std::string_view path, const Problems& problems);

/// "duplicate member (layer.npy, byte 123)": what a Problem says, on one line, not yet escaped.
std::string problem_text(const Problem& problem);

}  // namespace netcl::ckpt::app
