#include "model/compare.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "catch.h"
#include "model/numbers.h"

namespace netcl::ckpt {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
PairFigures figures_of(const std::vector<T>& a, const std::vector<T>& b, ScalarType type,
                       const Criterion& criterion = {}) {
  const PairComparer comparer(make_dtype(type), make_dtype(type), criterion, true);
  PairFigures figures;
  comparer.compare(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)), 0, figures);
  return figures;
}

template <class T>
std::uint64_t differing(T a, T b, ScalarType type, const Criterion& criterion = {}) {
  return figures_of(std::vector<T>{a}, std::vector<T>{b}, type, criterion).differing;
}

}  // namespace

TEST_CASE("compare: gives the figures of the definition, wherever in a chunk", "[model]") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::size_t n : {1, 7, 8, 9, 1000, 1024, 1025, 5000}) {
    CAPTURE(n);
    std::vector<float> a(n), b(n);
    for (float& v : a) v = normal(random);
    b = a;
    for (std::size_t i = 0; i < n; i += 3) b[i] += 1e-3f * normal(random);
    a[n / 2] = 0, b[n / 2] = 0;
    if (n > 8) a[5] = static_cast<float>(kNan), b[6] = static_cast<float>(kInf), b[n - 1] = 0;
    PairFigures want;
    for (std::size_t i = 0; i < n; ++i) {
      const double x = a[i], y = b[i];
      want.differing += x != y;
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      ++want.finite;
      want.max_abs.raise(std::fabs(x - y), i);
      if (y != 0) want.max_rel.raise(std::fabs(x - y) / std::fabs(y), i);
      want.squares_of_difference += (x - y) * (x - y);
      want.squares_of_a += x * x;
      want.squares_of_b += y * y;
      want.products += x * y;
    }
    const PairFigures got = figures_of(a, b, ScalarType::float32);
    CHECK(got.differing == want.differing);
    CHECK(got.finite == want.finite);
    CHECK(got.max_abs.value == want.max_abs.value);
    CHECK(got.max_abs.index == want.max_abs.index);
    CHECK(got.max_rel.value == want.max_rel.value);
    CHECK(got.max_rel.index == want.max_rel.index);
    CHECK(static_cast<double>(got.squares_of_difference) == Approx(static_cast<double>(want.squares_of_difference)));
    CHECK(static_cast<double>(got.squares_of_a) == Approx(static_cast<double>(want.squares_of_a)));
    CHECK(static_cast<double>(got.squares_of_b) == Approx(static_cast<double>(want.squares_of_b)));
    CHECK(static_cast<double>(got.products) == Approx(static_cast<double>(want.products)));
    CHECK(got.nan_vanished == (n > 8));
    CHECK(got.inf_appeared == (n > 8));
  }
}

TEST_CASE("compare: special values", "[model]") {
  struct Row {
    double a, b;
    bool exact, bitwise, nan_unequal, tolerant;  // do they differ?
  };
  const double other_nan = std::bit_cast<double>(std::bit_cast<std::uint64_t>(kNan) | 1);
  for (const Row& row : {
           Row{1, 1, false, false, false, false},
           Row{0.0, -0.0, false, true, false, false},
           Row{kNan, kNan, false, false, true, false},
           Row{kNan, other_nan, false, true, true, false},
           Row{kNan, 1, true, true, true, true},
           Row{1, kNan, true, true, true, true},
           Row{kInf, kInf, false, false, false, false},
           Row{kInf, -kInf, true, true, true, true},
           Row{1, kInf, true, true, true, true},
           Row{kInf, 1e308, true, true, true, true},
           Row{1, 1.05, true, true, true, false},
           Row{1e308, -1e308, true, true, true, true},
           Row{5e-324, 0, true, true, true, false},
       }) {
    CAPTURE(row.a, row.b);
    CHECK(differing(row.a, row.b, ScalarType::float64) == row.exact);
    CHECK(differing(row.a, row.b, ScalarType::float64, {.bitwise = true}) == row.bitwise);
    CHECK(differing(row.a, row.b, ScalarType::float64, {.equal_nan = false}) == row.nan_unequal);
    CHECK(differing(row.a, row.b, ScalarType::float64, {.rtol = 0.1, .atol = 1e-9}) == row.tolerant);
    CHECK(differing(static_cast<long double>(row.a), static_cast<long double>(row.b), ScalarType::longdouble,
                    {.equal_nan = false}) == row.nan_unequal);
    struct Pair {
      double re, im;
    };
    CHECK(differing(Pair{2, row.a}, Pair{2, row.b}, ScalarType::complex128) == row.exact);
    CHECK(differing(Pair{2, row.a}, Pair{2, row.b}, ScalarType::complex128, {.bitwise = true}) == row.bitwise);
    CHECK(differing(Pair{2, row.a}, Pair{2, row.b}, ScalarType::complex128, {.equal_nan = false}) == row.nan_unequal);
  }
}

