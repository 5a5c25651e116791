#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/storage.h"
#include "netcl/ckpt/tensor.h"

// Where a program's parameters live, for saving from there and loading to there: memory of the process,
// or of a device (device.h makes such; nothing here knows of what kind a device is).

namespace netcl::ckpt {

struct TensorLoad;

/// A load that has been read and found sound, and waits to be put into its targets. Destroyed without
/// commit(), it leaves them as they were.
class NETCL_CKPT_EXPORT PreparedLoad {
 public:
  virtual ~PreparedLoad() = default;
  /// Errors: device; io if the file has changed since it was prepared: then targets may hold parts of it.
  virtual Result<void> commit() = 0;
};

/// A block of a device's memory. OpenCL's is in device.h; a program may derive its own for a device of another kind.
/// Threads: const access from many.
class NETCL_CKPT_EXPORT DeviceAllocation {
 public:
  virtual ~DeviceAllocation() = default;
  virtual std::uint64_t size_bytes() const = 0;
  /// Its bytes as they are when they are read. Work that was put on the program's own queues must be finished
  /// by then (with OpenCL: clFinish before saving).
  /// Lifetime: keeps the allocation alive.
  virtual StoragePtr storage() const = 0;
  /// Prepares loads into this device's memory, all of whose targets lie there: compares dtypes, shapes, sizes and
  /// checksums, and changes no target before commit().
  virtual Result<std::unique_ptr<PreparedLoad>> prepare(std::span<const TensorLoad> loads, const Run& run) const = 0;
  /// The same for all allocations whose loads can be prepared together, never null, and no other kind's.
  virtual const void* device() const = 0;
};

/// A range of a device's memory: a whole buffer, or a part of a pool.
struct DeviceMemory {
  std::shared_ptr<const DeviceAllocation> allocation;
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

/// Lifetime: a span is borrowed, and must outlive what uses it.
using Memory = std::variant<std::span<std::byte>, DeviceMemory>;

/// One array in memory: C order, little-endian, dense.
struct TensorTarget {
  DType dtype;
  std::vector<std::uint64_t> shape;
  Memory memory;  ///< of exactly the array's size
};

/// `bytes` as a storage, without a copy.
/// Lifetime: `bytes` must outlive the storage and all that reads it.
NETCL_CKPT_EXPORT StoragePtr borrowed_storage(std::span<const std::byte> bytes);

/// All of `storage` as an array of `shape` in C order. If it is not of the array's size, `why_unreadable` says so.
NETCL_CKPT_EXPORT Tensor array_over(StoragePtr storage, ScalarType type, std::vector<std::uint64_t> shape);

/// What lies in a target's memory as a Tensor, to save it. Nothing is read until a writer pulls.
/// Errors: invalid_argument if the memory is not of the array's size, or a range not in its allocation.
NETCL_CKPT_EXPORT Result<Tensor> view_of(const TensorTarget& target);

/// The memory of `values`, a vector, array or span, as an array of `shape`: a TensorTarget, to save it and to load into
/// it, or of constant elements a Tensor, which can only be saved. Lifetime: borrows the memory.
template <std::ranges::contiguous_range Range>
requires std::ranges::borrowed_range<Range> && Element<std::ranges::range_value_t<Range>>
auto host_target(Range&& values, std::vector<std::uint64_t> shape) {
  using T = std::remove_reference_t<std::ranges::range_reference_t<Range>>;
  const std::span<T> elements(values);
  if constexpr (std::is_const_v<T>) {
    return array_over(borrowed_storage(std::as_bytes(elements)), kScalarType<std::remove_const_t<T>>, std::move(shape));
  } else {
    return TensorTarget{make_dtype(kScalarType<T>), std::move(shape), std::as_writable_bytes(elements)};
  }
}

}  // namespace netcl::ckpt
