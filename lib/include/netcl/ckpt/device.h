#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/load.h"

// OpenCL devices, for programs that have no context of their own. Those that have one wrap it: device_cl.h.

namespace netcl::ckpt {

enum class DeviceType : std::uint8_t { cpu, gpu, accelerator, other };

/// "cpu", "gpu", "accelerator", "other". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(DeviceType type);

struct DeviceInfo {
  std::size_t index = 0;  ///< counts through all platforms; what Device::open() takes
  std::string platform;
  std::string name;
  std::string vendor;
  std::string driver;
  std::string version;  ///< of OpenCL, as the device says it
  DeviceType type = DeviceType::other;
  std::uint64_t memory_bytes = 0;
  std::uint64_t max_allocation_bytes = 0;  ///< of one buffer
  bool fp16 = false;                       ///< its kernels compute with these; any type can be held and moved
  bool fp64 = false;
  bool unified_memory = false;  ///< it shares the host's memory, which transfers then map
  bool svm = false;             ///< shared virtual memory, coarse-grained buffers at least
};

/// All devices of all platforms, in the order of the OpenCL loader. Loads libOpenCL.so.1.
/// Errors: device if there is no loader, no driver, or this library was built without OpenCL.
NETCL_CKPT_EXPORT Result<std::vector<DeviceInfo>> list_devices();

struct DeviceState;

/// A device and a context on it.
/// Lifetime: copies share one context, which lives as long as they and all memory of it do.
/// Threads: const access from many.
class NETCL_CKPT_EXPORT Device {
 public:
  /// Opens the device of this index in list_devices(), with a context of its own.
  /// Errors: device; invalid_argument if there is no such device.
  static Result<Device> open(std::size_t index);

  const DeviceInfo& info() const;

  /// A new buffer of `size_bytes`, its contents undefined. Freed with the last copy of what is returned.
  /// Errors: device, out_of_memory.
  Result<DeviceMemory> allocate(std::uint64_t size_bytes) const;

  /// For device_cl.h.
  explicit Device(std::shared_ptr<DeviceState> state) : state_(std::move(state)) {}
  const std::shared_ptr<DeviceState>& state() const { return state_; }

 private:
  std::shared_ptr<DeviceState> state_;
};

}  // namespace netcl::ckpt
