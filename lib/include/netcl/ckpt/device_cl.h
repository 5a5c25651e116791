#pragma once

#include <CL/cl.h>

#include <cstddef>

#include "netcl/ckpt/device.h"
#include "netcl/ckpt/export.h"

// For programs with an OpenCL context of their own: what they hold as memory that is saved and loaded.
// They link an OpenCL loader; this library loads libOpenCL.so.1 itself, which in one process is the same.

namespace netcl::ckpt {

/// The context and device of `queue`, which is retained. What was put on this queue is finished before
/// memory of it is read or written; work on other queues is the caller's to finish.
/// Errors: device.
NETCL_CKPT_EXPORT Result<Device> wrap_queue(cl_command_queue queue);

/// `size_bytes` from `offset_bytes` on of a buffer, a sub-buffer or a pool, which is retained.
/// Errors: device; invalid_argument if the range is not in the buffer, or the buffer of another context.
NETCL_CKPT_EXPORT Result<DeviceMemory> wrap_buffer(const Device& device, cl_mem buffer, std::size_t offset_bytes,
                                                   std::size_t size_bytes);

/// A coarse-grained SVM allocation of the device's context, or a part of one. Fine-grained memory needs no
/// device: it is a span.
/// Lifetime: borrowed; not freed.
/// Errors: device if the device has no SVM.
NETCL_CKPT_EXPORT Result<DeviceMemory> wrap_svm(const Device& device, void* pointer, std::size_t size_bytes);

/// The buffer that Device::allocate() made, or that was wrapped; null for SVM. Not retained.
NETCL_CKPT_EXPORT cl_mem buffer_of(const DeviceMemory& memory);

NETCL_CKPT_EXPORT cl_context context_of(const Device& device);
NETCL_CKPT_EXPORT cl_device_id id_of(const Device& device);

}  // namespace netcl::ckpt
