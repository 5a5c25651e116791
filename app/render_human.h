#pragma once

#include <cstddef>
#include <string>

#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/verify.h"
#include "terminal.h"

namespace netcl::ckpt::app {

struct HumanOptions {
  Terminal terminal;
  std::size_t depth = 0;  ///< sum up tensors below this many dotted names; 0 lists each
  bool hash = false;
  bool stats = false;
  bool verbose = false;  ///< notes too, and all of the metadata, which else is cut to a screenful
};

/// A line a tensor by group, totals, architecture, metadata. Problems are not among it.
void render_human(const InspectReport& report, const HumanOptions& options, Output& out);

/// "FILE: sound (…)", or a line for each problem.
void render_human(const VerifyReport& report, const HumanOptions& options, Output& out);

/// "13.4 MB"
std::string bytes_text(std::uint64_t bytes);

}  // namespace netcl::ckpt::app
