#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace netcl::ckpt {

/// Magic, version and header of an npy file, padded so that the payload begins at a multiple of 64.
/// `descr`: the Python literal, quotes included ("'<f4'", "[('a', '<i4')]"), UTF-8.
std::string npy_header(std::string_view descr, bool fortran_order, std::span<const std::uint64_t> shape);

}  // namespace netcl::ckpt
