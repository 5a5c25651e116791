#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// A NumPy type string ("<f4", "|S5", ">M8[25us]", "|O") or an ml_dtypes name ("bfloat16").
/// Errors: corrupt where NumPy would refuse it.
Result<DType> parse_type_string(std::string_view text);

/// Item size and field offsets of a packed structured dtype from its fields' dtypes and shapes.
/// Errors: corrupt where a size overflows; limit_exceeded beyond max_dtype_depth.
Result<DType> make_structured(std::vector<Field> fields, std::uint32_t max_depth);

/// True for a type that NumPy itself has; the others (bfloat16, complex32, float8 …) are ml_dtypes', which calls
/// them as we do, and in an npy look like raw bytes, bfloat16 excepted.
bool known_to_numpy(ScalarType type);

/// True where an element is, or holds, an object reference: the payload is then a pickle.
bool has_object(const DType& dtype);

/// Reverses, in place, each number in `items` (whole items of `dtype`) that is big-endian.
void to_little_endian(const DType& dtype, std::span<std::byte> items);

/// The same type with every number little-endian.
DType little_endian(const DType& dtype);

/// `text` as Python's repr() writes a str: quotes chosen, controls escaped.
std::string python_repr(std::string_view text);

}  // namespace netcl::ckpt
