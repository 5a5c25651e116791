#pragma once

#include <cstdint>
#include <span>

#include "container/zip_directory.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// Cross-member checks for verify: overlaps, data descriptors, gaps, a second end record,
/// duplicate, absolute and ".." names.
/// `data_offsets`: where each member's data begins, 0 where that could not be found out.
void check_zip_layout(const SourcePtr& source, const ZipDirectory& directory,
                      std::span<const std::uint64_t> data_offsets, Problems& problems);

}  // namespace netcl::ckpt
