#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/inspect.h"

namespace netcl::ckpt {

/// What a part of a checkpoint is for, finer than a Group: strip-optimizer chooses among these.
enum class Role : std::uint8_t { model, optimizer, scheduler, scaler, rng, ema, other };

/// model and ema are Group::model, optimizer is itself, the rest is Group::other.
Group group_of(Role role);

/// What a part that holds no tensors is for, by its own name: "scheduler", "checkpoint.rng_state". Nothing
/// for names further down, and for unknown ones.
std::optional<Role> role_of_part(std::string_view name);

/// The role of each of `tensors`, by the names on its path. `optimizer_patterns` are globs over dotted
/// names that decide before anything else.
std::vector<Role> roles_of(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                           std::span<const std::string> optimizer_patterns = {});

}  // namespace netcl::ckpt
