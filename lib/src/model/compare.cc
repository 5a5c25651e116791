// The element kernels of diff: which of two runs differ, by how much, and where most.
//
// Whatever a double holds exactly (booleans, integers and floats of up to 32 bits, float64) is widened to
// double, a chunk at a time, and goes through one loop of eight independent lanes, which the compiler
// vectorises. 64-bit integers and long doubles go through long double, whose 64 bits of mantissa hold
// them: nothing is rounded before it is compared. The results do not depend on the instruction set: the
// lanes are fixed, and this file is compiled without fused multiply-add (-ffp-contract=off), which NumPy's
// |a-b| <= atol + rtol*|b| has not either.
//
// Rejected: a kernel for each pair of types, which is faster only for types that are rare.
#include "model/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/endian.h"
#include "base/vector_clones.h"
#include "model/numbers.h"

namespace netcl::ckpt {
namespace {

static_assert(std::numeric_limits<long double>::digits >= 64, "64-bit integers are compared as long double");

/// Elements that are looked at together: few enough for the L1 cache when widened.
constexpr std::size_t kChunk = 1024;
constexpr std::size_t kLanes = 8;
/// The distance of elements that no number of steps makes equal. Real distances saturate below it.
constexpr std::uint64_t kUnequal = std::numeric_limits<std::uint64_t>::max();

bool is_integer(ScalarType type) { return type <= ScalarType::uint64; }  // booleans too

bool fits_double(ScalarType type) {
  const ScalarType part = part_of(type);
  return part != ScalarType::int64 && part != ScalarType::uint64 && part != ScalarType::longdouble;
}

bool is_text(ScalarType type) { return type == ScalarType::bytes || type == ScalarType::unicode; }

/// Pairs of real and imaginary part; the latter is 0 for a real type.
template <class Real>
void load_complex(ScalarType type, const std::byte* from, std::size_t n, Real* to) {
  if (is_complex(type)) return load_reals(part_of(type), from, 2 * n, to);
  load_reals(type, from, n, to);
  for (std::size_t i = n; i-- > 0;) {
    to[2 * i] = to[i];
    to[2 * i + 1] = 0;
  }
}

struct Sums {
  double squares_of_difference = 0;
  double squares_of_a = 0;
  double squares_of_b = 0;
  double products = 0;
  double max_abs = 0;
  double max_rel = 0;
  double same = 0;
  double finite = 0;
};

/// `n` is a multiple of kLanes. All is arithmetic and selection on doubles, for the vectoriser's sake.
CKPT_VECTOR_CLONES void scan_pairs(const double* a, const double* b, std::size_t n, double atol, double rtol,
                                   double nan_is_nan, Sums& out) {
  double dd[kLanes] = {}, aa[kLanes] = {}, bb[kLanes] = {}, ab[kLanes] = {};
  double max_abs[kLanes] = {}, max_rel[kLanes] = {}, same[kLanes] = {}, finite[kLanes] = {};
  for (std::size_t i = 0; i < n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const double x = a[i + l], y = b[i + l];
      const double zero = (x - x) + (y - y);  // NaN where one of them is not finite
      const double p = zero == 0 ? x : 0, q = zero == 0 ? y : 0;
      const double d = p - q, size = std::fabs(d), base = std::fabs(q);
      const double ratio = size / base;
      const double rel = base > 0 ? ratio : 0;
      double equal = size <= atol + rtol * base ? 1.0 : 0.0;
      equal = zero == 0 ? equal : 0.0;
      equal = x == y ? 1.0 : equal;
      double nan = x == x ? 0.0 : nan_is_nan;
      nan = y == y ? 0.0 : nan;
      dd[l] += d * d;
      aa[l] += p * p;
      bb[l] += q * q;
      ab[l] += p * q;
      max_abs[l] = size > max_abs[l] ? size : max_abs[l];
      max_rel[l] = rel > max_rel[l] ? rel : max_rel[l];
      same[l] += equal + nan;
      finite[l] += zero == 0 ? 1.0 : 0.0;
    }
  }
  for (std::size_t l = 0; l < kLanes; ++l) {
    out.squares_of_difference += dd[l];
    out.squares_of_a += aa[l];
    out.squares_of_b += bb[l];
    out.products += ab[l];
    out.max_abs = std::max(out.max_abs, max_abs[l]);
    out.max_rel = std::max(out.max_rel, max_rel[l]);
    out.same += same[l];
    out.finite += finite[l];
  }
}

CKPT_VECTOR_CLONES void scan_squares(const double* a, std::size_t n, double& squares, double& finite) {
  double sums[kLanes] = {}, counts[kLanes] = {};
  for (std::size_t i = 0; i < n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const double x = a[i + l];
      const double zero = x - x;
      const double p = zero == 0 ? x : 0;
      sums[l] += p * p;
      counts[l] += zero == 0 ? 1.0 : 0.0;
    }
  }
  for (std::size_t l = 0; l < kLanes; ++l) {
    squares += sums[l];
    finite += counts[l];
  }
}

