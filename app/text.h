#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace netcl::ckpt::app {

/// "13.4 MB"
std::string bytes_text(std::uint64_t bytes);

/// "1,234,567"
std::string grouped(std::uint64_t n);

/// "(2, 3)"
std::string shape_text(const std::vector<std::uint64_t>& shape);

/// "1 tensor", "2,000 tensors"
std::string plural(std::uint64_t n, const char* noun);

/// The start of an escaped text, at most `columns` wide.
std::string shortened(std::string_view text, std::size_t columns);

}  // namespace netcl::ckpt::app
