#pragma once

#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// After parts of a checkpoint were dropped: removes the unsafe_global problems of globals that were
/// seen below `old_root` and are not below the root or the attributes any more. A global that never
/// was part of a value (called, then thrown away) stays a problem: where it belonged nobody can say.
void remove_dropped_problems(Checkpoint& checkpoint, ValueId old_root);

/// What the file holds beside its values, which no writer carries over: members that are no arrays, what follows a
/// pickle or stands before an archive.
std::vector<LeftOut> left_behind(const Checkpoint& checkpoint);

/// Takes values of unknown classes out of the checkpoint; of an object with tensors in it these stay. Nothing is done
/// where there are none.
/// Errors: those of rebuild().
Result<std::vector<LeftOut>> leave_out_opaque(Checkpoint& checkpoint, const Limits& limits);

}  // namespace netcl::ckpt
