#pragma once

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

/// The last thing a command does: `code`, or 2 where standard output could not be written.
int finish(Output& out, int code);

}  // namespace netcl::ckpt::app