/// Fills up with zeros to a multiple of kLanes; the number of them.
std::size_t pad(double* values, std::size_t n) {
  const std::size_t padding = (kLanes - n % kLanes) % kLanes;
  std::fill_n(values + n, padding, 0.0);
  return padding;
}

void count_decade(long double difference, std::array<std::uint64_t, kDecades>& decades) {
  constexpr std::array kEdges = {1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3,
                                 1e-2,  1e-1,  1e0,   1e1,  1e2,  1e3,  1e4,  1e5,  1e6};
  static_assert(kEdges.size() + 1 == kDecades);
  if (difference > 0) ++decades[std::upper_bound(kEdges.begin(), kEdges.end(), difference) - kEdges.begin()];
}

/// One pair that is not finite in both.
void count_not_finite(bool a_finite, bool a_nan, bool b_finite, bool b_nan, PairFigures& figures) {
  if (a_finite) ++(b_nan ? figures.nan_appeared : figures.inf_appeared);
  if (b_finite) ++(a_nan ? figures.nan_vanished : figures.inf_vanished);
}

/// How many representable numbers lie between: IEEE's bits, seen as sign and magnitude, are in order.
/// Both zeros are one number. `inf` and `nan`: the first magnitudes that are no numbers.
template <class Bits>
[[gnu::always_inline]] inline void count_bit_steps(const std::byte* a, const std::byte* b, std::size_t n, Bits inf,
                                                   Bits nan, bool equal_nan, std::uint64_t* steps) {
  constexpr Bits kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  for (std::size_t i = 0; i < n; ++i) {
    const Bits x = load_le<Bits>(a + i * sizeof(Bits)), y = load_le<Bits>(b + i * sizeof(Bits));
    const Bits p = static_cast<Bits>(x & ~kSign), q = static_cast<Bits>(y & ~kSign);
    const Bits u = static_cast<Bits>(x >= kSign ? kSign - p : kSign + p);
    const Bits v = static_cast<Bits>(y >= kSign ? kSign - q : kSign + q);
    const std::uint64_t distance = u > v ? static_cast<Bits>(u - v) : static_cast<Bits>(v - u);
    const bool both_nan = (p >= nan) & (q >= nan);
    const bool same = both_nan ? equal_nan : x == y;
    const std::uint64_t unordered = same ? 0 : kUnequal;
    steps[i] = (p < inf) & (q < inf) ? distance : unordered;
  }
}

CKPT_VECTOR_CLONES void count_steps_16(const std::byte* a, const std::byte* b, std::size_t n, std::uint16_t inf,
                                       bool equal_nan, std::uint64_t* steps) {
  count_bit_steps<std::uint16_t>(a, b, n, inf, static_cast<std::uint16_t>(inf + 1), equal_nan, steps);
}
CKPT_VECTOR_CLONES void count_steps_32(const std::byte* a, const std::byte* b, std::size_t n, bool equal_nan,
                                       std::uint64_t* steps) {
  count_bit_steps<std::uint32_t>(a, b, n, 0x7f800000U, 0x7f800001U, equal_nan, steps);
}
CKPT_VECTOR_CLONES void count_steps_64(const std::byte* a, const std::byte* b, std::size_t n, bool equal_nan,
                                       std::uint64_t* steps) {
  count_bit_steps<std::uint64_t>(a, b, n, 0x7ff0000000000000U, 0x7ff0000000000001U, equal_nan, steps);
}

