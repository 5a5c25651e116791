#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// What stopped the reading of one part, as a finding under `where` that hides none of the others. Of errors for which
/// could_not_look() holds there is none to make.
inline Problem to_problem(const Error& e, std::string where) {
  return {to_string(e.code), Severity::error, std::move(where), e.offset_bytes, e.message, ""};
}

/// The same under the part that the error itself names.
inline Problem to_problem(const Error& e) { return to_problem(e, e.member); }

/// Errors: unsafe, naming the first global that would have to be executed; see Error::way_out.
Result<void> refuse_unsafe(const Problems& problems, std::string_view way_out = "");

}  // namespace netcl::ckpt
