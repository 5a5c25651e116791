#include "report/stats.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "catch.h"

namespace netcl::ckpt {
namespace {

template <class T>
TensorStats stats_of(const std::vector<T>& values, ScalarType type) {
  StatsPart part(make_dtype(type), 0, values.size());
  part.add(std::as_bytes(std::span(values)));
  return part.finish();
}

/// The definition, element by element.
template <class T>
TensorStats plain_stats(const std::vector<T>& values) {
  TensorStats out;
  std::vector<long double> finite;
  for (T v : values) {
    if (v != v) {
      ++out.nan;
    } else if (std::isinf(static_cast<long double>(v))) {
      ++out.inf;
    } else {
      finite.push_back(static_cast<long double>(v));
      out.zeros += v == 0;
    }
  }
  if (finite.empty()) return out;
  long double sum = 0, squares = 0;
  for (long double v : finite) sum += v;
  const long double mean = sum / static_cast<long double>(finite.size());
  for (long double v : finite) squares += (v - mean) * (v - mean);
  out.min = *std::min_element(finite.begin(), finite.end());
  out.max = *std::max_element(finite.begin(), finite.end());
  out.mean = static_cast<double>(mean);
  out.std = static_cast<double>(std::sqrt(squares / static_cast<long double>(finite.size())));
  return out;
}

void check_same(const TensorStats& a, const TensorStats& b) {
  const auto near = [](double x, double y) {
    return (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= 1e-9 * std::max(1.0, std::abs(y));
  };
  CHECK((a.min == b.min || (std::isnan(a.min) && std::isnan(b.min))));
  CHECK((a.max == b.max || (std::isnan(a.max) && std::isnan(b.max))));
  CHECK(near(a.mean, b.mean));
  CHECK(near(a.std, b.std));
  CHECK(a.zeros == b.zeros);
  CHECK(a.nan == b.nan);
  CHECK(a.inf == b.inf);
}

template <class T>
constexpr ScalarType kTypeOf = ScalarType::boolean;
template <>
constexpr ScalarType kTypeOf<std::int8_t> = ScalarType::int8;
template <>
constexpr ScalarType kTypeOf<std::int16_t> = ScalarType::int16;
template <>
constexpr ScalarType kTypeOf<std::int32_t> = ScalarType::int32;
template <>
constexpr ScalarType kTypeOf<std::int64_t> = ScalarType::int64;
template <>
constexpr ScalarType kTypeOf<std::uint8_t> = ScalarType::uint8;
template <>
constexpr ScalarType kTypeOf<std::uint16_t> = ScalarType::uint16;
template <>
constexpr ScalarType kTypeOf<std::uint32_t> = ScalarType::uint32;
template <>
constexpr ScalarType kTypeOf<std::uint64_t> = ScalarType::uint64;
template <>
constexpr ScalarType kTypeOf<float> = ScalarType::float32;
template <>
constexpr ScalarType kTypeOf<double> = ScalarType::float64;

}  // namespace

TEMPLATE_TEST_CASE("stats: agree with the definition at every length", "[report]", std::int8_t, std::int16_t,
                   std::int32_t, std::uint8_t, std::uint16_t, std::uint32_t, float, double) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> small(std::is_signed_v<TestType> ? -100 : 0, 100);
  for (const std::size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 1000, 1016, 1017, 1024, 5000}) {
    CAPTURE(n);
    std::vector<TestType> values(n);
    for (auto& v : values) v = static_cast<TestType>(small(random) / 2);
    check_same(stats_of(values, kTypeOf<TestType>), plain_stats(values));
  }
}

TEMPLATE_TEST_CASE("stats: NaN and Inf are counted and left out", "[report]", float, double) {
  constexpr auto kNan = std::numeric_limits<TestType>::quiet_NaN();
  constexpr auto kInf = std::numeric_limits<TestType>::infinity();
  for (const std::size_t n : {1, 3, 8, 9, 1017, 3000}) {
    for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
      for (const auto special : {kNan, kInf, -kInf}) {
        CAPTURE(n, at, special);
        std::vector<TestType> values(n, TestType{2});
        values[n / 3] = -1;
        values[at] = special;
        check_same(stats_of(values, kTypeOf<TestType>), plain_stats(values));
      }
    }
  }
  check_same(stats_of(std::vector<TestType>(20, kNan), kTypeOf<TestType>),
             plain_stats(std::vector<TestType>(20, kNan)));
}

