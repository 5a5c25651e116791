#pragma once

#include <string>
#include <unordered_map>

#include "container/pickle_writer.h"
#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Emits NumPy dtypes, remembering those that were emitted before.
class DTypePickler {
 public:
  /// Leaves numpy.dtype's object on the stack. Loading it needs ml_dtypes where NumPy lacks the type.
  Result<void> write(const DType& dtype, PickleWriter& writer);

 private:
  Result<void> write_fields(const DType& dtype, PickleWriter& writer);
  Result<void> write_field_type(const Field& field, PickleWriter& writer);

  std::unordered_map<std::string, std::uint32_t> memo_;  // by descr
};

}  // namespace netcl::ckpt
