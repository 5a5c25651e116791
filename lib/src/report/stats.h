#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/inspect.h"

namespace netcl::ckpt {

/// True for the types that have statistics: booleans, integers, floats of up to 64 bits.
bool has_stats(const DType& dtype);

/// Statistics of a part of a tensor, gathered block by block.
/// Threads: one thread at a time; parts of one tensor may be gathered by many and merged.
class StatsPart {
 public:
  /// `first_element`: where the part begins in a tensor of `num_elements`, so that the histogram's
  /// sample does not depend on how the tensor is divided.
  StatsPart(const DType& dtype, std::uint64_t first_element, std::uint64_t num_elements);

  /// Whole little-endian elements, at most 16 MiB of them.
  void add(std::span<const std::byte> elements);

  /// Appends the part that follows this one.
  void merge(const StatsPart& next);

  TensorStats finish() const;

  /// What one block adds; the kernels fill it.
  struct Block {
    long double min = std::numeric_limits<long double>::infinity();
    long double max = -std::numeric_limits<long double>::infinity();
    double sum = 0;             ///< of differences from `pivot`
    double sum_of_squares = 0;  ///< of the same
    double pivot = 0;
    std::uint64_t zeros = 0;
    std::uint64_t not_finite = 0;
  };

 private:
  template <class T>
  void add_numbers(const T* x, std::size_t n);
  void add_block(const Block& block, std::uint64_t n);

  ScalarType type_;
  std::uint64_t next_element_;
  std::uint64_t sample_stride_;
  long double min_;
  long double max_;
  std::uint64_t finite_ = 0;
  double mean_ = 0;
  double squares_ = 0;  ///< sum of squared differences from the mean
  std::uint64_t zeros_ = 0;
  std::uint64_t nan_ = 0;
  std::uint64_t inf_ = 0;
  std::vector<double> sample_;
  std::vector<float> floats_;  ///< narrow types, widened
};

}  // namespace netcl::ckpt
