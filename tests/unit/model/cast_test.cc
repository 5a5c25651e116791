#include "model/cast.h"

#include <cmath>
#include <limits>

#include "catch.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

template <class To, class From>
std::vector<To> cast(const std::vector<From>& values, ScalarType from, ScalarType to,
                     std::uint64_t* overflows = nullptr) {
  auto count = std::make_shared<OverflowCount>(0);
  const Tensor t = cast_tensor(tensor_of(values, from), to, count);
  std::vector<To> out(values.size());
  auto reader = TensorReader::open(t);
  REQUIRE(reader);
  REQUIRE(reader->read(std::as_writable_bytes(std::span(out))));
  if (overflows != nullptr) *overflows = *count;
  return out;
}

/// The value of a float16 by its definition.
double value_of_half(std::uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace

TEST_CASE("cast: every float16 widens to its value and comes back", "[model]") {
  std::vector<std::uint16_t> all;
  for (unsigned h = 0; h < 65536; ++h) all.push_back(static_cast<std::uint16_t>(h));
  const auto wide = cast<double>(all, ScalarType::float16, ScalarType::float64);
  const auto single = cast<float>(all, ScalarType::float16, ScalarType::float32);
  for (unsigned h = 0; h < 65536; ++h) {
    if ((h & 0x7c00) == 0x7c00) {
      const bool nan = (h & 0x3ff) != 0;
      REQUIRE(std::isnan(wide[h]) == nan);
      REQUIRE(std::isinf(wide[h]) == !nan);
    } else {
      REQUIRE(wide[h] == value_of_half(static_cast<std::uint16_t>(h)));
    }
  }
  const auto back = cast<std::uint16_t>(single, ScalarType::float32, ScalarType::float16);
  for (unsigned h = 0; h < 65536; ++h) {
    if ((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0) {
      REQUIRE((back[h] & 0x7c00) == 0x7c00);
      REQUIRE((back[h] & 0x3ff) != 0);
    } else {
      REQUIRE(back[h] == h);
    }
  }
}

TEST_CASE("cast: float16 rounds to nearest, ties to even, once", "[model]") {
  // Halfway between neighbours, and a hair to either side: by way of float32 the hair would be lost.
  for (unsigned h = 0; h < 0x7bff; ++h) {
    const double low = value_of_half(static_cast<std::uint16_t>(h));
    const double high = value_of_half(static_cast<std::uint16_t>(h + 1));
    const double middle = low + (high - low) / 2;
    const auto even = static_cast<std::uint16_t>(h % 2 == 0 ? h : h + 1);
    const auto got = cast<std::uint16_t>(
        std::vector<double>{middle, std::nextafter(middle, 0.0), std::nextafter(middle, 1e9), -middle},
        ScalarType::float64, ScalarType::float16);
    REQUIRE(got == std::vector<std::uint16_t>{even, static_cast<std::uint16_t>(h), static_cast<std::uint16_t>(h + 1),
                                              static_cast<std::uint16_t>(even | 0x8000)});
    const auto single =
        cast<std::uint16_t>(std::vector<float>{static_cast<float>(middle)}, ScalarType::float32, ScalarType::float16);
    REQUIRE(single[0] == even);
  }
}

TEST_CASE("cast: overflow becomes Inf and is counted, Inf and NaN are not", "[model]") {
  const double inf = std::numeric_limits<double>::infinity();
  std::uint64_t overflows = 0;
  const auto half = cast<std::uint16_t>(std::vector<double>{65519.999, 65520, -1e300, inf, std::nan("")},
                                        ScalarType::float64, ScalarType::float16, &overflows);
  CHECK(half[0] == 0x7bff);
  CHECK(half[1] == 0x7c00);
  CHECK(half[2] == 0xfc00);
  CHECK(half[3] == 0x7c00);
  CHECK((half[4] & 0x7fff) > 0x7c00);
  CHECK(overflows == 2);
  cast<float>(std::vector<double>{1e39, -1e39, 1}, ScalarType::float64, ScalarType::float32, &overflows);
  CHECK(overflows == 2);
  const auto brain =
      cast<std::uint16_t>(std::vector<float>{3.4e38F, std::numeric_limits<float>::quiet_NaN(), 1.0F, 1.00390625F},
                          ScalarType::float32, ScalarType::bfloat16, &overflows);
  CHECK(brain[0] == 0x7f80);
  CHECK((brain[1] & 0x7fff) > 0x7f80);
  CHECK(brain[2] == 0x3f80);
  CHECK(brain[3] == 0x3f80);  // a tie, to even
  CHECK(overflows == 1);
}

TEST_CASE("cast: a reader may jump", "[model]") {
  std::vector<float> values(100000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Tensor t =
      cast_tensor(tensor_of(values, ScalarType::float32), ScalarType::float64, std::make_shared<OverflowCount>(0));
  auto reader = t.storage->open();
  REQUIRE(reader);
  for (std::size_t at : {50000, 3, 99999, 0}) {
    double d = -1;
    REQUIRE((*reader)->read(at * 8, std::as_writable_bytes(std::span(&d, 1))));
    CHECK(d == static_cast<double>(at));
  }
}
