#pragma once

#include <optional>
#include <string>

#include "netcl/ckpt/directory.h"

namespace CLI {
class App;
}

// What the subcommands that work on a directory of checkpoints share.

namespace netcl::ckpt::app {

struct DirectoryOptions {
  std::string directory;
  bool full = false;
  ScanOptions scan;

  /// DIR, --full, --jobs, --pattern
  void add_to(CLI::App& command);
  /// Before the library is called.
  void apply();
};

/// Reads `text` of --best or --keep-best, where given; false after an error has been logged.
bool parse_best_option(const std::string& text, std::optional<BestBy>& best);

/// "broken: the zip has no end record (byte 12)", one line, not yet escaped; "valid".
std::string validity_text(const CheckpointInfo& checkpoint);

}  // namespace netcl::ckpt::app
