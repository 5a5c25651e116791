// The values of numbers as wider types that hold each of them. The loops are plain and branch-free, so that
// the compiler vectorises them; F16C is not assumed.
#include "model/numbers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/endian.h"
#include "base/vector_clones.h"

namespace netcl::ckpt {
namespace {

/// Branch-free, so that it vectorises; no arithmetic on subnormals, which is slow.
inline float widen_float16(std::uint16_t h) {
  constexpr std::uint32_t kExponent = 0x7c00U << 13;
  constexpr float kSmallestNormal = 0x1p-14f;
  const std::uint32_t shifted = (h & 0x7fffU) << 13;
  const std::uint32_t exponent = shifted & kExponent;
  const std::uint32_t rebased = shifted + ((127U - 15U) << 23);
  const std::uint32_t special = rebased + ((128U - 16U) << 23);
  const float subnormal = std::bit_cast<float>(rebased + (1U << 23)) - kSmallestNormal;
  const std::uint32_t magnitude = exponent == kExponent ? special
                                  : exponent == 0       ? std::bit_cast<std::uint32_t>(subnormal)
                                                        : rebased;
  return std::bit_cast<float>(magnitude | std::uint32_t{h & 0x8000U} << 16);
}

CKPT_VECTOR_CLONES void widen_float16(const std::byte* from, std::size_t n, float* to) {
  for (std::size_t i = 0; i < n; ++i) to[i] = widen_float16(load_le<std::uint16_t>(from + 2 * i));
}

CKPT_VECTOR_CLONES void widen_bfloat16(const std::byte* from, std::size_t n, float* to) {
  for (std::size_t i = 0; i < n; ++i) {
    to[i] = std::bit_cast<float>(std::uint32_t{load_le<std::uint16_t>(from + 2 * i)} << 16);
  }
}

/// The 256 values of an 8-bit float, after the OCP specification and ml_dtypes.
std::array<float, 256> make_float8_values(ScalarType type) {
  std::array<float, 256> table{};
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  if (type == ScalarType::float8_e8m0fnu) {
    for (int code = 0; code < 256; ++code) table[code] = code == 255 ? kNan : std::ldexp(1.0f, code - 127);
    return table;
  }
  const bool e4m3 = type == ScalarType::float8_e4m3fn || type == ScalarType::float8_e4m3fnuz;
  const bool unsigned_zero = type == ScalarType::float8_e4m3fnuz || type == ScalarType::float8_e5m2fnuz;
  const int mantissa_bits = e4m3 ? 3 : 2;
  const int bias = (e4m3 ? 7 : 15) + (unsigned_zero ? 1 : 0);
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code & 0x7f) >> mantissa_bits;
    const int mantissa = code & ((1 << mantissa_bits) - 1);
    const int implied = exponent == 0 ? 0 : 1 << mantissa_bits;
    float value = std::ldexp(static_cast<float>(implied + mantissa), std::max(exponent, 1) - bias - mantissa_bits);
    if (type == ScalarType::float8_e4m3fn && (code & 0x7f) == 0x7f) value = kNan;
    if (type == ScalarType::float8_e5m2 && exponent == 31) value = mantissa == 0 ? kInf : kNan;
    table[code] = (code & 0x80) != 0 ? -value : value;
  }
  if (unsigned_zero) table[0x80] = kNan;
  return table;
}

template <class T, class Real>
void load_as(const std::byte* from, std::size_t n, Real* to) {
  for (std::size_t i = 0; i < n; ++i) {
    T v;
    std::memcpy(&v, from + i * sizeof v, sizeof v);
    to[i] = static_cast<Real>(v);
  }
}

}  // namespace

bool is_complex(ScalarType type) {
  return type == ScalarType::complex32 || type == ScalarType::complex64 || type == ScalarType::complex128 ||
         type == ScalarType::clongdouble;
}

ScalarType part_of(ScalarType type) {
  switch (type) {
    case ScalarType::complex32: return ScalarType::float16;
    case ScalarType::complex64: return ScalarType::float32;
    case ScalarType::complex128: return ScalarType::float64;
    case ScalarType::clongdouble: return ScalarType::longdouble;
    default: return type;
  }
}

