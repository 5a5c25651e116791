#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "netcl/ckpt/diff.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/verify.h"
#include "terminal.h"
#include "text.h"

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

/// A line for each tensor with the start of its hash, and the metadata: nothing that a version of this
/// program or a neighbouring line changes, and no path.
void render_text(const InspectReport& report, Output& out);

/// "FILE: sound (…)", or a line for each problem.
void render_human(const VerifyReport& report, const HumanOptions& options, Output& out);

struct DiffView {
  Terminal terminal;
  std::string a, b;                  ///< as named on the command line
  bool all = false;                  ///< tensors without a difference, too
  bool by_change = false;            ///< those that moved most first, else in the order of the file
  std::optional<std::size_t> limit;  ///< of tensors shown
};

/// The tensors of a report that a view shows, in its order.
std::vector<const TensorDiff*> shown_tensors(const DiffReport& report, const DiffView& view);

/// How far a tensor went, ‖a - b‖ against ‖a‖, from 1e-8 (0) to 1 (1) by decades.
double moved_share(const TensorDiff& t);

/// What differs, in a few words, escaped; the figures are not among it.
std::string change_text(const TensorDiff& t);

/// A line for each tensor that differs, with a bar for how much it moved, and a summary.
void render_human(const DiffReport& report, const DiffView& view, Output& out);

std::uint64_t num_elements(const TensorInfo& t);

/// min, max, mean, std, zeros, NaN and Inf, in this order.
std::vector<std::string> stats_texts(const TensorStats& stats);

/// In the report's order.
std::vector<const TensorInfo*> tensors_of(const InspectReport& report, Group group);

/// "2 tensors, 9 elements, 36 B"
std::string sums_text(const std::vector<const TensorInfo*>& tensors);

/// "5 tensors, 9 parameters, 80 B in 745 B (931.2 %)"
std::string totals_text(const InspectReport& report);

/// Architecture and metadata as lines, escaped; "" where there is neither.
std::string metadata_text(const InspectReport& report, const HumanOptions& options);

}  // namespace netcl::ckpt::app
