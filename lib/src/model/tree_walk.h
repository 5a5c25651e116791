#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"

namespace netcl::ckpt {

/// Children of a container or opaque: the items, or a dict's values (not its keys).
std::size_t num_children(const Tree& tree, ValueId id);
ValueId child(const Tree& tree, ValueId id, std::size_t index);

/// Errors: invalid_argument where the tree lacks its root or attributes: a checkpoint that was default-constructed,
/// or moved from.
Result<void> check_roots(const Checkpoint& checkpoint);

/// For each value below `root`: is it, or does it lead to, a tensor? Linear, whatever is shared.
std::vector<bool> contains_tensor(const Tree& tree, ValueId root);

/// How many names a walk may give: each value has one, and sharing may add some more.
inline std::uint64_t max_names_of(const Tree& tree, const Limits& limits) {
  constexpr std::uint64_t kSharedNames = 200'000;
  return std::min<std::uint64_t>(limits.max_names, tree.size() + kSharedNames);
}

/// A dict key as one step of a dotted name.
std::string key_text(const Tree& tree, ValueId key);

}  // namespace netcl::ckpt