Extended::Extended(const std::byte* p)
    : mantissa(load_le<std::uint64_t>(p)),
      exponent(load_le<std::uint16_t>(p + 8) & 0x7fffU),
      negative((load_le<std::uint16_t>(p + 8) & 0x8000U) != 0) {}

long double Extended::value() const {
  if (is_nan()) return std::numeric_limits<long double>::quiet_NaN();
  const long double magnitude =
      is_finite() ? std::ldexp(static_cast<long double>(mantissa), std::max<int>(exponent, 1) - 16383 - 63)
                  : std::numeric_limits<long double>::infinity();
  return negative ? -magnitude : magnitude;
}

std::span<const float, 256> float8_values(ScalarType type) {
  static const auto kE4m3fn = make_float8_values(ScalarType::float8_e4m3fn);
  static const auto kE5m2 = make_float8_values(ScalarType::float8_e5m2);
  static const auto kE4m3fnuz = make_float8_values(ScalarType::float8_e4m3fnuz);
  static const auto kE5m2fnuz = make_float8_values(ScalarType::float8_e5m2fnuz);
  static const auto kE8m0fnu = make_float8_values(ScalarType::float8_e8m0fnu);
  switch (type) {
    case ScalarType::float8_e4m3fn: return kE4m3fn;
    case ScalarType::float8_e5m2: return kE5m2;
    case ScalarType::float8_e4m3fnuz: return kE4m3fnuz;
    case ScalarType::float8_e5m2fnuz: return kE5m2fnuz;
    default: return kE8m0fnu;
  }
}

bool is_narrow_float(ScalarType type) {
  switch (type) {
    case ScalarType::float16:
    case ScalarType::bfloat16:
    case ScalarType::float8_e4m3fn:
    case ScalarType::float8_e5m2:
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz:
    case ScalarType::float8_e8m0fnu: return true;
    default: return false;
  }
}

void widen_to_float(ScalarType type, std::span<const std::byte> from, float* to) {
  if (type == ScalarType::float16) return widen_float16(from.data(), from.size() / 2, to);
  if (type == ScalarType::bfloat16) return widen_bfloat16(from.data(), from.size() / 2, to);
  const auto table = float8_values(type);
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = table[static_cast<std::uint8_t>(from[i])];
}

template <class Real>
void load_reals(ScalarType type, const std::byte* from, std::size_t n, Real* to) {
  switch (type) {
    case ScalarType::boolean:
      for (std::size_t i = 0; i < n; ++i) to[i] = from[i] != std::byte{0} ? 1 : 0;
      return;
    case ScalarType::int8: return load_as<std::int8_t>(from, n, to);
    case ScalarType::int16: return load_as<std::int16_t>(from, n, to);
    case ScalarType::int32: return load_as<std::int32_t>(from, n, to);
    case ScalarType::int64: return load_as<std::int64_t>(from, n, to);
    case ScalarType::uint8: return load_as<std::uint8_t>(from, n, to);
    case ScalarType::uint16: return load_as<std::uint16_t>(from, n, to);
    case ScalarType::uint32: return load_as<std::uint32_t>(from, n, to);
    case ScalarType::uint64: return load_as<std::uint64_t>(from, n, to);
    case ScalarType::float32: return load_as<float>(from, n, to);
    case ScalarType::float64: return load_as<double>(from, n, to);
    case ScalarType::longdouble:
      for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<Real>(Extended(from + 16 * i).value());
      return;
    default: {
      constexpr std::size_t kRun = 512;
      float narrow[kRun];
      const std::size_t item = type == ScalarType::float16 || type == ScalarType::bfloat16 ? 2 : 1;
      for (std::size_t at = 0; at < n; at += kRun) {
        const std::size_t count = std::min(kRun, n - at);
        widen_to_float(type, {from + at * item, count * item}, narrow);
        for (std::size_t i = 0; i < count; ++i) to[at + i] = static_cast<Real>(narrow[i]);
      }
    }
  }
}

template void load_reals(ScalarType, const std::byte*, std::size_t, double*);
template void load_reals(ScalarType, const std::byte*, std::size_t, long double*);

}  // namespace netcl::ckpt
