#pragma once

#include <cstdint>
#include <memory>

#include "model/compare.h"
#include "netcl/ckpt/diff.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/tensor.h"

namespace netcl::ckpt {

/// Pairs of tensors whose elements are to be compared, and what fills in how they differ.
class PayloadComparison {
 public:
  /// Lifetime: borrows both.
  PayloadComparison(const Criterion& criterion, const DiffOptions& options);
  ~PayloadComparison();

  /// A pair of one shape; `out` receives its change, figures and error, and stays where it is until run() returns.
  void add(Tensor a, Tensor b, TensorDiff& out);
  std::size_t size() const;

  /// Compares all pairs that were added, on all cores, and forgets them. With options.brief it ends at the first
  /// difference.
  /// Returns: whether a difference was found.
  /// Errors: cancelled. A payload that cannot be read is an error of its pair.
  Result<bool> run();

 private:
  class Job;
  struct Jobs;
  std::unique_ptr<Jobs> jobs_;
};

/// True if both are one place of one file, in the same form.
bool same_place(const StoredForm& a, const StoredForm& b);

/// The same elements in the same order of storages that hold the same bytes.
bool same_view(const Tensor& a, const Tensor& b);

}  // namespace netcl::ckpt
