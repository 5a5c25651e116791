// Options that subcommands share.
#include "options.h"

#include <errno.h>
#include <fmt/format.h>

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

bool parse_renames(const char* option, const std::vector<std::string>& texts,
                   std::vector<std::pair<std::string, std::string>>& renames) {
  for (const std::string& text : texts) {
    std::string left;
    std::size_t at = 0;
    for (; at < text.size() && text[at] != '='; ++at) {
      if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '=') ++at;
      left += text[at];
    }
    if (at == text.size() || left.empty()) {
      log_error(fmt::format("{} takes OLD=NEW, not '{}'", option, text));
      return false;
    }
    renames.emplace_back(std::move(left), text.substr(at + 1));
  }
  return true;
}

int finish(Output& out, int code) {
  if (out.flush()) return code;
  log_error(std::string("cannot write to standard output: ") + std::strerror(errno));
  return kFailed;
}

}  // namespace netcl::ckpt::app
