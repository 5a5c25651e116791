// What was written, and what was left out.
#include "write_report.h"

#include <errno.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "log.h"
#include "text.h"

namespace netcl::ckpt::app {

void log_input_problems(const std::string& path, const Problems& problems) {
  Problems others = problems;
  std::erase_if(others, [](const Problem& p) { return p.code == ProblemCode::foreign_global; });
  log_problems(path, others);
}

void log_left_out(const std::string& path, const Problems& logged, const ConvertReport& report) {
  constexpr std::size_t kMaxLines = 20;
  std::set<std::pair<std::string_view, std::string_view>> said;  // an archive may have 50,000 members of both kinds
  for (const Problem& p : logged) {
    if (p.severity != Severity::note) said.emplace(p.where, p.message);
  }
  std::size_t lines = 0;
  for (const LeftOut& part : report.left_out) {
    if (!said.contains({part.name, part.what}) && ++lines <= kMaxLines)
      log_warning(fmt::format("{}: {} is left out: {}", path, part.name.empty() ? "the value" : part.name, part.what));
  }
  if (lines > kMaxLines) log_warning(fmt::format("{}: {} more values left out", path, lines - kMaxLines));
  for (const auto& [name, other] : report.doubled)
    log_note(fmt::format("{}: {} is {} under a second name, and is written twice", path, name, other));
}

Result<void> write_to_standard_output(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) return {};
    if (n < 0) {
      Error e;
      e.code = ErrorCode::io;
      e.os_errno = errno;
      e.message = fmt::format("cannot write to standard output: {}", std::strerror(errno));
      return tl::make_unexpected(std::move(e));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

void render_human(const ConvertReport& report, bool dry_run, Output& out) {
  if (dry_run) {
    for (const std::string& name : report.tensors) out << escape(name.empty() ? "(array)" : name) << "\n";
  }
  out << fmt::format("{}{}: {}, {} tensor{}, {}{}\n", dry_run ? "would write " : "", escape(report.path),
                     to_string(report.format), report.num_tensors, report.num_tensors == 1 ? "" : "s",
                     dry_run ? "at most " : "", bytes_text(report.file_bytes));
  if (report.sidecar)
    out << fmt::format("{}{}: its metadata\n", dry_run ? "would write " : "", escape(*report.sidecar));
}

}  // namespace netcl::ckpt::app