TEST_CASE("stats: extreme values neither overflow nor vanish", "[report]") {
  const double big = std::numeric_limits<double>::max();
  const TensorStats s = stats_of(std::vector<double>{big, -big, big}, ScalarType::float64);
  CHECK(s.min == -big);
  CHECK(s.max == big);
  CHECK(s.inf == 0);
  CHECK(s.histogram[0] == 1);
  CHECK(s.histogram[kHistogramBins - 1] == 2);

  const std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
  const TensorStats i = stats_of(std::vector<std::int64_t>{lowest, lowest + 1}, ScalarType::int64);
  CHECK(static_cast<std::int64_t>(i.max) == lowest + 1);
  const TensorStats u = stats_of(std::vector<std::uint64_t>{~std::uint64_t{0}}, ScalarType::uint64);
  CHECK(static_cast<std::uint64_t>(u.min) == ~std::uint64_t{0});
}

TEST_CASE("stats: a mean far from zero does not eat the variance", "[report]") {
  std::vector<double> values;
  for (int i = 0; i < 10'000; ++i) values.push_back(1e9 + i % 2);
  CHECK(stats_of(values, ScalarType::float64).std == Approx(0.5).epsilon(1e-9));
}

TEST_CASE("stats: narrow floats, code by code", "[report]") {
  const std::vector<std::uint16_t> half = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x7c00, 0xfc00, 0x7e00};
  const TensorStats h = stats_of(half, ScalarType::float16);
  CHECK(h.min == -2);
  CHECK(h.max == 65504);
  CHECK(h.mean == Approx((1 - 2 + 0x1p-24 + 65504) / 5));
  CHECK(h.zeros == 1);
  CHECK(h.inf == 2);
  CHECK(h.nan == 1);
  CHECK(stats_of(std::vector<std::uint16_t>{0x03ff}, ScalarType::float16).max == 1023 * 0x1p-24L);
  CHECK(stats_of(std::vector<std::uint16_t>{0x0400}, ScalarType::float16).max == 0x1p-14L);

  const TensorStats b = stats_of(std::vector<std::uint16_t>{0x3f80, 0xff80, 0x7fc0}, ScalarType::bfloat16);
  CHECK(b.max == 1);
  CHECK(b.inf == 1);
  CHECK(b.nan == 1);

  const struct {
    ScalarType type;
    std::vector<std::uint8_t> codes;
    double min, max;
    std::uint64_t nan, inf;
  } cases[] = {
      {ScalarType::float8_e4m3fn, {0x01, 0x7e, 0xfe, 0x7f, 0xff}, -448, 448, 2, 0},
      {ScalarType::float8_e5m2, {0x01, 0x7b, 0x7c, 0xfc, 0x7d}, 0x1p-16, 57344, 1, 2},
      {ScalarType::float8_e4m3fnuz, {0x80, 0x7f, 0xff}, -240, 240, 1, 0},
      {ScalarType::float8_e5m2fnuz, {0x80, 0x7f, 0x01}, 0x1p-17, 57344, 1, 0},
      {ScalarType::float8_e8m0fnu, {0x00, 0x7f, 0xff}, 0x1p-127, 1, 1, 0},
  };
  for (const auto& c : cases) {
    CAPTURE(make_dtype(c.type).name());
    const TensorStats s = stats_of(c.codes, c.type);
    CHECK(s.min == c.min);
    CHECK(s.max == c.max);
    CHECK(s.nan == c.nan);
    CHECK(s.inf == c.inf);
  }
}

TEST_CASE("stats: parts give what the whole gives", "[report]") {
  std::vector<float> values(100'000);
  std::mt19937 random(2);
  std::normal_distribution<float> normal(3, 2);
  for (auto& v : values) v = normal(random);
  StatsPart whole(make_dtype(ScalarType::float32), 0, values.size());
  whole.add(std::as_bytes(std::span(values)));
  std::optional<StatsPart> merged;
  for (std::size_t at = 0; at < values.size(); at += 12'345) {
    StatsPart part(make_dtype(ScalarType::float32), at, values.size());
    const auto piece = std::span(values).subspan(at, std::min<std::size_t>(12'345, values.size() - at));
    part.add(std::as_bytes(piece.first(piece.size() / 3)));
    part.add(std::as_bytes(piece.subspan(piece.size() / 3)));
    merged ? merged->merge(part) : void(merged = part);
  }
  check_same(merged->finish(), whole.finish());
  check_same(whole.finish(), plain_stats(values));
  CHECK(merged->finish().histogram == whole.finish().histogram);
}

TEST_CASE("stats: the histogram counts in bins of equal width", "[report]") {
  std::vector<std::uint8_t> values;
  for (int i = 0; i < 16; ++i)
    values.insert(values.end(), static_cast<std::size_t>(i + 1), static_cast<std::uint8_t>(i));
  const TensorStats s = stats_of(values, ScalarType::uint8);
  CHECK(s.histogram[0] == 1);
  CHECK(s.histogram[14] == 15);
  CHECK(s.histogram[15] == 16);
  CHECK(stats_of(std::vector<float>(5, 2.5f), ScalarType::float32).histogram[kHistogramBins / 2] == 5);
}

}  // namespace netcl::ckpt
