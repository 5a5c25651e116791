#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "load/load_plan.h"
#include "load/opencl/opencl.h"
#include "netcl/ckpt/device.h"

namespace netcl::ckpt {

/// Memory of the host that the device's copy engine reaches: transfers from elsewhere run at a sixth.
struct PinnedSlot {
  ClMem memory;
  std::byte* data = nullptr;
};

/// What one thread moves bytes with: a queue, and two slots to overlap the file with the bus.
struct Lane {
  ClQueue queue;
  std::array<PinnedSlot, 2> slots;

  Lane() = default;
  Lane(Lane&&) = delete;
  ~Lane();
};

struct DeviceState {
  ClContext context;
  cl_device_id id = nullptr;
  DeviceInfo info;
  ClQueue program_queue;  ///< of a wrapped queue: finished before its memory is touched
  bool maps = false;      ///< transfers map the device's memory; false stages them through pinned slots
  std::uint64_t scratch_chunk_bytes = std::uint64_t{256} << 20;
  bool checks_first = false;  ///< loads never go through a copy on the device; for tests

  /// A lane of its own for the calling thread; made where none is idle, for pinning memory takes long.
  Result<std::unique_ptr<Lane>> take_lane();
  void give_back(std::unique_ptr<Lane> lane);
  void drop_idle_lanes();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> idle_;
};

using DeviceStatePtr = std::shared_ptr<DeviceState>;

/// A lane for as long as this lives.
class LaneLease {
 public:
  static Result<LaneLease> take(DeviceStatePtr state);
  LaneLease(LaneLease&&) noexcept = default;
  LaneLease& operator=(LaneLease&&) = delete;
  ~LaneLease() {
    if (lane_) state_->give_back(std::move(lane_));
  }
  Lane* operator->() const { return lane_.get(); }

 private:
  LaneLease(DeviceStatePtr state, std::unique_ptr<Lane> lane) : state_(std::move(state)), lane_(std::move(lane)) {}
  DeviceStatePtr state_;
  std::unique_ptr<Lane> lane_;
};

/// Bytes on the device: of a buffer, or of SVM.
struct Place {
  cl_mem memory = nullptr;
  std::byte* svm = nullptr;
  std::uint64_t offset_bytes = 0;

  Place at(std::uint64_t more_bytes) const { return {memory, svm, offset_bytes + more_bytes}; }
};

/// Puts one transfer on a queue and does not wait. `event` may be null.
Result<void> enqueue_write(cl_command_queue queue, const Place& to, std::span<const std::byte> from, ClEvent* event);
Result<void> enqueue_read(cl_command_queue queue, const Place& from, std::span<std::byte> to, ClEvent* event);
Result<void> enqueue_copy(cl_command_queue queue, const Place& from, const Place& to, std::uint64_t size_bytes);
Result<void> wait_for(ClEvent& event);

/// Memory of the device as the host's for as long as this lives.
class Mapping {
 public:
  static Result<Mapping> make(cl_command_queue queue, const Place& place, std::uint64_t size_bytes, bool for_writing);
  Mapping(Mapping&& other) noexcept
      : queue_(other.queue_), place_(other.place_), bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() { (void)unmap(); }
  std::span<std::byte> bytes() const { return bytes_; }
  Result<void> unmap();

 private:
  Mapping(cl_command_queue queue, const Place& place, std::span<std::byte> bytes)
      : queue_(queue), place_(place), bytes_(bytes) {}
  cl_command_queue queue_;
  Place place_;
  std::span<std::byte> bytes_;
};

/// A block of device memory, owned or borrowed.
class ClAllocation final : public DeviceAllocation, public std::enable_shared_from_this<ClAllocation> {
 public:
  ClAllocation(DeviceStatePtr state, ClMem memory, std::uint64_t size_bytes)
      : state_(std::move(state)), memory_(std::move(memory)), size_bytes_(size_bytes) {}
  ClAllocation(DeviceStatePtr state, void* borrowed_svm, std::uint64_t size_bytes)
      : state_(std::move(state)), svm_(static_cast<std::byte*>(borrowed_svm)), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const override { return size_bytes_; }
  StoragePtr storage() const override;
  Result<std::unique_ptr<PreparedLoad>> prepare(std::span<const TensorLoad> loads, const Run& run) const override;
  const void* device() const override { return state_.get(); }
  Place place() const { return {memory_.get(), svm_, 0}; }
  const DeviceStatePtr& state() const { return state_; }

 private:
  DeviceStatePtr state_;
  ClMem memory_;
  std::byte* svm_ = nullptr;
  std::uint64_t size_bytes_;
};

/// Lets the program's own queue finish what it may still be doing with the memory.
Result<void> finish_program_queue(const DeviceState& state);

}  // namespace netcl::ckpt
