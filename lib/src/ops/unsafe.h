#pragma once

#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// After parts of a checkpoint were dropped: removes the "unsafe-global" problems of globals that were
/// seen below `old_root` and are not below the root or the attributes any more. A global that never
/// was part of a value (called, then thrown away) stays a problem: where it belonged nobody can say.
void forgive_dropped(Checkpoint& checkpoint, ValueId old_root);

/// What the file holds beside its values, which no writer carries over: members that are no arrays, what follows a
/// pickle or stands before an archive.
std::vector<LeftOut> left_behind(const Checkpoint& checkpoint);

/// Takes values of unknown classes out of the checkpoint; of an object with tensors in it these stay. Nothing is done
/// where there are none.
/// Errors: those of rebuild().
Result<std::vector<LeftOut>> leave_out_opaque(Checkpoint& checkpoint, const Limits& limits);

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

/// Errors: unsafe, naming the first global that would have to be executed; `way_out` ends the message.
Result<void> refuse_unsafe(const Checkpoint& checkpoint, std::string_view way_out = "");

}  // namespace netcl::ckpt
