#pragma once

#include <span>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/device.h"
#include "netcl/ckpt/verify.h"

namespace netcl::ckpt {

/// Sends every tensor to the device and back and compares it with the file, bit for bit. What does not fit
/// there, or cannot be computed with there, is a problem. Tensors that cannot be read are passed over: that
/// has been reported.
/// Errors: device, out_of_memory.
Result<void> verify_on_device(const Tree& tree, std::span<const NamedTensor> tensors, const VerifyOptions& options,
                              VerifyReport& report);

}  // namespace netcl::ckpt
