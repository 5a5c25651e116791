// What is known of devices in a build without OpenCL, too.
#include "base/try.h"
#include "netcl/ckpt/device.h"

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
Result<std::vector<DeviceInfo>> list_devices() {
  return fail(ErrorCode::device, "this netcl-ckpt was built without OpenCL");
}

Result<Device> Device::open(std::size_t) { return fail(ErrorCode::device, "this netcl-ckpt was built without OpenCL"); }
#endif

}  // namespace netcl::ckpt