TEST_CASE("compare: tolerances are relative to the second side", "[model]") {
  CHECK(differing(1.0, 1.25, ScalarType::float64, {.rtol = 0.2}) == 0);
  CHECK(differing(1.25, 1.0, ScalarType::float64, {.rtol = 0.2}) == 1);
  CHECK(differing(1.25, 1.0, ScalarType::float64, {.rtol = 0.2, .atol = 0.05}) == 0);
}

TEST_CASE("compare: 64-bit integers are exact to their limits", "[model]") {
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  constexpr auto kUnsignedMax = std::numeric_limits<std::uint64_t>::max();
  PairFigures f = figures_of<std::int64_t>({kMin, kMax}, {kMax, kMax - 1}, ScalarType::int64);
  CHECK(f.differing == 2);
  CHECK(static_cast<std::uint64_t>(f.max_abs.value) == kUnsignedMax);
  CHECK(f.max_abs.index == 0);
  f = figures_of<std::uint64_t>({kUnsignedMax, 0}, {kUnsignedMax - 1, 0}, ScalarType::uint64);
  CHECK(f.differing == 1);
  CHECK(f.max_abs.value == 1);
  CHECK(differing<std::uint64_t>(kUnsignedMax, kUnsignedMax - 1, ScalarType::uint64, {.atol = 1}) == 0);
  CHECK(differing<std::uint64_t>(kUnsignedMax, kUnsignedMax - 2, ScalarType::uint64, {.atol = 1}) == 1);

  const PairComparer mixed(make_dtype(ScalarType::int64), make_dtype(ScalarType::float64), {}, false);
  const std::int64_t a = (std::int64_t{1} << 53) + 1;
  const double b = 9007199254740992.0;
  PairFigures figures;
  mixed.compare(std::as_bytes(std::span(&a, 1)), std::as_bytes(std::span(&b, 1)), 0, figures);
  CHECK(figures.differing == 1);
}

TEST_CASE("compare: ULP distances", "[model]") {
  struct Row {
    double a, b;
    std::uint64_t steps;
  };
  const double tiny = std::numeric_limits<double>::denorm_min(), next = std::nextafter(1.0, 2.0);
  for (const Row& row : {
           Row{1, 1, 0},
           Row{1, next, 1},
           Row{-1, -next, 1},
           Row{0.0, -0.0, 0},
           Row{tiny, -tiny, 2},
           Row{-std::numeric_limits<double>::max(), std::numeric_limits<double>::max(), 2 * 0x7fefffffffffffffU},
       }) {
    CAPTURE(row.a, row.b);
    CHECK(figures_of<double>({row.a}, {row.b}, ScalarType::float64).max_ulp == row.steps);
    CHECK(differing(row.a, row.b, ScalarType::float64, {.ulp = 1}) == (row.steps > 1));
  }
  CHECK(figures_of<double>({kInf, kNan}, {1, 1}, ScalarType::float64).max_ulp == 0);
  CHECK(differing(kInf, std::numeric_limits<double>::max(), ScalarType::float64, {.ulp = 9}) == 1);
  CHECK(differing(kNan, kNan, ScalarType::float64, {.ulp = 9}) == 0);
  CHECK(differing(kNan, kNan, ScalarType::float64, {.ulp = 9, .equal_nan = false}) == 1);

  CHECK(figures_of<float>({1}, {std::nextafter(1.0f, 0.0f)}, ScalarType::float32).max_ulp == 1);
  CHECK(figures_of<std::uint16_t>({0x3c00}, {0x3c05}, ScalarType::float16).max_ulp == 5);
  CHECK(figures_of<std::uint16_t>({0x8001}, {0x0001}, ScalarType::bfloat16).max_ulp == 2);
  CHECK(figures_of<std::uint8_t>({0x81}, {0x01}, ScalarType::float8_e4m3fn).max_ulp == 2);
  CHECK(figures_of<std::uint8_t>({0x10}, {0x12}, ScalarType::float8_e8m0fnu).max_ulp == 2);
  CHECK(figures_of<std::uint8_t>({0x80}, {0x12}, ScalarType::float8_e5m2fnuz).max_ulp == 0);  // its NaN
  CHECK(figures_of<long double>({1}, {std::nextafter(1.0L, 2.0L)}, ScalarType::longdouble).max_ulp == 1);
  CHECK(figures_of<long double>({-1}, {1}, ScalarType::longdouble).max_ulp > (std::uint64_t{1} << 63));
  struct Pair {
    float re, im;
  };
  CHECK(figures_of<Pair>({{1, 1}}, {{1, std::nextafter(1.0f, 2.0f)}}, ScalarType::complex64).max_ulp == 1);
}

TEST_CASE("compare: every float of 8 and 16 bits against every bit of it", "[model]") {
  for (const ScalarType type : {ScalarType::float8_e4m3fn, ScalarType::float8_e5m2, ScalarType::float8_e4m3fnuz,
                                ScalarType::float8_e5m2fnuz, ScalarType::float8_e8m0fnu}) {
    for (int code = 0; code < 256; ++code) {
      const auto a = static_cast<std::uint8_t>(code), b = static_cast<std::uint8_t>(code ^ 1);
      const float x = float8_values(type)[a], y = float8_values(type)[b];
      CHECK(differing(a, a, type) == 0);
      CHECK(differing(a, b, type) == !(x == y || (x != x && y != y)));
    }
  }
}

