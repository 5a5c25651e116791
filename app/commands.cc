// The command line: the table of subcommands, and what CLI11 leaves to us: one line for an error,
// exit code 2 for it, and a guess at what was meant.
//
// Only the subcommand that is named declares its options: with all of them declared, starting would
// take longer than listing a checkpoint does.
#include "commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>

#include "guess.h"
#include "log.h"
#include "terminal.h"

namespace netcl::ckpt::app {
namespace {

constexpr std::array kCommands = {
    Command{"inspect", "List what checkpoints hold", add_inspect_options},
    Command{"convert", "Write a checkpoint in another format or compression", add_convert_options},
    Command{"devices", "List the OpenCL devices of this machine", add_devices_options},
    Command{"strip-optimizer", "Write the checkpoint that one ships: the model alone", add_strip_options},
    Command{"latest", "Name the newest valid checkpoint of a directory", add_latest_options},
    Command{"list", "List a directory's checkpoints: step, time, metrics, validity", add_list_options},
    Command{"manifest", "Record what files and tensors are, and notice what has changed", add_manifest_options},
    Command{"prune", "Remove old checkpoints by a rule", add_prune_options},
    Command{"diff", "Compare two checkpoints tensor by tensor", add_diff_options},
    Command{"verify", "Check that checkpoints are sound", add_verify_options},
    Command{"repair", "Take what is whole out of a damaged or truncated archive", add_repair_options},
    Command{"textconv", "Print a checkpoint as text for git diff", add_textconv_options},
    Command{"completion", "Complete command lines in bash, zsh and fish", add_completion_options},
    Command{"help", "Open the manual page of a command", add_help_options},
};

constexpr const char* kExamples =
    "Examples:\n"
    "  netcl-ckpt inspect iter_1000.npz\n"
    "  netcl-ckpt verify checkpoints/*.npz\n"
    "\n"
    "`netcl-ckpt COMMAND --help` tells more; so does `man netcl-ckpt`.\n";

/// "unknown command 'inspct'; did you mean 'inspect'?"
std::string unknown(const char* what, std::string_view word, const std::vector<std::string>& candidates) {
  return fmt::format("unknown {} '{}'{}", what, word, did_you_mean(word, candidates));
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* o : app.get_options()) {
    for (const std::string& l : o->get_lnames()) names.push_back("--" + l);
  }
  return names;
}

int usage_error(const std::string& text, std::string_view command) {
  log_error(fmt::format("{} (see 'netcl-ckpt {}{}--help')", text, command, command.empty() ? "" : " "));
  return kFailed;
}

int print(std::string_view text) {
  Output out;
  out << text;
  if (out.flush()) return kDone;
  log_error("cannot write to standard output");
  return kFailed;
}

int run_command(const Command& command, int argc, char** argv) {
  CLI::App app(command.description, std::string("netcl-ckpt ") + command.name);
  const Action run = command.add_options(app);
  // One word an option: CLI11 would take all that follow a repeatable one, the files among them.
  for (CLI::Option* o : app.get_options({})) {
    if (o->nonpositional()) o->allow_extra_args(false);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::ExtrasError& e) {
    const auto extras = app.remaining();
    const std::string word = extras.empty() ? "" : extras[0].substr(0, extras[0].find('='));
    if (!word.starts_with('-')) return usage_error(fmt::format("'{}' is one argument too many", word), command.name);
    return usage_error(unknown("option", word, option_names(app)), command.name);
  } catch (const CLI::ParseError& e) {
    return usage_error(e.what(), command.name);
  }
  return run();
}

}  // namespace

std::span<const Command> commands() { return kCommands; }

int run_command_line(int argc, char** argv) {
  CLI::App app("Read, check and convert deep-learning training checkpoints", "netcl-ckpt");
  app.set_version_flag("--version", "netcl-ckpt " NETCL_CKPT_VERSION);
  app.footer(kExamples);
  const std::string_view word = argc > 1 ? argv[1] : "";
  std::vector<std::string> names;
  for (const Command& c : kCommands) {
    if (word == c.name) return run_command(c, argc - 1, argv + 1);
    app.add_subcommand(c.name, c.description);
    names.push_back(c.name);
  }
  if (!word.empty() && word[0] != '-') {
    return usage_error(unknown("command", word, names), "");
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return print(app.help());
  } catch (const CLI::CallForVersion& e) {
    return print(std::string(e.what()) + "\n");
  } catch (const CLI::ParseError& e) {
    const auto extras = app.remaining();
    const std::string option = extras.empty() ? "" : extras[0];
    return usage_error(unknown("option", option, option_names(app)), "");
  }
  return usage_error("which command?", "");
}

}  // namespace netcl::ckpt::app
