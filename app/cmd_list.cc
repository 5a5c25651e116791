// netcl-ckpt list
#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "directory_options.h"
#include "log.h"
#include "options.h"
#include "render_human.h"
#include "render_json.h"
#include "table.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  DirectoryOptions directory;
};

/// "2026-11-24 09:30", in the local time zone.
std::string time_text(std::int64_t modified_ns) {
  const time_t seconds = static_cast<time_t>(modified_ns / 1'000'000'000);
  struct tm parts;
  char text[32];
  if (::localtime_r(&seconds, &parts) == nullptr) return "";
  return {text, ::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts)};
}

std::string number_text(const std::optional<std::uint64_t>& number) { return number ? std::to_string(*number) : ""; }

std::string metrics_text(const Metrics& metrics) {
  std::string out;
  for (const auto& [name, value] : metrics) out += fmt::format("{}{}={:.5g}", out.empty() ? "" : " ", name, value);
  return escape(out);
}

void render_human(const std::vector<CheckpointInfo>& list, Output& out) {
  Table table({false, true, true, false, true, false, false});
  table.add({"name", "step", "epoch", "time", "size", "metrics", ""});
  for (const CheckpointInfo& c : list) {
    table.add({escape(c.path.filename().string()) + (c.is_folder ? "/" : ""), number_text(c.step), number_text(c.epoch),
               time_text(c.modified_ns), bytes_text(c.size_bytes), metrics_text(c.metrics), escape(validity_text(c))});
  }
  table.write(out);
}

int run(Options& options) {
  options.common.apply();
  options.directory.apply();
  const std::string& directory = options.directory.directory;
  const auto list = list_checkpoints(directory, options.directory.scan);
  if (!list) {
    log_error(directory, list.error());
    return kFailed;
  }
  Output out;
  if (options.common.json) {
    render_json(directory, *list, out);
  } else if (!list->empty()) {
    render_human(*list, out);
  } else {
    log_warning(fmt::format("{}: no checkpoint in this directory", directory));
  }
  return finish(out, kDone);
}

}  // namespace

Action add_list_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  options->directory.add_to(command);
  options->common.add_to(command);
  command.footer(
      "Examples:\n"
      "  netcl-ckpt list runs/a\n"
      "  netcl-ckpt list --full --json runs/a\n"
      "  netcl-ckpt list --pattern 'model_{step}.pth' runs/b\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
