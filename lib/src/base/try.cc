#include "base/try.h"

#include <cstring>

namespace netcl::ckpt {

tl::unexpected<Error> fail_io(int os_errno, std::string file, std::string_view what) {
  const char* why = std::strerror(os_errno);
  auto error = what.empty() ? fail_in(std::move(file), ErrorCode::io, "{}", why)
                            : fail_in(std::move(file), ErrorCode::io, "{}: {}", what, why);
  error.value().os_errno = os_errno;
  return error;
}

}  // namespace netcl::ckpt
