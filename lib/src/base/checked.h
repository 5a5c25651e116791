#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>

// Arithmetic on numbers that come from a file. The one idiom of this tree: an optional that is
// empty where the true result does not fit.

namespace netcl::ckpt {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// The number of elements times `item_bytes`. A zero anywhere gives 0 only where the product of the
/// other factors fits: NumPy and safetensors refuse [2**63, 2**63, 0] too.
inline std::optional<std::uint64_t> checked_product(std::span<const std::uint64_t> shape, std::uint64_t item_bytes) {
  std::uint64_t product = item_bytes == 0 ? 1 : item_bytes;
  bool zero = item_bytes == 0;
  for (std::uint64_t d : shape) {
    if (d == 0) {
      zero = true;
      continue;
    }
    auto next = checked_mul(product, d);
    if (!next || *next > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    product = *next;
  }
  return zero ? 0 : product;
}

}  // namespace netcl::ckpt
