// Elements as text, for reports.
#include "model/element_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/endian.h"
#include "base/text.h"
#include "model/dtype.h"
#include "model/numbers.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kMaxShownBytes = 32;
constexpr std::size_t kMaxShownCharacters = 200;

template <class Real>
std::string shortest(Real value) {
  if (std::isnan(value)) return "nan";
  std::string text = fmt::format("{}", value);
  if (std::isfinite(value) && text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

std::string real_element(ScalarType type, const std::byte* p) {
  switch (type) {
    case ScalarType::float64: return shortest(load_le<double>(p));
    case ScalarType::longdouble: return shortest(Extended(p).value());
    default: {
      double value;
      load_reals(type, p, 1, &value);
      return shortest(static_cast<float>(value));
    }
  }
}

std::string hexadecimal(std::span<const std::byte> bytes) {
  std::string out = "0x";
  for (const std::byte b : bytes.first(std::min(bytes.size(), kMaxShownBytes))) {
    out += fmt::format("{:02x}", static_cast<unsigned>(b));
  }
  return bytes.size() > kMaxShownBytes ? out + "…" : out;
}

}  // namespace

std::string real_text(double value) { return shortest(value); }

std::string element_text(const DType& dtype, std::span<const std::byte> element) {
  const std::byte* p = element.data();
  switch (dtype.type) {
    case ScalarType::boolean: return *p != std::byte{0} ? "True" : "False";
    case ScalarType::int8: return fmt::format("{}", load_le<std::int8_t>(p));
    case ScalarType::int16: return fmt::format("{}", load_le<std::int16_t>(p));
    case ScalarType::int32: return fmt::format("{}", load_le<std::int32_t>(p));
    case ScalarType::int64: return fmt::format("{}", load_le<std::int64_t>(p));
    case ScalarType::uint8: return fmt::format("{}", load_le<std::uint8_t>(p));
    case ScalarType::uint16: return fmt::format("{}", load_le<std::uint16_t>(p));
    case ScalarType::uint32: return fmt::format("{}", load_le<std::uint32_t>(p));
    case ScalarType::uint64: return fmt::format("{}", load_le<std::uint64_t>(p));
    case ScalarType::datetime64:
    case ScalarType::timedelta64: return fmt::format("[{} {}]", load_le<std::int64_t>(p), dtype.unit);
    case ScalarType::bytes: {
      std::string text(reinterpret_cast<const char*>(p), std::min(element.size(), kMaxShownCharacters));
      while (text.ends_with('\0')) text.pop_back();
      return fmt::format("b{}", python_repr(text));
    }
    case ScalarType::unicode:
      return python_repr(ucs4_to_utf8(element.first(std::min(element.size(), 4 * kMaxShownCharacters))));
    default: break;
  }
  if (is_complex(dtype.type)) {
    const ScalarType part = part_of(dtype.type);
    const std::string imaginary = real_element(part, p + element.size() / 2);
    return fmt::format("({}{}{}j)", real_element(part, p), imaginary.starts_with('-') ? "" : "+", imaginary);
  }
  return is_number(dtype.type) ? real_element(dtype.type, p) : hexadecimal(element);
}

}  // namespace netcl::ckpt
