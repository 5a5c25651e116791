#pragma once

#include <complex>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

/// The element types of NumPy, ml_dtypes and torch that have a fixed size, and object references.
enum class ScalarType : std::uint8_t {
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64,
  longdouble,  ///< x87 80-bit, padded to 16 bytes: NumPy's "float128"
  complex64,
  complex128,
  clongdouble,
  complex32,  ///< torch's pair of float16
  float8_e4m3fn,
  float8_e5m2,
  float8_e4m3fnuz,
  float8_e5m2fnuz,
  float8_e8m0fnu,
  float8_e3m4,
  float8_e4m3,
  float8_e4m3b11fnuz,
  float6_e2m3fn,  ///< ml_dtypes keeps its types of fewer bits in a byte each
  float6_e3m2fn,
  float4_e2m1fn,
  int4,
  uint4,
  int2,
  uint2,
  float4_e2m1fn_x2,  ///< torch's: two of them in a byte, as one element
  datetime64,
  timedelta64,
  bytes,       ///< NumPy S: zero-padded bytes
  unicode,     ///< NumPy U: zero-padded UCS-4
  raw,         ///< NumPy V without fields
  structured,  ///< NumPy V with fields
  object,      ///< NumPy O: the payload is a pickle
};

struct Field;

/// The type of one array element.
///
///   descr "<f4"    -> {float32, 4 bytes, little-endian}      name() "float32"
///   descr ">M8[s]" -> {datetime64, 8 bytes, big-endian, "s"} name() "datetime64[s]"
///   descr "<U3"    -> {unicode, 12 bytes}                    name() "str96"
///   descr "<V2"    -> {bfloat16, 2 bytes}: what ml_dtypes writes; "|V2" is raw
struct NETCL_CKPT_EXPORT DType {
  ScalarType type = ScalarType::raw;
  bool big_endian = false;
  std::uint64_t item_bytes = 0;
  std::string unit;                                  ///< datetime64, timedelta64: "ns", "25us", "" generic
  std::shared_ptr<const std::vector<Field>> fields;  ///< structured only

  /// NumPy's dtype.name; for a structured type the text of its field list.
  std::string name() const;
  /// NumPy's dtype.str ("<f4") or, for a structured type, the field list as in an npy header.
  std::string descr() const;

  bool operator==(const DType& other) const;
};

/// A member of a structured dtype.
struct Field {
  std::string name;   ///< "" for padding
  std::string title;  ///< NumPy's second name; "" if there is none
  DType dtype;
  std::uint64_t offset_bytes = 0;
  std::vector<std::uint64_t> shape;  ///< of a sub-array; empty for one element
  bool operator==(const Field& other) const = default;
};

/// The little-endian dtype of a plain scalar type; `type` is none of datetime64, timedelta64, bytes,
/// unicode, raw, structured.
NETCL_CKPT_EXPORT DType make_dtype(ScalarType type);

namespace detail {

template <class T>
constexpr bool is_character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                              std::same_as<T, char16_t> || std::same_as<T, char32_t>;

template <class T>
constexpr std::optional<ScalarType> scalar_type() {
  if constexpr (std::same_as<T, bool>) {
    return ScalarType::boolean;
  } else if constexpr (std::integral<T> && !is_character<T> && sizeof(T) <= 8) {
    constexpr bool is_signed = std::signed_integral<T>;
    if (sizeof(T) == 1) return is_signed ? ScalarType::int8 : ScalarType::uint8;
    if (sizeof(T) == 2) return is_signed ? ScalarType::int16 : ScalarType::uint16;
    if (sizeof(T) == 4) return is_signed ? ScalarType::int32 : ScalarType::uint32;
    return is_signed ? ScalarType::int64 : ScalarType::uint64;
  } else if constexpr (std::same_as<T, float>) {
    return ScalarType::float32;
  } else if constexpr (std::same_as<T, double>) {
    return ScalarType::float64;
  } else if constexpr (std::same_as<T, std::complex<float>>) {
    return ScalarType::complex64;
  } else if constexpr (std::same_as<T, std::complex<double>>) {
    return ScalarType::complex128;
  }
  return std::nullopt;
}

}  // namespace detail

/// A C++ type that arrays have as elements: bool, the integers but characters, float, double and their complex numbers.
template <class T>
concept Element = detail::scalar_type<T>()
.has_value();

/// Its scalar type: kScalarType<float> is ScalarType::float32.
template <Element T>
inline constexpr ScalarType kScalarType = *detail::scalar_type<T>();

}  // namespace netcl::ckpt
