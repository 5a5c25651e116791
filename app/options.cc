// Options that subcommands share.
#include "options.h"

#include <errno.h>

#include <CLI/CLI.hpp>
#include <cstring>

#include "commands.h"
#include "log.h"
#include "validators.h"

namespace netcl::ckpt::app {

void CommonOptions::add_to(CLI::App& command) {
  command.add_flag("--json", json, "Write JSON");
  command.add_option("--color", color, "Colour: auto, always or never")
      ->transform(one_of({"auto", "always", "never"}))
      ->type_name("WHEN");
  auto* q = command.add_flag("-q,--quiet", quiet, "Errors only on standard error");
  command.add_flag("-v,--verbose", verbose, "Also notes, and all of the metadata")->excludes(q);
}

void CommonOptions::apply() const {
  if (quiet) set_verbosity(Verbosity::quiet);
  if (verbose) set_verbosity(Verbosity::verbose);
}

int finish(Output& out, int code) {
  if (out.flush()) return code;
  log_error(std::string("cannot write to standard output: ") + std::strerror(errno));
  return kFailed;
}

}  // namespace netcl::ckpt::app
