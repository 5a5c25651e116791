// netcl-ckpt latest
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "directory_options.h"
#include "log.h"
#include "options.h"
#include "render_json.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  DirectoryOptions directory;
  std::string best;
  LatestOptions latest;
};

int run(Options& options) {
  options.common.apply();
  options.directory.apply();
  options.latest.scan = options.directory.scan;
  options.latest.scan.values = options.common.json;
  if (!parse_best_option(options.best, options.latest.best)) return kFailed;
  const std::string& directory = options.directory.directory;
  const auto report = latest_checkpoint(directory, options.latest);
  if (!report) {
    log_error(directory, report.error());
    return kFailed;
  }
  for (const CheckpointInfo& c : report->skipped)
    log_warning(fmt::format("{}: skipped, {}", c.path.string(), validity_text(c)));
  if (report->by_time) {
    log_warning(fmt::format("{}: its name has no number; it is the newest by its time", report->found->path.string()));
  }
  Output out;
  if (options.common.json) {
    render_json(directory, *report, out);
  } else if (report->found) {
    // A script needs the name as it is; a person's terminal is not given what a name may hold.
    const std::string path = report->found->path.string();
    out << (detect_terminal(options.common.color).columns > 0 ? escape(path) : path) << "\n";
  }
  if (report->found) return finish(out, kDone);
  const std::string what = options.latest.best
                               ? fmt::format("no valid checkpoint has a metric '{}'", options.latest.best->metric)
                               : "no valid checkpoint";
  log_warning(fmt::format("{}: {}", directory, what));
  return finish(out, kFound);
}

}  // namespace

Action add_latest_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  options->directory.add_to(command);
  options->common.add_to(command);
  auto* best = command
                   .add_option("--best", options->best,
                               "The best by this metric instead of the newest; METRIC:min or METRIC:max says which end")
                   ->type_name("METRIC");
  command.add_flag("--any", options->latest.any, "The newest, valid or not")
      ->excludes(best)
      ->excludes(command.get_option("--full"));
  command.footer(
      "Exit code: 0 found, 1 there is no valid checkpoint, 2 the directory could not be read.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt latest runs/a\n"
      "  netcl-ckpt latest --best val_loss runs/a\n"
      "  train --resume \"$(netcl-ckpt latest --full runs/a)\"\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
