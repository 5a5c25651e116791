// netcl-ckpt textconv: a checkpoint as text for `git diff`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "log.h"
#include "netcl/ckpt/inspect.h"
#include "options.h"
#include "render_human.h"
#include "write_options.h"

namespace netcl::ckpt::app {
namespace {

int run(const std::string& path) {
  InspectOptions options;
  options.hash = true;
  Output out;
  auto opened = open_input(path);
  auto report = opened ? inspect(*opened, options) : tl::make_unexpected(std::move(opened.error()));
  if (report) {
    render_text(*report, out);
    return finish(out, kDone);
  }
  if (report.error().code == ErrorCode::io) {
    log_error(path, report.error());
    return kFailed;
  }
  // Failing here would end all of `git diff`, for one damaged file in its past.
  Error error = report.error();
  error.file.clear();
  out << "not readable: " << escape(error_text(error)) << "\n";
  return finish(out, kDone);
}

}  // namespace

Action add_textconv_options(CLI::App& command) {
  auto path = std::make_shared<std::string>();
  command.add_option("FILE", *path, "A checkpoint, or - for standard input")->required();
  command.footer(
      "Set up once:\n"
      "  git config --global diff.netcl-ckpt.textconv 'netcl-ckpt textconv'\n"
      "  echo '*.npz diff=netcl-ckpt' >> .gitattributes\n");
  return [path] { return run(*path); };
}

}  // namespace netcl::ckpt::app
