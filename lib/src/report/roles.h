#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/inspect.h"

namespace netcl::ckpt {

/// What a part of a checkpoint is for, finer than a Group: strip-optimizer chooses among these. `trainer` is what the
/// training loop keeps for itself: Lightning's callbacks and loops.
enum class Role : std::uint8_t { model, optimizer, scheduler, scaler, rng, ema, trainer, other };

/// model and optimizer are themselves, the rest is Group::other.
Group group_of(Role role);

struct TensorRole {
  Role role = Role::model;
  std::string_view why;                 ///< the rule that gave it, as a clause: "a step of its name is 'optimizer'"
  std::optional<std::size_t> variable;  ///< index of the tensor whose slot or moving average this is
};

/// The role of each of `tensors`, by what lies beside it and by the steps of its name. `optimizer_patterns` are globs
/// over dotted names that decide before anything else.
std::vector<TensorRole> explain_roles(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                                      std::span<const std::string> optimizer_patterns = {});

/// The same without the reasons.
std::vector<Role> roles_of(const Checkpoint& checkpoint, std::span<const NamedTensor> tensors,
                           std::span<const std::string> optimizer_patterns = {});

/// What a value that holds no tensors is for, by its key and by what is in it; nothing for what is no part of training,
/// such as options. `value` lies directly in the checkpoint, or in a container that holds_parts().
std::optional<Role> role_of_value(const Tree& tree, std::string_view key, ValueId value);

/// Whether `value`, under `key`, holds a checkpoint's parts in its turn: a wrapper such as "checkpoint", or a dict that
/// has an optimizer in it.
bool holds_parts(const Tree& tree, std::string_view key, ValueId value);

}  // namespace netcl::ckpt
