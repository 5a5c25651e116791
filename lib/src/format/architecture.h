#pragma once

#include <string_view>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// The tensor of a `.netcl` that holds the model's architecture: JSON as an array of text.
inline constexpr std::string_view kArchitecture = "__netcl_meta__";

/// A 0-d array of text, as np.array(text) makes it. `text` is well-formed UTF-8.
Tensor text_array(std::string_view text);

/// Puts the architecture where `target` keeps it. torch and safetensors have no arrays of text: there it is a
/// string in the array's place, and in the others it is the array again. What reading a `.netcl` made of it, an
/// attribute, goes: it would be there twice.
/// Errors: those of reading the array.
Result<void> place_architecture(Checkpoint& checkpoint, Format target);

}  // namespace netcl::ckpt
