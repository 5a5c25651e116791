#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "netcl/ckpt/dtype.h"

namespace netcl::ckpt {

/// What makes two elements different. At most one of tolerances, `ulp` and `bitwise` is set.
struct Criterion {
  double rtol = 0;  ///< |a - b| <= atol + rtol * |b| is the same, as in NumPy
  double atol = 0;
  std::uint64_t ulp = 0;  ///< this many representable numbers apart is the same; floats only
  bool bitwise = false;   ///< NaN payloads and the sign of zero count
  bool equal_nan = true;
};

constexpr std::size_t kDecades = 20;

/// The largest of something, and the first element that has it.
struct Peak {
  long double value = 0;
  std::uint64_t index = 0;  ///< meaningful where value > 0

  void raise(long double candidate, std::uint64_t at) {
    if (candidate > value) *this = {candidate, at};
  }
};

/// What was found in runs of pairs of elements. Runs merge in the order of their elements, so that sums
/// do not depend on who gathered them.
struct PairFigures {
  std::uint64_t differing = 0;
  std::uint64_t nan_appeared = 0;  ///< NaN in b, finite in a
  std::uint64_t nan_vanished = 0;
  std::uint64_t inf_appeared = 0;
  std::uint64_t inf_vanished = 0;
  std::uint64_t finite = 0;  ///< pairs of finite numbers; all below is of those
  Peak max_abs;              ///< |a - b|
  Peak max_rel;              ///< |a - b| / |b| where b is not 0
  std::uint64_t max_ulp = 0;
  long double squares_of_difference = 0;
  long double squares_of_a = 0;
  long double squares_of_b = 0;
  long double products = 0;
  /// |a - b| by decade: below 1e-12, [1e-12, 1e-11), …, [1e5, 1e6), from 1e6 on. Zeros are in none.
  std::array<std::uint64_t, kDecades> decades{};

  void merge(const PairFigures& next);
};

/// Compares elements of two types, run by run.
/// Threads: const; any number.
class PairComparer {
 public:
  /// True where elements of these types can be told to be equal by value: any two of booleans, integers,
  /// floats and complex numbers; text of any two lengths; else the same type.
  static bool comparable(const DType& a, const DType& b);

  /// `a` and `b` are comparable. `decades`: count those too.
  PairComparer(const DType& a, const DType& b, const Criterion& criterion, bool decades);

  bool is_numeric() const { return arithmetic_ != Arithmetic::bytes; }
  /// The types are one floating-point type, real or complex.
  bool has_ulp() const { return has_ulp_; }
  /// Elements that are the same byte by byte are equal, too: not so where NaN is unequal to itself.
  bool identical_is_equal() const { return identical_is_equal_; }

  /// Whole little-endian elements, as many of `a` as of `b`; the first has index `first`.
  void compare(std::span<const std::byte> a, std::span<const std::byte> b, std::uint64_t first,
               PairFigures& figures) const;

  /// What compare(elements, elements) finds where identical is equal, but faster.
  void add_identical(std::span<const std::byte> elements, PairFigures& figures) const;

 private:
  enum class Arithmetic { bytes, doubles, long_doubles, complex_doubles, complex_long_doubles };

  void compare_chunk(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                     PairFigures& figures) const;
  // By value: add to the figures, and return how many differ by the tolerances.
  std::uint64_t compare_values(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                               PairFigures& figures) const;
  std::uint64_t compare_doubles(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                                PairFigures& figures) const;
  template <class Real, bool kComplex>
  std::uint64_t compare_each(const std::byte* a, const std::byte* b, std::size_t n, std::uint64_t first,
                             PairFigures& figures) const;
  /// Sets the largest distance, and returns how many are further apart than `ulp`.
  std::uint64_t compare_ulp(const std::byte* a, const std::byte* b, std::size_t n, PairFigures& figures) const;
  std::uint64_t count_unequal_bytes(const std::byte* a, const std::byte* b, std::size_t n) const;

  DType a_;
  DType b_;
  Criterion criterion_;
  bool count_decades_;
  Arithmetic arithmetic_ = Arithmetic::bytes;
  bool has_ulp_ = false;
  bool identical_is_equal_ = true;
};

}  // namespace netcl::ckpt