/// Of 8-bit floats, whose kinds agree on neither zero, Inf nor NaN: by the rank of their values.
void count_steps_8(ScalarType type, const std::byte* a, const std::byte* b, std::size_t n, bool equal_nan,
                   std::uint64_t* steps) {
  const auto values = float8_values(type);
  std::array<float, 256> sorted;
  const auto end = std::copy_if(values.begin(), values.end(), sorted.begin(), [](float v) { return std::isfinite(v); });
  std::sort(sorted.begin(), end);
  const auto distinct = std::unique(sorted.begin(), end);
  std::array<std::int32_t, 256> rank;
  for (std::size_t code = 0; code < 256; ++code) {
    rank[code] = static_cast<std::int32_t>(std::lower_bound(sorted.begin(), distinct, values[code]) - sorted.begin());
  }
  for (std::size_t i = 0; i < n; ++i) {
    const auto x = static_cast<std::uint8_t>(a[i]), y = static_cast<std::uint8_t>(b[i]);
    const float p = values[x], q = values[y];
    if (std::isfinite(p) && std::isfinite(q)) {
      steps[i] = static_cast<std::uint64_t>(std::abs(rank[x] - rank[y]));
    } else {
      const bool same = std::isnan(p) && std::isnan(q) ? equal_nan : p == q;
      steps[i] = same ? 0 : kUnequal;
    }
  }
}

void count_steps_80(const std::byte* a, const std::byte* b, std::size_t n, bool equal_nan, std::uint64_t* steps) {
  __extension__ using Wide = __int128;
  const auto position = [](const Extended& e) {
    const Wide magnitude = (Wide{e.exponent} << 63) + (e.mantissa & ~(std::uint64_t{1} << 63));
    return e.negative ? -magnitude : magnitude;
  };
  for (std::size_t i = 0; i < n; ++i) {
    const Extended x(a + 16 * i), y(b + 16 * i);
    if (x.is_finite() && y.is_finite()) {
      const Wide distance = position(x) - position(y);
      steps[i] = static_cast<std::uint64_t>(std::min<Wide>(distance < 0 ? -distance : distance, kUnequal - 1));
    } else {
      const bool same = x.is_nan() && y.is_nan() ? equal_nan : x.value() == y.value();
      steps[i] = same ? 0 : kUnequal;
    }
  }
}

void count_steps(ScalarType type, const std::byte* a, const std::byte* b, std::size_t n, bool equal_nan,
                 std::uint64_t* steps) {
  switch (type) {
    case ScalarType::float16: return count_steps_16(a, b, n, 0x7c00, equal_nan, steps);
    case ScalarType::bfloat16: return count_steps_16(a, b, n, 0x7f80, equal_nan, steps);
    case ScalarType::float32: return count_steps_32(a, b, n, equal_nan, steps);
    case ScalarType::float64: return count_steps_64(a, b, n, equal_nan, steps);
    case ScalarType::longdouble: return count_steps_80(a, b, n, equal_nan, steps);
    default: return count_steps_8(type, a, b, n, equal_nan, steps);
  }
}

template <std::size_t kBytes>
std::uint64_t count_unequal(const std::byte* a, const std::byte* b, std::size_t n) {
  std::uint64_t unequal = 0;
  for (std::size_t i = 0; i < n; ++i) unequal += std::memcmp(a + i * kBytes, b + i * kBytes, kBytes) != 0;
  return unequal;
}

