#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "netcl/ckpt/dtype.h"

namespace netcl::ckpt {

/// Booleans, integers, floats and complex numbers; no dates.
inline bool is_number(ScalarType type) { return type <= ScalarType::float8_e8m0fnu; }

bool is_complex(ScalarType type);

/// The type of a complex number's two parts; any other type itself.
ScalarType part_of(ScalarType type);

/// x87's 80 bits, wherever this runs: 64 of mantissa with its leading one, 15 of exponent, the sign.
struct Extended {
  explicit Extended(const std::byte* p);  ///< 10 bytes
  bool is_finite() const { return exponent != 0x7fff; }
  bool is_nan() const { return !is_finite() && mantissa << 1 != 0; }
  long double value() const;

  std::uint64_t mantissa;
  std::uint32_t exponent;
  bool negative;
};

/// True for the floats of 8 and 16 bits.
bool is_narrow_float(ScalarType type);

/// The value of each of the 256 codes of an 8-bit float. Lifetime: static storage.
std::span<const float, 256> float8_values(ScalarType type);

/// The value of each of `from`, little-endian elements of a narrow type, into `to`.
void widen_to_float(ScalarType type, std::span<const std::byte> from, float* to);

/// The value of each of `n` little-endian real numbers. `Real` is double or long double; the first does
/// not hold every 64-bit integer and long double.
template <class Real>
void load_reals(ScalarType type, const std::byte* from, std::size_t n, Real* to);

}  // namespace netcl::ckpt
