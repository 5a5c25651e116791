#pragma once

#include <optional>

#include "netcl/ckpt/checkpoint.h"

namespace netcl::ckpt {

/// A NumPy scalar as the plain value that it stands for, added to `to`; bytes where there is none, None
/// where it cannot be read.
ValueId add_scalar_value(const Tensor& scalar, Tree& to);

/// The value of an integer, a real, or a 0-d array of one; nothing for anything else.
std::optional<double> number_of(const Tree& tree, ValueId id);

}  // namespace netcl::ckpt