/// Text of two lengths is the same where the longer one goes on with nothing but padding.
bool same_text(std::span<const std::byte> a, std::span<const std::byte> b) {
  if (a.size() > b.size()) std::swap(a, b);
  const auto rest = b.subspan(a.size());
  return std::equal(a.begin(), a.end(), b.begin()) &&
         std::all_of(rest.begin(), rest.end(), [](std::byte c) { return c == std::byte{0}; });
}

}  // namespace

void PairFigures::merge(const PairFigures& next) {
  differing += next.differing;
  nan_appeared += next.nan_appeared;
  nan_vanished += next.nan_vanished;
  inf_appeared += next.inf_appeared;
  inf_vanished += next.inf_vanished;
  finite += next.finite;
  max_abs.raise(next.max_abs.value, next.max_abs.index);
  max_rel.raise(next.max_rel.value, next.max_rel.index);
  max_ulp = std::max(max_ulp, next.max_ulp);
  squares_of_difference += next.squares_of_difference;
  squares_of_a += next.squares_of_a;
  squares_of_b += next.squares_of_b;
  products += next.products;
  for (std::size_t i = 0; i < kDecades; ++i) decades[i] += next.decades[i];
}

bool PairComparer::comparable(const DType& a, const DType& b) {
  if (is_number(a.type) && is_number(b.type)) return true;
  if (is_text(a.type)) return a.type == b.type && (a.item_bytes == 0) == (b.item_bytes == 0);
  return a.type == b.type && a.item_bytes == b.item_bytes && a.unit == b.unit && a.type != ScalarType::object &&
         (a.fields == b.fields || (a.fields && b.fields && *a.fields == *b.fields));
}

PairComparer::PairComparer(const DType& a, const DType& b, const Criterion& criterion, bool decades)
    : a_(a), b_(b), criterion_(criterion), count_decades_(decades) {
  if (!is_number(a.type)) {
    identical_is_equal_ = a.item_bytes == b.item_bytes;
    return;
  }
  const bool exact = fits_double(a.type) && fits_double(b.type);
  if (is_complex(a.type) || is_complex(b.type)) {
    arithmetic_ = exact ? Arithmetic::complex_doubles : Arithmetic::complex_long_doubles;
  } else {
    arithmetic_ = exact ? Arithmetic::doubles : Arithmetic::long_doubles;
  }
  has_ulp_ = a.type == b.type && !is_integer(a.type);
  identical_is_equal_ = a.type == b.type && (criterion.equal_nan || criterion.bitwise || is_integer(a.type));
}

void PairComparer::compare(std::span<const std::byte> a, std::span<const std::byte> b, std::uint64_t first,
                           PairFigures& figures) const {
  if (a_.item_bytes == 0) return;  // text without room for any
  const std::size_t count = a.size() / a_.item_bytes;
  for (std::size_t i = 0; i < count; i += kChunk) {
    const std::size_t n = std::min(kChunk, count - i);
    const std::byte* p = a.data() + i * a_.item_bytes;
    const std::byte* q = b.data() + i * b_.item_bytes;
    if (identical_is_equal_ && std::memcmp(p, q, n * a_.item_bytes) == 0) {
      add_identical({p, n * a_.item_bytes}, figures);
    } else {
      compare_chunk(p, q, n, first + i, figures);
    }
  }
}

void PairComparer::compare_chunk(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                                 PairFigures& figures) const {
  std::uint64_t differing = is_numeric() ? compare_values(a, b, n, first, figures) : 0;
  const std::uint64_t beyond = has_ulp_ ? compare_ulp(a, b, n, figures) : 0;
  if (!is_numeric() || criterion_.bitwise) {
    differing = count_unequal_bytes(a, b, n);
  } else if (has_ulp_ && criterion_.ulp > 0) {
    differing = beyond;
  }
  figures.differing += differing;
}

std::uint64_t PairComparer::compare_values(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                                           PairFigures& figures) const {
  switch (arithmetic_) {
    case Arithmetic::bytes: return 0;
    case Arithmetic::doubles: return compare_doubles(a, b, n, first, figures);
    case Arithmetic::long_doubles: return compare_each<long double, false>(a, b, n, first, figures);
    case Arithmetic::complex_doubles: return compare_each<double, true>(a, b, n, first, figures);
    case Arithmetic::complex_long_doubles: return compare_each<long double, true>(a, b, n, first, figures);
  }
  return 0;
}

