// Options and words of `latest`, `list` and `prune`.
#include "directory_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "log.h"
#include "options.h"

namespace netcl::ckpt::app {

void DirectoryOptions::add_to(CLI::App& command) {
  command.add_option("DIR", directory, "The directory of checkpoints")->required();
  command.add_flag("--full", full, "Read all of a checkpoint and compare checksums before calling it valid");
  command.add_option("--pattern", scan.pattern, "Names of checkpoints, with {step} or {epoch} for a number")
      ->type_name("NAME");
  add_resource_options(command, scan.run.jobs);
}

void DirectoryOptions::apply() { scan.check = full ? Check::full : Check::quick; }

bool parse_best_option(const std::string& text, std::optional<BestBy>& best) {
  if (text.empty()) return true;
  auto parsed = parse_best(text);
  if (!parsed) {
    log_error(parsed.error());
    return false;
  }
  best = std::move(*parsed);
  return true;
}

std::string validity_text(const CheckpointInfo& checkpoint) {
  if (!checkpoint.defect) return to_string(checkpoint.validity);
  Error e = *checkpoint.defect;
  e.file.clear();
  return fmt::format("{}: {}", to_string(checkpoint.validity), e.to_string());
}

}  // namespace netcl::ckpt::app
