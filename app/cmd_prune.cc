// netcl-ckpt prune
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "directory_options.h"
#include "log.h"
#include "options.h"
#include "render_human.h"
#include "render_json.h"
#include "table.h"
#include "validators.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  DirectoryOptions directory;
  std::string best;
  PruneOptions prune;
};

void render_human(const PruneReport& report, const Options& options, Output& out) {
  const bool removed = options.prune.remove;
  Table table({false, false, true, false});
  std::size_t num_removed = 0;
  for (const PruneReport::Verdict& v : report.verdicts) {
    num_removed += !v.keep;
    if (v.keep && !options.common.verbose) continue;
    table.add({v.keep    ? "keep"
               : removed ? "removed"
                         : "would remove",
               escape(v.checkpoint.path.filename().string()), bytes_text(v.checkpoint.size_bytes),
               "(" + v.reason + ")"});
  }
  table.write(out);
  out << fmt::format("{} {} of {} checkpoints, {}\n", removed ? "removed" : "would remove", num_removed,
                     report.verdicts.size(), bytes_text(report.removed_bytes));
  if (!removed && num_removed > 0) out << "nothing was touched; --yes removes them\n";
}

int run(Options& options) {
  options.common.apply();
  options.directory.apply();
  options.prune.scan = options.directory.scan;
  if (!parse_best_option(options.best, options.prune.retention.keep_best)) return kFailed;
  const std::string& directory = options.directory.directory;
  const auto report = prune_checkpoints(directory, options.prune);
  if (!report) {
    log_error(directory, report.error());
    return kFailed;
  }
  Output out;
  if (options.common.json) {
    render_json(directory, *report, !options.prune.remove, out);
  } else if (!options.common.quiet) {
    render_human(*report, options, out);
  }
  return finish(out, kDone);
}

}  // namespace

Action add_prune_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  Retention& retention = options->prune.retention;
  options->directory.add_to(command);
  options->common.add_to(command);
  command.add_option("--keep-last", retention.keep_last, "Keep the newest N valid ones")
      ->type_name("N")
      ->check(whole_number());
  command.add_option("--keep-every", retention.keep_every, "Keep those whose step is a multiple of K")
      ->type_name("K")
      ->check(whole_number());
  command
      .add_option("--keep-best", options->best, "Keep the best by this metric; METRIC:min or METRIC:max says which end")
      ->type_name("METRIC");
  command.add_option("--protect", options->prune.protect, "Keep the file of this name; repeatable")->type_name("NAME");
  command.add_flag("--yes", options->prune.remove, "Remove; without it this only shows what would go");
  command.footer(
      "The newest valid checkpoint always stays, and so does what is not surely an old checkpoint.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt prune --keep-last 3 runs/a\n"
      "  netcl-ckpt prune --keep-last 3 --keep-every 10000 --keep-best val_loss --yes runs/a\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
