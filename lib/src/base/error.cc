// Text of errors.
#include "netcl/ckpt/error.h"

#include <fmt/format.h>

#include "base/problem.h"

namespace netcl::ckpt {

const char* to_string(ErrorCode code) { return to_string(problem_code(code)); }

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
