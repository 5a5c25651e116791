// NumPy scalars and 0-d arrays as the numbers and texts that they stand for.
#include "model/scalar.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/endian.h"
#include "base/text.h"
#include "model/element_text.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 20;

double half_to_double(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const double mantissa = bits & 0x3ff;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0x1f) return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25));
}

}  // namespace

ValueId add_scalar_value(const Tensor& scalar, Tree& to) {
  if (!scalar.storage || scalar.size_bytes() > kMaxBytes) return to.add_string("…");
  std::vector<std::byte> bytes(scalar.size_bytes());
  auto reader = TensorReader::open(scalar);
  if (!reader || !reader->read(bytes) || bytes.empty()) return to.add_none();
  const std::byte* p = bytes.data();
  const std::string_view text(reinterpret_cast<const char*>(p), bytes.size());
  switch (scalar.dtype.type) {
    case ScalarType::boolean: return to.add_boolean(*p != std::byte{0});
    case ScalarType::int8: return to.add_integer(load_le<std::int8_t>(p));
    case ScalarType::int16: return to.add_integer(load_le<std::int16_t>(p));
    case ScalarType::int32: return to.add_integer(load_le<std::int32_t>(p));
    case ScalarType::int64: return to.add_integer(load_le<std::int64_t>(p));
    case ScalarType::uint8: return to.add_integer(load_le<std::uint8_t>(p));
    case ScalarType::uint16: return to.add_integer(load_le<std::uint16_t>(p));
    case ScalarType::uint32: return to.add_integer(load_le<std::uint32_t>(p));
    case ScalarType::uint64: return to.add_big_integer(std::to_string(load_le<std::uint64_t>(p)));
    case ScalarType::float16: return to.add_real(half_to_double(load_le<std::uint16_t>(p)));
    case ScalarType::bfloat16: {
      return to.add_real(std::bit_cast<float>(std::uint32_t{load_le<std::uint16_t>(p)} << 16));
    }
    case ScalarType::float32: return to.add_real(std::bit_cast<float>(load_le<std::uint32_t>(p)));
    case ScalarType::float64: return to.add_real(std::bit_cast<double>(load_le<std::uint64_t>(p)));
    case ScalarType::unicode: return to.add_string(ucs4_to_utf8(bytes));
    case ScalarType::complex64:
      return to.add_complex(std::bit_cast<float>(load_le<std::uint32_t>(p)),
                            std::bit_cast<float>(load_le<std::uint32_t>(p + 4)));
    case ScalarType::complex128:
      return to.add_complex(std::bit_cast<double>(load_le<std::uint64_t>(p)),
                            std::bit_cast<double>(load_le<std::uint64_t>(p + 8)));
    case ScalarType::longdouble:
    case ScalarType::clongdouble:
    case ScalarType::datetime64:
    case ScalarType::timedelta64: return to.add_string(element_text(scalar.dtype, bytes));
    default: return to.add_bytes(text);
  }
}

std::optional<double> number_of(const Tree& tree, ValueId id) {
  switch (tree.kind(id)) {
    case ValueKind::integer: return static_cast<double>(tree.integer(id));
    case ValueKind::real: return tree.real(id);
    case ValueKind::scalar:
    case ValueKind::tensor: {
      const Tensor& tensor = tree.tensor(id);
      const bool number = tensor.dtype.type > ScalarType::boolean && tensor.dtype.type <= ScalarType::float64;
      if (!tensor.shape.empty() || !number) return std::nullopt;
      Tree values;
      const ValueId value = add_scalar_value(tensor, values);
      if (values.kind(value) == ValueKind::big_integer) return std::stod(std::string(values.text(value)));
      return number_of(values, value);
    }
    default: return std::nullopt;
  }
}

}  // namespace netcl::ckpt
