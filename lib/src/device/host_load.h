#pragma once

#include <memory>
#include <vector>

#include "device/load_plan.h"

namespace netcl::ckpt {

/// Compares every checksum of `plan`, and reads nothing else.
Result<void> check_plan(const LoadPlan& plan, const LoadOptions& options);

/// Reads `plan` into memory of the process; `targets` has a span for each load. Compares no checksum.
Result<void> fill_host(const LoadPlan& plan, std::span<const std::span<std::byte>> targets, const LoadOptions& options);

}  // namespace netcl::ckpt
