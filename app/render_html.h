#pragma once

#include <string>

#include "render_human.h"

namespace netcl::ckpt::app {

/// A page with a row for each tensor that the view shows: its figures, a bar for how far it moved, and, where the
/// report has it, the histogram of its differences.
std::string render_html(const DiffReport& report, const DiffView& view);

}  // namespace netcl::ckpt::app
