// min, max, mean, std, zeros, NaN, Inf and a histogram in one pass at the speed of the page cache.
//
// The kernels are written in GCC's and clang's vector types and compiled for several instruction sets,
// of which the loader picks one. Sums are taken in double of the differences from a value of the same
// block, and blocks are joined by Chan's formula, so that a mean far from zero does not eat the variance.
//
// The histogram has bins of equal width from min to max. Those are known only at the end, so it is
// made of a sample: every n-th element, 16,384 at most, which is all of a smaller tensor. Exact
// counting by exponent was rejected: scattered increments took twice the time of everything else.
#include "report/stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/vector_clones.h"
#include "model/numbers.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kMaxSample = 16'384;
constexpr std::size_t kLanes = 8;

using Block = StatsPart::Block;

/// Lane masks of a comparison of Ts are vectors of these.
template <std::size_t kBytes>
struct SignedOf;
template <>
struct SignedOf<1> {
  using Type = std::int8_t;
};
template <>
struct SignedOf<2> {
  using Type = std::int16_t;
};
template <>
struct SignedOf<4> {
  using Type = std::int32_t;
};
template <>
struct SignedOf<8> {
  using Type = std::int64_t;
};

/// What the lanes have seen. `T` is the element type.
template <class T>
struct Lanes {
  using Int = typename SignedOf<sizeof(T)>::Type;
  typedef T Values __attribute__((vector_size(kLanes * sizeof(T))));
  typedef Int Mask __attribute__((vector_size(kLanes * sizeof(T))));
  typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));
  static constexpr bool kFloat = std::numeric_limits<T>::is_iec559;
  static constexpr T kHighest = kFloat ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
  static constexpr T kLowest = kFloat ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();

  Values lowest = Values{} + kHighest;
  Values highest = Values{} + kLowest;
  Doubles sums = {};
  Doubles squares = {};
  Mask zeros = {};  // a negative count
  Mask not_finite = {};

  [[gnu::always_inline]] void add(const Values& v, double pivot) {
    zeros += v == Values{};
    lowest = v < lowest ? v : lowest;
    highest = v > highest ? v : highest;
    const Doubles d = __builtin_convertvector(v, Doubles) - pivot;
    sums += d;
    squares += d * d;
  }

  [[gnu::always_inline]] void add_with_care(const Values& v, double pivot) {
    const Mask finite = (v - v) == Values{};  // Inf - Inf and NaN - NaN are NaN
    not_finite += ~finite;
    zeros += v == Values{};
    lowest = (finite & (v < lowest)) ? v : lowest;
    highest = (finite & (v > highest)) ? v : highest;
    const Doubles d = __builtin_convertvector(finite ? v : Values{} + static_cast<T>(pivot), Doubles) - pivot;
    sums += d;
    squares += d * d;
  }
};

/// Scans at most kChunk elements, a multiple of kLanes.
template <class T>
[[gnu::always_inline]] inline void scan_chunk(const T* x, std::size_t n, Block& block) {
  Lanes<T> lanes{};  // an aggregate: clang 16 loses a constructor that only clones of a function call
  for (std::size_t i = 0; i < n; i += kLanes) {
    typename Lanes<T>::Values v;
    std::memcpy(&v, x + i, sizeof v);
    lanes.add(v, block.pivot);
  }
  double sum = 0, squares = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) sum += lanes.sums[lane];
  if (Lanes<T>::kFloat && !(sum - sum == 0)) {  // rare: an Inf or NaN shows in the sum, so once more, with care
    lanes = {};
    sum = 0;
    for (std::size_t i = 0; i < n; i += kLanes) {
      typename Lanes<T>::Values v;
      std::memcpy(&v, x + i, sizeof v);
      lanes.add_with_care(v, block.pivot);
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) sum += lanes.sums[lane];
  }
  T low = lanes.lowest[0], high = lanes.highest[0];
  std::int64_t zeros = 0, not_finite = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    low = std::min<T>(low, lanes.lowest[lane]);
    high = std::max<T>(high, lanes.highest[lane]);
    squares += lanes.squares[lane];
    zeros -= lanes.zeros[lane];
    not_finite -= lanes.not_finite[lane];
  }
  block.min = std::min<long double>(block.min, low);
  block.max = std::max<long double>(block.max, high);
  block.sum += sum;
  block.sum_of_squares += squares;
  block.zeros += static_cast<std::uint64_t>(zeros);
  block.not_finite += static_cast<std::uint64_t>(not_finite);
}

/// So few that the counts fit into lanes of 8 bits, and that the second look finds them in the cache.
constexpr std::size_t kChunk = 127 * kLanes;

template <class T>
[[gnu::always_inline]] inline void scan_numbers(const T* x, std::size_t n, Block& block) {
  const std::size_t whole = n / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kChunk) scan_chunk(x + i, std::min(kChunk, whole - i), block);
  if (whole == n) return;
  // The rest, filled up with the last element: no matter for min and max, and taken off elsewhere.
  T rest[kLanes];
  std::fill_n(rest, kLanes, x[n - 1]);
  std::copy(x + whole, x + n, rest);
  scan_chunk(rest, kLanes, block);
  const double copies = static_cast<double>(kLanes - (n - whole));
  const bool finite = x[n - 1] - x[n - 1] == 0;
  const double d = finite ? static_cast<double>(x[n - 1]) - block.pivot : 0;
  block.sum -= copies * d;
  block.sum_of_squares -= copies * d * d;
  if (x[n - 1] == 0) block.zeros -= kLanes - (n - whole);
  if (!finite) block.not_finite -= kLanes - (n - whole);
}

