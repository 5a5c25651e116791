#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/storage.h"
#include "netcl/ckpt/tensor.h"

// Where a program's parameters live, for saving from there and loading to there: memory of the process,
// or of a device (device.h makes such; nothing here knows of what kind a device is).

namespace netcl::ckpt {

struct TensorLoad;

/// How tensors are moved.
struct LoadOptions {
  unsigned jobs = 0;  ///< threads; 0 is one for each core
  /// Called by any thread with bytes done and in all, once for each block.
  std::function<void(std::uint64_t, std::uint64_t)> progress;
  const std::atomic<bool>* cancel = nullptr;  ///< where it becomes true: `cancelled`, targets untouched
};

/// A load that has been read and found sound, and waits to be put into its targets. Destroyed without
/// commit(), it leaves them as they were.
class PreparedLoad {
 public:
  virtual ~PreparedLoad() = default;
  /// Errors: device; io where the file has changed since it was prepared: then targets may hold parts of it.
  virtual Result<void> commit() = 0;
};

/// A block of a device's memory.
/// Threads: const access from many.
class DeviceAllocation {
 public:
  virtual ~DeviceAllocation() = default;
  virtual std::uint64_t size_bytes() const = 0;
  /// Its bytes as they are when they are read. Work that was put on the program's own queues must be finished
  /// by then: clFinish before saving.
  /// Lifetime: keeps the allocation alive.
  virtual StoragePtr storage() const = 0;
  /// Prepares loads into this device's memory, all of whose targets lie there.
  virtual Result<std::unique_ptr<PreparedLoad>> prepare(std::span<const TensorLoad> loads,
                                                        const LoadOptions& options) const = 0;
  /// The same for all allocations whose loads can be prepared together.
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
StoragePtr borrowed_storage(std::span<const std::byte> bytes);

/// What lies in a target's memory as a Tensor, to save it. Nothing is read until a writer pulls.
/// Errors: invalid_argument where the memory is not of the array's size, or a range not in its allocation.
Result<Tensor> view_of(const TensorTarget& target);

/// The memory of `values` as an array of `shape`.
TensorTarget host_target(std::span<float> values, std::vector<std::uint64_t> shape);

}  // namespace netcl::ckpt
