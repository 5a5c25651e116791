#pragma once

#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// A tensor that is in the file and cannot be read.
struct Unreadable {
  std::string name;
  std::string why;
};

/// Members that should be arrays and are in no list of tensors.
std::vector<Unreadable> unreadable_members(const Checkpoint& checkpoint);

/// Why a tensor that is listed has no data, or "". An object array has none and is not one of these.
std::string why_unreadable(const Tensor& tensor);

/// Tensors that are listed without data.
Result<std::vector<Unreadable>> unreadable_tensors(const Checkpoint& checkpoint, const Limits& limits);

/// Errors: unsupported, naming them all, where there is one.
Result<void> refuse_unreadable(const std::vector<Unreadable>& tensors);

}  // namespace netcl::ckpt
