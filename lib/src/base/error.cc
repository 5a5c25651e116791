// Text of errors and severities.
#include "netcl/ckpt/error.h"

#include <fmt/format.h>
#include <cstring>

#include "base/problem.h"
#include "base/try.h"

namespace netcl::ckpt {

const char* to_string(ErrorCode code) { return to_string(problem_code(code)); }

const char* to_string(Severity severity) {
  switch (severity) {
    case Severity::note: return "note";
    case Severity::warning: return "warning";
    case Severity::error: return "error";
    case Severity::unsafe: return "unsafe";
  }
  return "error";
}

tl::unexpected<Error> fail_io(int os_errno, std::string file, std::string_view what) {
  const char* why = std::strerror(os_errno);
  auto error = what.empty() ? fail_in(std::move(file), ErrorCode::io, "{}", why)
                            : fail_in(std::move(file), ErrorCode::io, "{}: {}", what, why);
  error.value().os_errno = os_errno;
  return error;
}

std::string Error::to_string() const {
  constexpr std::size_t kMaxPlaceBytes = 256;  // a member's name may have 64 KiB; the message is one line
  std::string place = member;
  if (place.size() > kMaxPlaceBytes) place = place.substr(0, kMaxPlaceBytes) + "...";
  if (offset_bytes) place += fmt::format("{}byte {}", place.empty() ? "" : ", ", *offset_bytes);
  std::string out = file.empty() ? message : fmt::format("{}: {}", file, message);
  if (!way_out.empty()) out += "; " + way_out;
  if (!place.empty()) out += fmt::format(" ({})", place);
  return out;
}

}  // namespace netcl::ckpt