CKPT_VECTOR_CLONES void scan(const float* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const double* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::int8_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::int16_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::int32_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::int64_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::uint8_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::uint16_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::uint32_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }
CKPT_VECTOR_CLONES void scan(const std::uint64_t* x, std::size_t n, Block& b) { scan_numbers(x, n, b); }

}  // namespace

bool has_stats(const DType& dtype) { return dtype.type <= ScalarType::float64 || is_narrow_float(dtype.type); }

StatsPart::StatsPart(const DType& dtype, std::uint64_t first_element, std::uint64_t num_elements)
    : type_(dtype.type),
      next_element_(first_element),
      sample_stride_(num_elements / kMaxSample + (num_elements % kMaxSample != 0)),
      min_(std::numeric_limits<long double>::infinity()),
      max_(-std::numeric_limits<long double>::infinity()) {}

template <class T>
void StatsPart::add_numbers(const T* x, std::size_t n) {
  Block block;
  // The first finite one: any value near the others will do.
  const T* pivot = std::find_if(x, x + n, [](T v) { return v - v == 0; });
  block.pivot = pivot == x + n ? 0 : static_cast<double>(*pivot);
  scan(x, n, block);
  if (block.not_finite > 0) {
    if constexpr (std::numeric_limits<T>::is_iec559) {
      const auto nan = static_cast<std::uint64_t>(std::count_if(x, x + n, [](T v) { return v != v; }));
      nan_ += nan;
      inf_ += block.not_finite - nan;
    }
  }
  add_block(block, n);
  const std::uint64_t late = next_element_ % sample_stride_;
  for (std::uint64_t i = late == 0 ? 0 : sample_stride_ - late; i < n; i += sample_stride_) {
    if (x[i] - x[i] == 0) sample_.push_back(static_cast<double>(x[i]));
  }
  next_element_ += n;
}

void StatsPart::add_block(const Block& block, std::uint64_t n) {
  const std::uint64_t finite = n - block.not_finite;
  zeros_ += block.zeros;
  if (finite == 0) return;
  min_ = std::min(min_, block.min);
  max_ = std::max(max_, block.max);
  const double count = static_cast<double>(finite);
  const double offset = block.sum / count;
  const double squares = std::max(0.0, block.sum_of_squares - block.sum * offset);
  const double before = static_cast<double>(finite_);
  const double delta = block.pivot + offset - mean_;
  finite_ += finite;
  mean_ += delta * (count / static_cast<double>(finite_));
  squares_ += squares + delta * delta * (before * (count / static_cast<double>(finite_)));
}

void StatsPart::add(std::span<const std::byte> elements) {
  if (elements.empty()) return;
  const auto numbers = [&]<class T>(T) {
    add_numbers(reinterpret_cast<const T*>(elements.data()), elements.size() / sizeof(T));
  };
  switch (type_) {
    case ScalarType::boolean:
    case ScalarType::uint8: return numbers(std::uint8_t{});
    case ScalarType::uint16: return numbers(std::uint16_t{});
    case ScalarType::uint32: return numbers(std::uint32_t{});
    case ScalarType::uint64: return numbers(std::uint64_t{});
    case ScalarType::int8: return numbers(std::int8_t{});
    case ScalarType::int16: return numbers(std::int16_t{});
    case ScalarType::int32: return numbers(std::int32_t{});
    case ScalarType::int64: return numbers(std::int64_t{});
    case ScalarType::float32: return numbers(float{});
    case ScalarType::float64: return numbers(double{});
    default: break;
  }
  const bool wide = type_ == ScalarType::float16 || type_ == ScalarType::bfloat16;
  floats_.resize(elements.size() / (wide ? 2 : 1));
  widen_to_float(type_, elements, floats_.data());
  add_numbers(floats_.data(), floats_.size());
}

void StatsPart::merge(const StatsPart& next) {
  min_ = std::min(min_, next.min_);
  max_ = std::max(max_, next.max_);
  zeros_ += next.zeros_;
  nan_ += next.nan_;
  inf_ += next.inf_;
  sample_.insert(sample_.end(), next.sample_.begin(), next.sample_.end());
  if (next.finite_ == 0) return;
  const double before = static_cast<double>(finite_), count = static_cast<double>(next.finite_);
  const double delta = next.mean_ - mean_;
  finite_ += next.finite_;
  mean_ += delta * (count / static_cast<double>(finite_));
  squares_ += next.squares_ + delta * delta * (before * (count / static_cast<double>(finite_)));
}

TensorStats StatsPart::finish() const {
  TensorStats out;
  out.zeros = zeros_;
  out.nan = nan_;
  out.inf = inf_;
  if (finite_ == 0) return out;
  out.min = min_;
  out.max = max_;
  out.mean = mean_;
  out.std = std::sqrt(squares_ / static_cast<double>(finite_));
  const double low = static_cast<double>(min_);
  const double half_width = static_cast<double>(max_) / 2 - low / 2;  // halves: the difference may overflow
  const double scale = half_width > 0 ? static_cast<double>(kHistogramBins) / half_width : 0;
  for (double v : sample_) {
    const auto bin = static_cast<std::size_t>((v / 2 - low / 2) * scale);
    ++out.histogram[half_width > 0 ? std::min(bin, kHistogramBins - 1) : kHistogramBins / 2];
  }
  return out;
}

}  // namespace netcl::ckpt
