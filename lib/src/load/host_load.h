#pragma once

#include <memory>
#include <span>
#include <vector>

#include "load/load_plan.h"

namespace netcl::ckpt {

/// Prepares loads into memory of the process, all of whose targets lie there: every checksum is compared, and the
/// elements are read when it is committed.
/// Errors: those of LoadPlan::make() and check_plan().
Result<std::unique_ptr<PreparedLoad>> prepare_host_load(std::span<const TensorLoad> loads, const Run& run);

/// Compares every checksum of `plan`, and reads nothing else.
Result<void> check_plan(const LoadPlan& plan, const Run& run);

/// Reads `plan` into memory of the process; `targets` has a span for each load. Compares no checksum.
Result<void> fill_host(const LoadPlan& plan, std::span<const std::span<std::byte>> targets, const Run& run);

}  // namespace netcl::ckpt