TEST_CASE("compare: doubles beyond the range of their squares", "[model]") {
  const PairFigures f = figures_of<double>({1e200, 1e308}, {-1e200, -1e308}, ScalarType::float64);
  CHECK(f.max_abs.value == 2 * static_cast<long double>(1e308));
  CHECK(f.max_abs.index == 1);
  CHECK(std::isfinite(f.squares_of_difference));
  CHECK(static_cast<double>(f.products / std::sqrt(f.squares_of_a) / std::sqrt(f.squares_of_b)) == Approx(-1));
}

TEST_CASE("compare: dtypes by value", "[model]") {
  const auto same = [](auto a, ScalarType type_a, auto b, ScalarType type_b) {
    REQUIRE(PairComparer::comparable(make_dtype(type_a), make_dtype(type_b)));
    const PairComparer comparer(make_dtype(type_a), make_dtype(type_b), {}, false);
    PairFigures figures;
    comparer.compare(std::as_bytes(std::span(&a, 1)), std::as_bytes(std::span(&b, 1)), 0, figures);
    return figures.differing == 0;
  };
  CHECK(same(1.5f, ScalarType::float32, 1.5, ScalarType::float64));
  CHECK_FALSE(same(0.1f, ScalarType::float32, 0.1, ScalarType::float64));
  CHECK(same(std::uint8_t{7}, ScalarType::uint8, std::int64_t{7}, ScalarType::int64));
  CHECK(same(std::uint8_t{1}, ScalarType::boolean, 1.0f, ScalarType::float32));
  CHECK_FALSE(same(std::int64_t{-1}, ScalarType::int64, std::uint64_t{0} - 1, ScalarType::uint64));
  CHECK(same(std::uint16_t{0x3f80}, ScalarType::bfloat16, std::uint16_t{0x3c00}, ScalarType::float16));
  CHECK(same(3.0, ScalarType::float64, std::array<float, 2>{3, 0}, ScalarType::complex64));
  CHECK_FALSE(same(3.0, ScalarType::float64, std::array<float, 2>{3, 1}, ScalarType::complex64));

  DType short_text{ScalarType::bytes, false, 2}, long_text{ScalarType::bytes, false, 4};
  const PairComparer text(short_text, long_text, {}, false);
  PairFigures figures;
  text.compare(std::as_bytes(std::span("abcd", 4)), std::as_bytes(std::span("ab\0\0cdx\0", 8)), 0, figures);
  CHECK(figures.differing == 1);

  DType seconds{ScalarType::datetime64, false, 8, "s"}, days{ScalarType::datetime64, false, 8, "D"};
  CHECK(PairComparer::comparable(seconds, seconds));
  CHECK_FALSE(PairComparer::comparable(seconds, days));
  CHECK_FALSE(PairComparer::comparable(seconds, make_dtype(ScalarType::int64)));
  CHECK_FALSE(PairComparer::comparable(short_text, DType{ScalarType::unicode, false, 4}));
  CHECK_FALSE(PairComparer::comparable(make_dtype(ScalarType::object), make_dtype(ScalarType::object)));
}

TEST_CASE("compare: a long double's padding is no number", "[model]") {
  std::vector<std::byte> a(16), b(16);
  const long double one = 1;
  std::memcpy(a.data(), &one, 10);
  std::memcpy(b.data(), &one, 10);
  b[12] = std::byte{1};
  CHECK(figures_of(a, b, ScalarType::longdouble).differing == 0);
  CHECK(figures_of(a, b, ScalarType::longdouble, {.bitwise = true}).differing == 0);
}

TEST_CASE("compare: decades of differences", "[model]") {
  const std::vector<double> b = {0, 1e-13, 1e-12, 5e-12, 0.1, 0.99, 1, 999999, 1e6, 1e9};
  const PairFigures f = figures_of(std::vector<double>(b.size()), b, ScalarType::float64);
  CHECK(f.decades[0] == 1);
  CHECK(f.decades[1] == 2);
  CHECK(f.decades[12] == 2);
  CHECK(f.decades[13] == 1);
  CHECK(f.decades[18] == 1);
  CHECK(f.decades[19] == 2);
}

TEST_CASE("compare: identical elements add to the norms alone", "[model]") {
  for (const ScalarType type : {ScalarType::float64, ScalarType::longdouble}) {
    std::vector<double> doubles = {3, kNan, 4, kInf};
    std::vector<long double> long_doubles(doubles.begin(), doubles.end());
    const auto bytes =
        type == ScalarType::float64 ? std::as_bytes(std::span(doubles)) : std::as_bytes(std::span(long_doubles));
    const PairComparer comparer(make_dtype(type), make_dtype(type), {}, false);
    PairFigures f;
    comparer.add_identical(bytes, f);
    CHECK(f.finite == 2);
    CHECK(f.squares_of_a == 25);
    CHECK(f.products == 25);
    CHECK(f.squares_of_difference == 0);
    CHECK(f.nan_appeared + f.inf_appeared + f.differing == 0);
  }
}

}  // namespace netcl::ckpt
