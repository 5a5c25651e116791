#pragma once

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// torch's two bits of a tensor that say how its stored elements are to be read.
struct SignBits {
  bool conjugate = false;  ///< of complex elements
  bool negative = false;
  bool operator==(const SignBits&) const = default;
};

/// `storage`, whose elements of `dtype` lie from its start on, as the bits say that they are. Reading is lazy.
/// Errors: unsupported where the sign of an element is no bit of its own: integers.
Result<StoragePtr> with_sign_bits(StoragePtr storage, const DType& dtype, SignBits bits);

}  // namespace netcl::ckpt
