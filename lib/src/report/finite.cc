// NaN and Inf, by the bits of each type.
#include "report/finite.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>

#include "base/buffer.h"
#include "base/endian.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 20;

/// Counts by exponent bits: all ones is Inf where the mantissa is zero, else NaN.
template <class Word>
void count_words(std::span<const std::byte> bytes, Word exponent, Word mantissa, NotFinite& count) {
  for (std::size_t i = 0; i + sizeof(Word) <= bytes.size(); i += sizeof(Word)) {
    const Word w = load_le<Word>(bytes.data() + i);
    const bool special = (w & exponent) == exponent;
    count.nan += special && (w & mantissa) != 0;
    count.inf += special && (w & mantissa) == 0;
  }
}

/// x87: the integer bit is explicit, the fraction lies below it.
void count_longdoubles(std::span<const std::byte> bytes, NotFinite& count) {
  for (std::size_t i = 0; i + 16 <= bytes.size(); i += 16) {
    if ((load_le<std::uint16_t>(bytes.data() + i + 8) & 0x7fff) != 0x7fff) continue;
    const bool nan = (load_le<std::uint64_t>(bytes.data() + i) << 1) != 0;
    count.nan += nan;
    count.inf += !nan;
  }
}

/// The one-byte floats have few special codes; 1 marks NaN, 2 Inf.
void count_float8(ScalarType type, std::span<const std::byte> bytes, NotFinite& count) {
  std::array<std::uint8_t, 256> kinds{};
  switch (type) {
    case ScalarType::float8_e4m3fn: kinds[0x7f] = kinds[0xff] = 1; break;
    case ScalarType::float8_e5m2:
      kinds[0x7c] = kinds[0xfc] = 2;
      for (std::size_t m = 1; m < 4; ++m) kinds[0x7c + m] = kinds[0xfc + m] = 1;
      break;
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz: kinds[0x80] = 1; break;
    default: kinds[0xff] = 1; break;  // float8_e8m0fnu
  }
  for (std::byte b : bytes) {
    count.nan += kinds[static_cast<std::uint8_t>(b)] == 1;
    count.inf += kinds[static_cast<std::uint8_t>(b)] == 2;
  }
}

/// False for a type that has neither NaN nor Inf.
bool count_not_finite(ScalarType type, std::span<const std::byte> bytes, NotFinite& count) {
  switch (type) {
    case ScalarType::float16:
    case ScalarType::complex32: count_words<std::uint16_t>(bytes, 0x7c00, 0x03ff, count); return true;
    case ScalarType::bfloat16: count_words<std::uint16_t>(bytes, 0x7f80, 0x007f, count); return true;
    case ScalarType::float32:
    case ScalarType::complex64: count_words<std::uint32_t>(bytes, 0x7f800000, 0x007fffff, count); return true;
    case ScalarType::float64:
    case ScalarType::complex128:
      count_words<std::uint64_t>(bytes, 0x7ff0000000000000, 0x000fffffffffffff, count);
      return true;
    case ScalarType::longdouble:
    case ScalarType::clongdouble: count_longdoubles(bytes, count); return true;
    case ScalarType::float8_e4m3fn:
    case ScalarType::float8_e5m2:
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz:
    case ScalarType::float8_e8m0fnu: count_float8(type, bytes, count); return true;
    default: return false;
  }
}

}  // namespace

bool has_not_finite_codes(ScalarType type) {
  NotFinite none;
  return count_not_finite(type, {}, none);
}

Result<NotFinite> scan_finite(const Tensor& tensor) {
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  const auto block = thread_buffer(kBlockBytes / tensor.dtype.item_bytes * tensor.dtype.item_bytes);
  NotFinite count;
  while (reader.remaining_bytes() > 0) {
    const auto part = block.first(std::min<std::uint64_t>(block.size(), reader.remaining_bytes()));
    CKPT_CHECK(reader.read(part));
    count_not_finite(tensor.dtype.type, part, count);
  }
  return count;
}

}  // namespace netcl::ckpt
