// Standard error. The library hands back diagnostics; here they become lines.
#include "log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <array>
#include <utility>

#include "terminal.h"

namespace netcl::ckpt::app {
namespace {

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger l("netcl-ckpt", std::make_shared<spdlog::sinks::stderr_sink_st>());
    l.set_pattern("%n: %v");
    l.set_level(spdlog::level::warn);
    return l;
  }();
  return instance;
}

/// Options of the library, in backquotes as Error::way_out has them, and the program's flags.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kFlags = {
    {{"`dedupe`", "--dedupe"},
     {"`drop_unsafe`", "--drop-unsafe"},
     {"`embed_sidecar`", "--embed-sidecar"},
     {"`exclude`", "--exclude"},
     {"`include`", "--include"},
     {"`keep`", "--keep"},
     {"`renames`", "--rename"},
     {"`replace`", "--force"},
     {"`sidecar`", "--no-sidecar"},
     {"`strict`", "--strict"},
     {"`to`", "--to"}}};

Error with_flags(Error error) {
  for (const auto& [option, flag] : kFlags) {
    const auto at = error.way_out.find(option);
    if (at != std::string::npos) error.way_out.replace(at, option.size(), flag);
  }
  return error;
}

}  // namespace

void set_verbosity(Verbosity verbosity) {
  if (verbosity == Verbosity::normal) return;
  logger().set_level(verbosity == Verbosity::quiet ? spdlog::level::err : spdlog::level::debug);
}

void log_error(std::string_view text) { logger().error("{}", escape(text)); }

void log_error(const Error& error) { log_error(error_text(error)); }

std::string error_text(const Error& error) { return with_flags(error).to_string(); }

std::string error_message(const Error& error) {
  const std::string way_out = with_flags(error).way_out;
  return way_out.empty() ? error.message : error.message + "; " + way_out;
}

void log_error(std::string_view path, Error error) {
  if (error.file.empty()) error.file = path;
  log_error(error);
}

void log_warning(std::string_view text) { logger().warn("{}", escape(text)); }

void log_note(std::string_view text) { logger().info("{}", escape(text)); }

std::string problem_text(const Problem& problem) {
  Error e;
  e.message = problem.message;
  e.member = problem.where;
  e.offset_bytes = problem.offset_bytes;
  return e.to_string();
}

void log_problems(std::string_view path, const Problems& problems) {
  constexpr std::size_t kMaxLines = 20;
  std::size_t lines = 0;
  for (const Problem& p : problems) {
    if (p.severity == Severity::note) {
      log_note(fmt::format("{}: note: {}", path, problem_text(p)));
    } else if (++lines <= kMaxLines) {
      log_warning(fmt::format("{}: {}: {}", path, to_string(p.severity), problem_text(p)));
    }
  }
  if (lines > kMaxLines) {
    log_warning(fmt::format("{}: {} more problems; `netcl-ckpt verify` lists them all", path, lines - kMaxLines));
  }
}

}  // namespace netcl::ckpt::app
