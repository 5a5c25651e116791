#pragma once

#include <functional>
#include <span>

namespace CLI {
class App;
}

namespace netcl::ckpt::app {

/// What a subcommand does once its options are read; gives the exit code.
using Action = std::function<int()>;

/// Exit codes of every subcommand.
enum ExitCode : int {
  kDone = 0,    ///< done; diff: the same; verify: sound
  kFound = 1,   ///< diff found differences, verify a problem
  kFailed = 2,  ///< it could not do the job
};

/// One subcommand. `add_options` declares its options and gives what to run when they are parsed.
struct Command {
  const char* name;
  const char* description;
  Action (*add_options)(CLI::App& command);
};

/// All subcommands, as --help lists them. Lifetime: static storage.
std::span<const Command> commands();

Action add_completion_options(CLI::App& command);
Action add_convert_options(CLI::App& command);
Action add_diff_options(CLI::App& command);
Action add_devices_options(CLI::App& command);
Action add_help_options(CLI::App& command);
Action add_inspect_options(CLI::App& command);
Action add_latest_options(CLI::App& command);
Action add_list_options(CLI::App& command);
Action add_manifest_options(CLI::App& command);
Action add_prune_options(CLI::App& command);
Action add_repair_options(CLI::App& command);
Action add_strip_options(CLI::App& command);
Action add_textconv_options(CLI::App& command);
Action add_verify_options(CLI::App& command);

/// Parses the command line and runs the subcommand that it names.
int run_command_line(int argc, char** argv);

}  // namespace netcl::ckpt::app
