#pragma once

#include <string>
#include <utility>
#include <vector>

#include "terminal.h"

namespace CLI {
class App;
}

namespace netcl::ckpt::app {

/// What every subcommand that reports has.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  ColorChoice color = ColorChoice::automatic;

  void add_to(CLI::App& command);
  /// Before the first line is logged.
  void apply() const;
};

/// --jobs, and --max-memory: a limit that the kernel holds, beyond which the program ends with an error.
/// Lifetime: `jobs` must outlive parsing.
void add_resource_options(CLI::App& command, unsigned& jobs);

/// Each OLD=NEW, cut at the first "=" that no backslash escapes. False after an error has been logged.
bool parse_renames(const char* option, const std::vector<std::string>& texts,
                   std::vector<std::pair<std::string, std::string>>& renames);

/// The last thing a command does: `code`, or 2 where standard output could not be written.
int finish(Output& out, int code);

}  // namespace netcl::ckpt::app
