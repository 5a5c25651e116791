#pragma once

#include <cstdint>
#include <unordered_set>

#include "base/checked.h"
#include "base/try.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// What reading a checkpoint's payloads may take in all. Nothing else bounds it: 4 MB can say that they are petabytes
/// by many views of one storage, views with strides of 0, one tensor under a million names, or members that overlap.
/// Tied weights and masks that were expanded need a small multiple of what is stored, and members that do not overlap
/// never more than the file.
class ReadBudget {
 public:
  /// `file_bytes`: 0 where the payloads are in memory.
  explicit ReadBudget(std::uint64_t file_bytes) : file_bytes_(file_bytes) {}

  /// Before `size_bytes` are read of `storage`.
  /// Errors: limit_exceeded where that makes more than sixteen times what is stored, and a gigabyte.
  Result<void> take(const Storage& storage, std::uint64_t size_bytes) {
    constexpr std::uint64_t kTimes = 16, kFreeBytes = std::uint64_t{1} << 30;
    if (counted_.insert(&storage).second) {
      stored_bytes_ = sum(stored_bytes_, storage.stored_form().stored_bytes);
      const bool overlap = file_bytes_ > 0 && stored_bytes_ / 2 > file_bytes_;
      if (!overlap) allowed_bytes_ = sum(allowed_bytes_, checked_mul(storage.size_bytes(), kTimes).value_or(kMost));
    }
    const std::uint64_t taken = sum(taken_bytes_, size_bytes);
    if (taken > sum(allowed_bytes_, kFreeBytes)) {
      return fail(ErrorCode::limit_exceeded,
                  "tensors or members repeat the same stored bytes too often: reading all of them is too much");
    }
    taken_bytes_ = taken;
    return {};
  }

 private:
  static constexpr std::uint64_t kMost = ~std::uint64_t{0};
  static std::uint64_t sum(std::uint64_t a, std::uint64_t b) { return checked_add(a, b).value_or(kMost); }

  std::uint64_t file_bytes_;
  std::unordered_set<const Storage*> counted_;
  std::uint64_t stored_bytes_ = 0;
  std::uint64_t allowed_bytes_ = 0;
  std::uint64_t taken_bytes_ = 0;
};

}  // namespace netcl::ckpt
