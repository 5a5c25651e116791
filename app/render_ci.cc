// What verify found, in the words of CI systems.
//
// JUnit: https://github.com/testmoapp/junitxml; GitHub:
// https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions. SARIF is JSON and
// in render_json.cc. Text from a file is escaped for a terminal first, since logs end up on one.
#include "render_ci.h"

#include <fmt/format.h>

#include <algorithm>

#include "log.h"

namespace netcl::ckpt::app {
namespace {

std::string xml(std::string_view text) {
  std::string out;
  for (char c : escape(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

/// A command ends with its line; its properties with ":" and ",".
std::string github(std::string_view text, bool property = false) {
  std::string out;
  for (char c : escape(text)) {
    const bool special = c == '%' || (property && (c == ':' || c == ','));
    out += special ? fmt::format("%{:02X}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return out;
}

std::string github_line(const char* level, std::string_view path, std::string_view title, std::string_view text) {
  return fmt::format("::{} file={},title={}::{}\n", level, github(path, true), github(title, true), github(text));
}

/// Without the file, which the report names beside it.
std::string text_of(Error error) {
  error.file.clear();
  return error_text(error);
}

}  // namespace

void render_junit(const std::vector<VerifiedFile>& files, Output& out) {
  const auto errors = std::count_if(files.begin(), files.end(), [](const auto& f) { return !f.report; });
  const auto failures =
      std::count_if(files.begin(), files.end(), [](const auto& f) { return f.report && !f.report->sound(); });
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      << fmt::format("<testsuite name=\"netcl-ckpt verify\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
                     files.size(), failures, errors);
  for (const VerifiedFile& f : files) {
    out << "<testcase classname=\"netcl-ckpt.verify\" name=\"" << xml(f.path) << "\">";
    if (!f.report) {
      out << fmt::format("<error type=\"{}\" message=\"{}\"/>", to_string(f.report.error().code),
                         xml(text_of(f.report.error())));
    } else if (!f.report->sound()) {
      const Problems& problems = f.report->problems;
      const auto worst = std::find_if(problems.begin(), problems.end(),
                                      [](const Problem& p) { return p.severity >= Severity::error; });
      out << fmt::format("<failure type=\"{}\" message=\"{}\">", to_string(worst->code), xml(problem_text(*worst)));
      for (const Problem& p : problems)
        out << fmt::format("{}: {} [{}]\n", to_string(p.severity), xml(problem_text(p)), to_string(p.code));
      out << "</failure>";
    }
    out << "</testcase>\n";
  }
  out << "</testsuite>\n</testsuites>\n";
}

void render_github(const std::vector<VerifiedFile>& files, Output& out) {
  for (const VerifiedFile& f : files) {
    if (!f.report) {
      out << github_line("error", f.path, to_string(f.report.error().code), text_of(f.report.error()));
      continue;
    }
    for (const Problem& p : f.report->problems) {
      const char* level = p.severity == Severity::note      ? "notice"
                          : p.severity == Severity::warning ? "warning"
                                                            : "error";
      out << github_line(level, f.path, to_string(p.code), problem_text(p));
    }
  }
}

}  // namespace netcl::ckpt::app
