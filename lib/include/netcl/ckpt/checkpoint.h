#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/storage.h"
#include "netcl/ckpt/tree.h"

namespace netcl::ckpt {

enum class Format : std::uint8_t { npz, npy, npy_folder, netcl, pickle, torch, torch_legacy, safetensors, flax };

/// "npz", "npy", "npy-folder", "netcl", "pickle", "torch", "torch-legacy", "safetensors", "flax". Lifetime: static
/// storage.
NETCL_CKPT_EXPORT const char* to_string(Format format);

/// A stored part of a container, tensor or not: each is read through, and its CRC compared, by verify.
struct Member {
  std::string name;
  StoragePtr storage;
};

/// An opened checkpoint. Reading it has touched no payload.
/// Lifetime: keeps the file open; independent of the reader that made it.
/// Threads: const access from many.
struct NETCL_CKPT_EXPORT Checkpoint {
  Format format = Format::npz;
  std::string path;
  std::uint64_t file_bytes = 0;
  Tree tree;
  /// The state: for flat formats a dict from tensor name to tensor, for npy the array itself, for a
  /// pickle whatever it holds.
  ValueId root = 0;
  /// A dict of what lies beside the tensors: netcl's sidecar (`config`, `optim_state`), `.netcl`'s
  /// architecture, safetensors' `__metadata__`.
  ValueId attributes = 0;
  /// Whether the file says itself what its attributes are, none perhaps: then no sidecar has a say.
  bool attributes_inside = false;
  /// What verify reads through; filled if OpenOptions::thorough asks for it.
  std::vector<Member> members;
  Problems problems;

  /// The tensor, or NumPy scalar, of this dotted name, as list_tensors() gives it ("model.fc.weight"); of several the
  /// first, null if there is none. Takes time in proportion to the containers on the way: whoever wants thousands
  /// lists them once.
  /// Lifetime: until the checkpoint changes.
  const Tensor* find(std::string_view name) const;
  /// The value of any kind of this dotted name, likewise ("epoch").
  std::optional<ValueId> find_value(std::string_view name) const;
};

/// One step from a container to an element.
struct PathStep {
  enum class Kind : std::uint8_t { key, index } kind = Kind::key;
  std::uint32_t value = 0;  ///< key: ValueId of the key; index: position in the list or tuple
  bool operator==(const PathStep&) const = default;
};

/// A tensor under its dotted name ("optimizer.moments.0.1"; "" for a lone array).
struct NamedTensor {
  std::string name;
  std::vector<PathStep> path;  ///< from the root; keeps what the dotted name loses
  ValueId value = 0;
};

/// All tensors, in file order. A container reached by two paths is listed under both; one that
/// contains itself is entered once. Linear in what is listed: subtrees without tensors are not walked.
/// Errors: limit_exceeded if sharing would produce more than max_names or max_name_bytes; invalid_argument for a
/// checkpoint without a root, or a tensor whose strides do not fit its shape.
NETCL_CKPT_EXPORT Result<std::vector<NamedTensor>> list_tensors(const Checkpoint& checkpoint,
                                                                const Limits& limits = {});

}  // namespace netcl::ckpt
