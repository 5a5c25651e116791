#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// What is the same for all problems of one code. Lifetime of its text: static storage.
struct ProblemKind {
  ProblemCode code;
  const char* word;
  Severity severity;    ///< the usual one
  const char* section;  ///< of netcl-ckpt-verify(1); "" if the page does not list the code
  const char* text;     ///< what the page says of it, behind the severity
};

/// One for each code, in the order of the enum: the one table of them.
std::span<const ProblemKind> problem_kinds();

/// The code of a problem that an error was made into.
ProblemCode problem_code(ErrorCode code);

/// A finding that is as grave as its code usually is, unless `severity` says otherwise.
Problem make_problem(ProblemCode code, std::string where, std::optional<std::uint64_t> offset_bytes,
                     std::string message, std::optional<Severity> severity = {});

/// What stopped the reading of one part, as a finding under `where` that hides none of the others. Of errors for which
/// could_not_look() holds there is none to make.
Problem to_problem(const Error& e, std::string where);

/// The same under the part that the error itself names.
Problem to_problem(const Error& e);

/// Errors: unsafe, naming the first global that would have to be executed; see Error::way_out.
Result<void> refuse_unsafe(const Problems& problems, std::string_view way_out = "");

}  // namespace netcl::ckpt
