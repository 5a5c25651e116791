// netcl-ckpt convert
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "commands.h"
#include "guess.h"
#include "log.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/open.h"
#include "options.h"
#include "progress.h"
#include "render_human.h"
#include "render_json.h"
#include "write_options.h"
#include "write_report.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  std::string in;
  std::string out;
  std::vector<std::string> renames;
  ConvertOptions convert;
};

int run(Options& options) {
  options.common.apply();
  if (!parse_renames("--rename", options.renames, options.convert.renames)) return kFailed;
  const bool to_output = options.out == "-";
  if (to_output && !options.convert.to) {
    log_error("standard output has no extension; say the format with --to");
    return kFailed;
  }
  auto opened = open_input(options.in, options.convert.sidecar);
  if (!opened) {
    log_error(options.in, opened.error());
    return kFailed;
  }
  log_input_problems(options.in, opened->problems);
  const Problems problems = opened->problems;

  Progress progress(!options.common.quiet);
  options.convert.run.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.convert.run.cancel = &stop_requested();
  if (to_output) options.convert.sink = write_to_standard_output;
  std::optional<Checkpoint> names;  // for a guess at what was meant
  if (!options.convert.include.empty()) names = *opened;
  const auto report = convert(std::move(*opened), options.out, options.convert);
  if (!report) {
    if (names && report.error().code == ErrorCode::invalid_argument) warn_no_match(options.convert.include, *names);
    log_error(options.in, report.error());
    return kFailed;
  }
  if (report->overflows > 0) {
    log_warning(fmt::format("{}: {} numbers did not fit and became Inf", options.out, report->overflows));
  }
  log_left_out(options.in, problems, *report);
  Output out(to_output ? STDERR_FILENO : STDOUT_FILENO);
  if (options.common.json) {
    render_json(*report, options.convert.dry_run, out);
  } else if (!options.common.quiet) {
    render_human(*report, options.convert.dry_run, out);
  }
  return finish(out, kDone);
}

}  // namespace

Action add_convert_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  ConvertOptions& convert = options->convert;
  command.add_option("IN", options->in, "The checkpoint to read, or - for standard input")->required();
  command.add_option("OUT", options->out, "The checkpoint to write, or - for standard output")->required();
  options->common.add_to(command);
  add_target_options(command, convert);
  add_dtype_option(command, convert);
  command.add_option("--only", convert.only, "Cast only tensors whose name matches; repeatable")->type_name("GLOB");
  command.add_option("--rename", options->renames, "Extended regular expression and its replacement; repeatable")
      ->type_name("OLD=NEW");
  command.add_option("--include", convert.include, "Only tensors whose name matches; repeatable")->type_name("GLOB");
  command.footer(
      "The format follows OUT's extension: .npz .npy .netcl .pkl .pt .safetensors; a folder, or a\n"
      "name that ends with '/', gets a .npy for each tensor.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt convert --compression none final.npz fast.npz\n"
      "  netcl-ckpt convert iter_1000.npz iter_1000.safetensors\n"
      "  netcl-ckpt convert --dtype float16 --only 'model.*' full.pkl half.pt\n"
      "  netcl-ckpt convert --rename '^module\\.=' model.pt model.npz\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
