#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "netcl/ckpt/dtype.h"

namespace netcl::ckpt {

/// One little-endian element as Python would write it: "-0.0", "True", "(1+2j)", "'text'", "[3 ns]"; what
/// has no such form in hexadecimal, cut to a line. Not escaped for a terminal.
std::string element_text(const DType& dtype, std::span<const std::byte> element);

/// A number as Python's repr() writes a float: the shortest text that reads back as the same.
std::string real_text(double value);

}  // namespace netcl::ckpt
