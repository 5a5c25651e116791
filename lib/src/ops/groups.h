#pragma once

#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/inspect.h"

namespace netcl::ckpt {

/// What a part of a checkpoint is for, finer than a Group: strip-optimizer chooses among these.
enum class Role : std::uint8_t { model, optimizer, scheduler, scaler, rng, ema, other };

/// model and ema are Group::model, optimizer is itself, the rest is Group::other.
Group group_of(Role role);

/// The role of each of `tensors`, by the names on its path. `optimizer_patterns` are globs over dotted
/// names that decide before anything else.
std::vector<Role> roles_of(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                           std::span<const std::string> optimizer_patterns = {});

}  // namespace netcl::ckpt
