#pragma once

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 200
#endif
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include <memory>
#include <type_traits>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// The functions of OpenCL that are used here. Mutable, so that tests can count and fail calls.
struct OpenCl {
  decltype(&::clGetPlatformIDs) get_platform_ids = nullptr;
  decltype(&::clGetPlatformInfo) get_platform_info = nullptr;
  decltype(&::clGetDeviceIDs) get_device_ids = nullptr;
  decltype(&::clGetDeviceInfo) get_device_info = nullptr;
  decltype(&::clCreateContext) create_context = nullptr;
  decltype(&::clRetainContext) retain_context = nullptr;
  decltype(&::clReleaseContext) release_context = nullptr;
  decltype(&::clCreateCommandQueue) create_command_queue = nullptr;
  decltype(&::clGetCommandQueueInfo) get_command_queue_info = nullptr;
  decltype(&::clRetainCommandQueue) retain_command_queue = nullptr;
  decltype(&::clReleaseCommandQueue) release_command_queue = nullptr;
  decltype(&::clCreateBuffer) create_buffer = nullptr;
  decltype(&::clGetMemObjectInfo) get_mem_object_info = nullptr;
  decltype(&::clRetainMemObject) retain_mem_object = nullptr;
  decltype(&::clReleaseMemObject) release_mem_object = nullptr;
  decltype(&::clEnqueueReadBuffer) enqueue_read_buffer = nullptr;
  decltype(&::clEnqueueWriteBuffer) enqueue_write_buffer = nullptr;
  decltype(&::clEnqueueCopyBuffer) enqueue_copy_buffer = nullptr;
  decltype(&::clEnqueueFillBuffer) enqueue_fill_buffer = nullptr;
  decltype(&::clEnqueueMapBuffer) enqueue_map_buffer = nullptr;
  decltype(&::clEnqueueUnmapMemObject) enqueue_unmap_mem_object = nullptr;
  decltype(&::clWaitForEvents) wait_for_events = nullptr;
  decltype(&::clReleaseEvent) release_event = nullptr;
  decltype(&::clFlush) flush = nullptr;
  decltype(&::clFinish) finish = nullptr;
  // OpenCL 2.0; null in older loaders.
  decltype(&::clSVMAlloc) svm_alloc = nullptr;
  decltype(&::clSVMFree) svm_free = nullptr;
  decltype(&::clEnqueueSVMMemcpy) enqueue_svm_memcpy = nullptr;
  decltype(&::clEnqueueSVMMap) enqueue_svm_map = nullptr;
  decltype(&::clEnqueueSVMUnmap) enqueue_svm_unmap = nullptr;
};

/// The table, filled by the first call of load_opencl().
OpenCl& opencl();

/// Loads libOpenCL.so.1, once.
/// Errors: device where there is none, or one without OpenCL 1.2.
Result<void> load_opencl();

/// "clEnqueueWriteBuffer failed: CL_OUT_OF_RESOURCES (-5)". Out of memory is told apart.
Error cl_error(const char* function, cl_int status);
Result<void> cl_check(const char* function, cl_int status);

/// Owns one reference to an OpenCL object.
template <class T, auto Release>
class ClHandle {
 public:
  ClHandle() = default;
  explicit ClHandle(T object) : object_(object) {}
  ClHandle(ClHandle&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ClHandle& operator=(ClHandle&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~ClHandle() { reset(); }
  T get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  void reset() {
    if (object_ != nullptr) (opencl().*Release)(std::exchange(object_, nullptr));
  }

 private:
  T object_ = nullptr;
};

using ClContext = ClHandle<cl_context, &OpenCl::release_context>;
using ClQueue = ClHandle<cl_command_queue, &OpenCl::release_command_queue>;
using ClMem = ClHandle<cl_mem, &OpenCl::release_mem_object>;
using ClEvent = ClHandle<cl_event, &OpenCl::release_event>;

}  // namespace netcl::ckpt
