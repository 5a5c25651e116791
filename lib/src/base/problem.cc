#include "base/problem.h"

#include <utility>

#include "base/try.h"

namespace netcl::ckpt {

ProblemCode problem_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::io: return ProblemCode::io;
    case ErrorCode::truncated: return ProblemCode::truncated;
    case ErrorCode::corrupt: return ProblemCode::corrupt;
    case ErrorCode::unsupported: return ProblemCode::unsupported;
    case ErrorCode::limit_exceeded: return ProblemCode::limit_exceeded;
    case ErrorCode::unsafe: return ProblemCode::unsafe;
    case ErrorCode::checksum_mismatch: return ProblemCode::checksum_mismatch;
    case ErrorCode::invalid_argument: return ProblemCode::invalid_argument;
    case ErrorCode::out_of_memory: return ProblemCode::out_of_memory;
    case ErrorCode::device: return ProblemCode::device;
    case ErrorCode::cancelled: return ProblemCode::cancelled;
    case ErrorCode::internal: return ProblemCode::internal;
  }
  return ProblemCode::internal;
}

Problem make_problem(ProblemCode code, std::string where, std::optional<std::uint64_t> offset_bytes,
                     std::string message, std::optional<Severity> severity) {
  const Severity usual = problem_kinds()[static_cast<std::size_t>(code)].severity;
  return {code, severity.value_or(usual), std::move(where), offset_bytes, std::move(message), ""};
}

Problem to_problem(const Error& e, std::string where) {
  return make_problem(problem_code(e.code), std::move(where), e.offset_bytes, e.message);
}

Problem to_problem(const Error& e) { return to_problem(e, e.member); }

Result<void> refuse_unsafe(const Problems& problems, std::string_view way_out) {
  for (const Problem& p : problems) {
    if (p.severity == Severity::unsafe) {
      return with_way_out(fail_at(ErrorCode::unsafe, p.where, p.offset_bytes,
                                  "refused: it needs {}, which is never executed", p.global),
                          std::string(way_out));
    }
  }
  return {};
}

}  // namespace netcl::ckpt
