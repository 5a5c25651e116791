// netcl-ckpt help: the manual page of a command where it is installed, else what --help says.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"

namespace netcl::ckpt::app {
namespace {

bool is_installed(std::string page) {
  posix_spawn_file_actions_t silent;
  posix_spawn_file_actions_init(&silent);
  posix_spawn_file_actions_addopen(&silent, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&silent, STDOUT_FILENO, STDERR_FILENO);
  std::string program = "man", where = "-w";
  char* argv[] = {program.data(), where.data(), page.data(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawnp(&child, "man", &silent, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&silent);
  int status = 0;
  return failed == 0 && waitpid(child, &status, 0) == child && status == 0;
}

int run(std::string command) {
  const std::string page = command.empty() ? "netcl-ckpt" : "netcl-ckpt-" + command;
  if (is_installed(page)) {
    signal(SIGPIPE, SIG_DFL);  // a pager that is left early ends man
    execlp("man", "man", page.c_str(), nullptr);
  }
  std::string program = "netcl-ckpt", help = "--help";
  char* with_command[] = {program.data(), command.data(), help.data()};
  char* alone[] = {program.data(), help.data()};
  return command.empty() ? run_command_line(2, alone) : run_command_line(3, with_command);
}

}  // namespace

Action add_help_options(CLI::App& command) {
  auto name = std::make_shared<std::string>();
  command.add_option("COMMAND", *name, "A command, or formats; without it, netcl-ckpt itself");
  command.footer(
      "Where the page is not installed, or there is no man, this prints what --help does.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt help\n"
      "  netcl-ckpt help inspect\n"
      "  netcl-ckpt help formats\n");
  return [name] { return run(*name); };
}

}  // namespace netcl::ckpt::app