std::uint64_t PairComparer::compare_doubles(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                                            PairFigures& figures) const {
  alignas(64) double x[2 * kChunk], y[2 * kChunk];
  load_reals(a_.type, a, n, x);
  load_reals(b_.type, b, n, y);
  const std::size_t padding = pad(x, n);
  pad(y, n);
  Sums sums;
  scan_pairs(x, y, n + padding, criterion_.atol, criterion_.rtol, criterion_.equal_nan ? 1.0 : 0.0, sums);
  const double total = sums.squares_of_difference + sums.squares_of_a + sums.squares_of_b;
  if (!std::isfinite(total)) return compare_each<long double, false>(a, b, n, first, figures);  // beyond double's range

  figures.squares_of_difference += sums.squares_of_difference;
  figures.squares_of_a += sums.squares_of_a;
  figures.squares_of_b += sums.squares_of_b;
  figures.products += sums.products;
  const auto finite = static_cast<std::uint64_t>(sums.finite) - padding;
  figures.finite += finite;
  const auto is_pair = [&](std::size_t i) { return std::isfinite(x[i]) && std::isfinite(y[i]); };
  if (sums.max_abs > figures.max_abs.value) {
    std::size_t i = 0;
    while (!is_pair(i) || std::fabs(x[i] - y[i]) != sums.max_abs) ++i;
    figures.max_abs = {sums.max_abs, first + i};
  }
  if (sums.max_rel > figures.max_rel.value) {
    std::size_t i = 0;
    while (!is_pair(i) || y[i] == 0 || std::fabs(x[i] - y[i]) / std::fabs(y[i]) != sums.max_rel) ++i;
    figures.max_rel = {sums.max_rel, first + i};
  }
  if (finite < n) {
    for (std::size_t i = 0; i < n; ++i) {
      if (!is_pair(i))
        count_not_finite(std::isfinite(x[i]), std::isnan(x[i]), std::isfinite(y[i]), std::isnan(y[i]), figures);
    }
  }
  if (count_decades_) {
    for (std::size_t i = 0; i < n; ++i) {
      if (is_pair(i)) count_decade(std::fabs(x[i] - y[i]), figures.decades);
    }
  }
  return n + padding - static_cast<std::uint64_t>(sums.same);
}

template <class Real, bool kComplex>
std::uint64_t PairComparer::compare_each(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                                         PairFigures& figures) const {
  Real x[2 * kChunk], y[2 * kChunk];
  if constexpr (kComplex) {
    load_complex(a_.type, a, n, x);
    load_complex(b_.type, b, n, y);
  } else {
    load_reals(a_.type, a, n, x);
    load_reals(b_.type, b, n, y);
  }
  constexpr std::size_t kParts = kComplex ? 2 : 1;
  const auto finite = [](const Real* v) { return v[0] - v[0] == 0 && v[kParts - 1] - v[kParts - 1] == 0; };
  const auto nan = [](const Real* v) { return v[0] != v[0] || v[kParts - 1] != v[kParts - 1]; };
  const auto size = [](Real re, Real im) { return kComplex ? std::hypot(re, im) : std::fabs(re); };
  std::uint64_t differing = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Real *p = x + kParts * i, *q = y + kParts * i;
    if (!finite(p) || !finite(q)) {
      const bool same = nan(p) && nan(q) ? criterion_.equal_nan : std::equal(p, p + kParts, q);
      differing += !same;
      count_not_finite(finite(p), nan(p), finite(q), nan(q), figures);
      continue;
    }
    const Real imaginary_p = kComplex ? p[kParts - 1] : 0, imaginary_q = kComplex ? q[kParts - 1] : 0;
    const Real re = p[0] - q[0], im = imaginary_p - imaginary_q;
    const Real distance = size(re, im), base = size(q[0], imaginary_q);
    differing += !std::equal(p, p + kParts, q) && !(distance <= criterion_.atol + criterion_.rtol * base);
    ++figures.finite;
    figures.max_abs.raise(distance, first + i);
    if (base > 0) figures.max_rel.raise(distance / base, first + i);
    if (count_decades_) count_decade(distance, figures.decades);
    const auto square = [](long double u, long double v) { return u * u + v * v; };
    figures.squares_of_difference += square(re, im);
    figures.squares_of_a += square(p[0], imaginary_p);
    figures.squares_of_b += square(q[0], imaginary_q);
    figures.products += static_cast<long double>(p[0]) * q[0] + static_cast<long double>(imaginary_p) * imaginary_q;
  }
  return differing;
}

