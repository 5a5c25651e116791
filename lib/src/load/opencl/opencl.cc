// OpenCL as a table of function pointers, filled from libOpenCL.so.1 when a device is first asked for.
//
// The program must run where no driver and no loader is installed, and its other commands must not pay for
// loading one: the loader opens every driver on the machine, which takes from 20 ms to seconds. Linking
// libOpenCL weakly leaves the DT_NEEDED entry, and thus that cost and that need; a plug-in of our own would
// be one more file to install and to find. The table also is the seam at which tests count references.
#include "load/opencl/opencl.h"

#include <utility>

#include "base/shared_library.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

const char* status_name(cl_int status) {
  switch (status) {
    case CL_DEVICE_NOT_AVAILABLE: return "CL_DEVICE_NOT_AVAILABLE";
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "CL_MEM_OBJECT_ALLOCATION_FAILURE";
    case CL_OUT_OF_RESOURCES: return "CL_OUT_OF_RESOURCES";
    case CL_OUT_OF_HOST_MEMORY: return "CL_OUT_OF_HOST_MEMORY";
    case CL_MAP_FAILURE: return "CL_MAP_FAILURE";
    case CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST: return "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST";
    case CL_INVALID_VALUE: return "CL_INVALID_VALUE";
    case CL_INVALID_CONTEXT: return "CL_INVALID_CONTEXT";
    case CL_INVALID_COMMAND_QUEUE: return "CL_INVALID_COMMAND_QUEUE";
    case CL_INVALID_MEM_OBJECT: return "CL_INVALID_MEM_OBJECT";
    case CL_INVALID_BUFFER_SIZE: return "CL_INVALID_BUFFER_SIZE";
    case CL_INVALID_OPERATION: return "CL_INVALID_OPERATION";
    default: return "OpenCL status";
  }
}

bool find_all(const SharedLibrary& library, OpenCl& cl) {
  // Missing in loaders older than 2.0.
  library.find(cl.svm_alloc, "clSVMAlloc");
  library.find(cl.svm_free, "clSVMFree");
  library.find(cl.enqueue_svm_memcpy, "clEnqueueSVMMemcpy");
  library.find(cl.enqueue_svm_map, "clEnqueueSVMMap");
  library.find(cl.enqueue_svm_unmap, "clEnqueueSVMUnmap");
  return library.find(cl.get_platform_ids, "clGetPlatformIDs") &&
         library.find(cl.get_platform_info, "clGetPlatformInfo") && library.find(cl.get_device_ids, "clGetDeviceIDs") &&
         library.find(cl.get_device_info, "clGetDeviceInfo") && library.find(cl.create_context, "clCreateContext") &&
         library.find(cl.retain_context, "clRetainContext") && library.find(cl.release_context, "clReleaseContext") &&
         library.find(cl.create_command_queue, "clCreateCommandQueue") &&
         library.find(cl.get_command_queue_info, "clGetCommandQueueInfo") &&
         library.find(cl.retain_command_queue, "clRetainCommandQueue") &&
         library.find(cl.release_command_queue, "clReleaseCommandQueue") &&
         library.find(cl.create_buffer, "clCreateBuffer") &&
         library.find(cl.get_mem_object_info, "clGetMemObjectInfo") &&
         library.find(cl.retain_mem_object, "clRetainMemObject") &&
         library.find(cl.release_mem_object, "clReleaseMemObject") &&
         library.find(cl.enqueue_read_buffer, "clEnqueueReadBuffer") &&
         library.find(cl.enqueue_write_buffer, "clEnqueueWriteBuffer") &&
         library.find(cl.enqueue_copy_buffer, "clEnqueueCopyBuffer") &&
         library.find(cl.enqueue_fill_buffer, "clEnqueueFillBuffer") &&
         library.find(cl.enqueue_map_buffer, "clEnqueueMapBuffer") &&
         library.find(cl.enqueue_unmap_mem_object, "clEnqueueUnmapMemObject") &&
         library.find(cl.wait_for_events, "clWaitForEvents") && library.find(cl.release_event, "clReleaseEvent") &&
         library.find(cl.flush, "clFlush") && library.find(cl.finish, "clFinish");
}

enum class Loaded { no_library, too_old, yes };

}  // namespace

OpenCl& opencl() {
  static OpenCl table;
  return table;
}

Result<void> load_opencl() {
  static const Loaded loaded = [] {
    const SharedLibrary library("libOpenCL.so.1");
    if (!library.loaded()) return Loaded::no_library;
    return find_all(library, opencl()) ? Loaded::yes : Loaded::too_old;
  }();
  switch (loaded) {
    case Loaded::no_library: return fail(ErrorCode::device, "no OpenCL device here: libOpenCL.so.1 is not installed");
    case Loaded::too_old: return fail(ErrorCode::device, "libOpenCL.so.1 is older than OpenCL 1.2");
    case Loaded::yes: return {};
  }
  return {};
}

Error cl_error(const char* function, cl_int status) {
  Error e;
  const bool memory = status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_HOST_MEMORY;
  e.code = memory ? ErrorCode::out_of_memory : ErrorCode::device;
  e.message = fmt::format("{} failed: {} ({})", function, status_name(status), status);
  return e;
}

Result<void> cl_check(const char* function, cl_int status) {
  if (status == CL_SUCCESS) return {};
  return tl::make_unexpected(cl_error(function, status));
}

}  // namespace netcl::ckpt
