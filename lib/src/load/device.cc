// What is known of devices in a build without OpenCL, too.
#include "netcl/ckpt/device.h"
#include "base/try.h"

namespace netcl::ckpt {

const char* to_string(DeviceType type) {
  switch (type) {
    case DeviceType::cpu: return "cpu";
    case DeviceType::gpu: return "gpu";
    case DeviceType::accelerator: return "accelerator";
    case DeviceType::other: return "other";
  }
  return "other";
}

#ifndef NETCL_CKPT_OPENCL
struct DeviceState {  // of no device: none can be opened
  DeviceInfo info;
};

namespace {

tl::unexpected<Error> without_opencl() { return fail(ErrorCode::device, "this netcl-ckpt was built without OpenCL"); }

}  // namespace

const DeviceInfo& Device::info() const { return state_->info; }
Result<std::vector<DeviceInfo>> list_devices() { return without_opencl(); }
Result<Device> Device::open(std::size_t) { return without_opencl(); }
Result<DeviceMemory> Device::allocate(std::uint64_t) const { return without_opencl(); }
#endif

}  // namespace netcl::ckpt