std::uint64_t PairComparer::compare_ulp(const std::byte* a, const std::byte* b, std::size_t n,
                                        PairFigures& figures) const {
  std::uint64_t steps[2 * kChunk];
  const std::size_t parts = is_complex(a_.type) ? 2 : 1;
  count_steps(part_of(a_.type), a, b, parts * n, criterion_.equal_nan, steps);
  std::uint64_t beyond = 0, furthest = 0;
  for (std::size_t i = 0; i < parts * n; i += parts) {
    const std::uint64_t p = steps[i], q = steps[i + parts - 1];
    const std::uint64_t most = std::max(p == kUnequal ? 0 : p, q == kUnequal ? 0 : q);
    furthest = std::max(furthest, most);
    beyond += std::max(p, q) > criterion_.ulp;
  }
  figures.max_ulp = std::max(figures.max_ulp, furthest);
  return beyond;
}

std::uint64_t PairComparer::count_unequal_bytes(const std::byte* a, const std::byte* b, std::size_t n) const {
  const std::size_t item = a_.item_bytes;
  std::uint64_t unequal = 0;
  if (item != b_.item_bytes) {
    for (std::size_t i = 0; i < n; ++i) {
      unequal += !same_text({a + i * item, item}, {b + i * b_.item_bytes, b_.item_bytes});
    }
    return unequal;
  }
  if (part_of(a_.type) == ScalarType::longdouble) {  // 10 bytes are the number, 6 are padding
    for (std::size_t i = 0; i < n * item; i += item) {
      bool same = true;
      for (std::size_t j = i; j < i + item; j += 16) same &= std::memcmp(a + j, b + j, 10) == 0;
      unequal += !same;
    }
    return unequal;
  }
  switch (item) {
    case 1: return count_unequal<1>(a, b, n);
    case 2: return count_unequal<2>(a, b, n);
    case 4: return count_unequal<4>(a, b, n);
    case 8: return count_unequal<8>(a, b, n);
    default:
      for (std::size_t i = 0; i < n; ++i) unequal += std::memcmp(a + i * item, b + i * item, item) != 0;
      return unequal;
  }
}

void PairComparer::add_identical(std::span<const std::byte> elements, PairFigures& figures) const {
  if (arithmetic_ == Arithmetic::bytes || elements.empty()) return;
  const std::size_t count = elements.size() / a_.item_bytes;
  for (std::size_t i = 0; i < count; i += kChunk) {
    const std::size_t n = std::min(kChunk, count - i);
    const std::byte* p = elements.data() + i * a_.item_bytes;
    if (arithmetic_ == Arithmetic::doubles) {
      alignas(64) double x[2 * kChunk];
      load_reals(a_.type, p, n, x);
      const std::size_t padding = pad(x, n);
      double squares = 0, finite = 0;
      scan_squares(x, n + padding, squares, finite);
      if (std::isfinite(squares)) {
        figures.squares_of_a += squares;
        figures.squares_of_b += squares;
        figures.products += squares;
        figures.finite += static_cast<std::uint64_t>(finite) - padding;
        continue;
      }
    }
    compare_values(p, p, n, 0, figures);
  }
}

}  // namespace netcl::ckpt
