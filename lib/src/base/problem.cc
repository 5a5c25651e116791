#include "base/problem.h"

#include "base/try.h"

namespace netcl::ckpt {

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
