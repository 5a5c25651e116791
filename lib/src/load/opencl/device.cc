// Devices, contexts and their memory.
#include <algorithm>

#include "base/try.h"
#include "load/opencl/device_state.h"
#include "netcl/ckpt/device_cl.h"

namespace netcl::ckpt {
namespace {

std::string device_text(cl_device_id id, cl_device_info what) {
  std::size_t size = 0;
  if (opencl().get_device_info(id, what, 0, nullptr, &size) != CL_SUCCESS || size == 0) return "";
  std::string text(size, '\0');
  if (opencl().get_device_info(id, what, size, text.data(), nullptr) != CL_SUCCESS) return "";
  text.resize(text.find('\0') == text.npos ? text.size() : text.find('\0'));
  text.erase(0, text.find_first_not_of(' '));
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

template <class T>
T device_number(cl_device_id id, cl_device_info what) {
  T value{};
  return opencl().get_device_info(id, what, sizeof value, &value, nullptr) == CL_SUCCESS ? value : T{};
}

std::string platform_name(cl_platform_id id) {
  char text[256] = {};
  opencl().get_platform_info(id, CL_PLATFORM_NAME, sizeof text - 1, text, nullptr);
  return text;
}

DeviceType type_of(cl_device_type type) {
  if ((type & CL_DEVICE_TYPE_GPU) != 0) return DeviceType::gpu;
  if ((type & CL_DEVICE_TYPE_CPU) != 0) return DeviceType::cpu;
  return (type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? DeviceType::accelerator : DeviceType::other;
}

DeviceInfo describe(cl_device_id id) {
  DeviceInfo info;
  const std::string extensions = " " + device_text(id, CL_DEVICE_EXTENSIONS) + " ";
  const auto has = [&](const char* name) { return extensions.find(name) != extensions.npos; };
  info.platform = platform_name(device_number<cl_platform_id>(id, CL_DEVICE_PLATFORM));
  info.name = device_text(id, CL_DEVICE_NAME);
  info.vendor = device_text(id, CL_DEVICE_VENDOR);
  info.driver = device_text(id, CL_DRIVER_VERSION);
  info.version = device_text(id, CL_DEVICE_VERSION);
  info.type = type_of(device_number<cl_device_type>(id, CL_DEVICE_TYPE));
  info.memory_bytes = device_number<cl_ulong>(id, CL_DEVICE_GLOBAL_MEM_SIZE);
  info.max_allocation_bytes = device_number<cl_ulong>(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  info.fp16 = has(" cl_khr_fp16 ");
  info.fp64 = has(" cl_khr_fp64 ") || device_number<cl_device_fp_config>(id, CL_DEVICE_DOUBLE_FP_CONFIG) != 0;
  info.unified_memory = device_number<cl_bool>(id, CL_DEVICE_HOST_UNIFIED_MEMORY) == CL_TRUE;
  const auto svm = device_number<cl_device_svm_capabilities>(id, CL_DEVICE_SVM_CAPABILITIES);
  info.svm = (svm & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER) != 0 && opencl().enqueue_svm_memcpy != nullptr;
  return info;
}

Result<std::vector<cl_device_id>> device_ids() {
  CKPT_CHECK(load_opencl());
  std::vector<cl_device_id> out;
  cl_uint num_platforms = 0;
  // A loader without drivers gives CL_PLATFORM_NOT_FOUND_KHR, some give success and none.
  if (opencl().get_platform_ids(0, nullptr, &num_platforms) != CL_SUCCESS) num_platforms = 0;
  std::vector<cl_platform_id> platforms(num_platforms);
  if (num_platforms > 0) opencl().get_platform_ids(num_platforms, platforms.data(), nullptr);
  for (cl_platform_id platform : platforms) {
    cl_uint num_devices = 0;
    // A driver whose device is not there says CL_DEVICE_NOT_FOUND: the others count all the same.
    if (opencl().get_device_ids(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &num_devices) != CL_SUCCESS) continue;
    const std::size_t first = out.size();
    out.resize(first + num_devices);
    if (opencl().get_device_ids(platform, CL_DEVICE_TYPE_ALL, num_devices, out.data() + first, nullptr) != CL_SUCCESS) {
      out.resize(first);
    }
  }
  if (out.empty()) {
    return fail(ErrorCode::device, "no OpenCL device here: {}",
                num_platforms == 0 ? "no driver is installed" : "the installed drivers have none");
  }
  return out;
}

DeviceStatePtr make_state(cl_device_id id, ClContext context) {
  auto state = std::make_shared<DeviceState>();
  state->context = std::move(context);
  state->id = id;
  state->info = describe(id);
  state->maps = state->info.unified_memory || state->info.type == DeviceType::cpu;
  return state;
}

const ClAllocation* allocation_of(const DeviceMemory& memory) {
  return dynamic_cast<const ClAllocation*>(memory.allocation.get());
}

}  // namespace

Result<std::vector<DeviceInfo>> list_devices() {
  return guarded([&]() -> Result<std::vector<DeviceInfo>> {
    CKPT_TRY(const auto ids, device_ids());
    std::vector<DeviceInfo> out;
    for (cl_device_id id : ids) {
      out.push_back(describe(id));
      out.back().index = out.size() - 1;
    }
    return out;
  });
}

Result<Device> Device::open(std::size_t index) {
  return guarded([&]() -> Result<Device> {
    CKPT_TRY(const auto ids, device_ids());
    if (index >= ids.size()) {
      return fail(ErrorCode::invalid_argument, "there is no device {}: the last one is {}", index, ids.size() - 1);
    }
    cl_int status = CL_SUCCESS;
    ClContext context(opencl().create_context(nullptr, 1, &ids[index], nullptr, nullptr, &status));
    CKPT_CHECK(cl_check("clCreateContext", status));
    auto state = make_state(ids[index], std::move(context));
    state->info.index = index;
    return Device(std::move(state));
  });
}

const DeviceInfo& Device::info() const { return state_->info; }

Result<DeviceMemory> Device::allocate(std::uint64_t size_bytes) const {
  return guarded([&]() -> Result<DeviceMemory> {
    if (size_bytes == 0) return fail(ErrorCode::invalid_argument, "a device buffer of no bytes cannot be made");
    cl_int status = CL_SUCCESS;
    ClMem memory(opencl().create_buffer(state_->context.get(), CL_MEM_READ_WRITE, size_bytes, nullptr, &status));
    CKPT_CHECK(cl_check("clCreateBuffer", status));
    return DeviceMemory{std::make_shared<ClAllocation>(state_, std::move(memory), size_bytes), 0, size_bytes};
  });
}

Result<Device> wrap_queue(cl_command_queue queue) {
  return guarded([&]() -> Result<Device> {
    CKPT_CHECK(load_opencl());
    cl_context context = nullptr;
    cl_device_id id = nullptr;
    CKPT_CHECK(cl_check("clGetCommandQueueInfo",
                        opencl().get_command_queue_info(queue, CL_QUEUE_CONTEXT, sizeof context, &context, nullptr)));
    CKPT_CHECK(cl_check("clGetCommandQueueInfo",
                        opencl().get_command_queue_info(queue, CL_QUEUE_DEVICE, sizeof id, &id, nullptr)));
    CKPT_CHECK(cl_check("clRetainContext", opencl().retain_context(context)));
    auto state = make_state(id, ClContext(context));
    CKPT_CHECK(cl_check("clRetainCommandQueue", opencl().retain_command_queue(queue)));
    state->program_queue = ClQueue(queue);
    return Device(std::move(state));
  });
}

Result<DeviceMemory> wrap_buffer(const Device& device, cl_mem buffer, std::size_t offset_bytes,
                                 std::size_t size_bytes) {
  return guarded([&]() -> Result<DeviceMemory> {
    std::size_t whole = 0;
    cl_context context = nullptr;
    CKPT_CHECK(cl_check("clGetMemObjectInfo",
                        opencl().get_mem_object_info(buffer, CL_MEM_SIZE, sizeof whole, &whole, nullptr)));
    CKPT_CHECK(cl_check("clGetMemObjectInfo",
                        opencl().get_mem_object_info(buffer, CL_MEM_CONTEXT, sizeof context, &context, nullptr)));
    if (context != device.state()->context.get()) {
      return fail(ErrorCode::invalid_argument, "the buffer belongs to another OpenCL context");
    }
    if (offset_bytes > whole || size_bytes > whole - offset_bytes) {
      return fail(ErrorCode::invalid_argument, "the range lies beyond the buffer of {} bytes", whole);
    }
    CKPT_CHECK(cl_check("clRetainMemObject", opencl().retain_mem_object(buffer)));
    ClMem owned(buffer);
    return DeviceMemory{std::make_shared<ClAllocation>(device.state(), std::move(owned), whole), offset_bytes,
                        size_bytes};
  });
}

Result<DeviceMemory> wrap_svm(const Device& device, void* pointer, std::size_t size_bytes) {
  return guarded([&]() -> Result<DeviceMemory> {
    if (!device.info().svm) return fail(ErrorCode::device, "the device has no shared virtual memory");
    return DeviceMemory{std::make_shared<ClAllocation>(device.state(), pointer, size_bytes), 0, size_bytes};
  });
}

cl_mem buffer_of(const DeviceMemory& memory) {
  const ClAllocation* allocation = allocation_of(memory);
  return allocation == nullptr ? nullptr : allocation->place().memory;
}

cl_context context_of(const Device& device) { return device.state()->context.get(); }

cl_device_id id_of(const Device& device) { return device.state()->id; }

}  // namespace netcl::ckpt
