#pragma once

#include <string>

#include "render_human.h"

namespace netcl::ckpt::app {

/// The part of a page about one file: totals, a treemap of the model's parameters by layer, a row for each tensor
/// with its statistics and histogram, and all that is no tensor.
std::string render_html(const InspectReport& report);

/// The part about a file that could not be read.
std::string render_html(const std::string& path, const Error& error);

/// A page with a row for each tensor that the view shows: its figures, a bar for how far it moved, and, where the
/// report has it, the histogram of its differences.
std::string render_html(const DiffReport& report, const DiffView& view);

}  // namespace netcl::ckpt::app
