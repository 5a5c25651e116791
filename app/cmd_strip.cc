// netcl-ckpt strip-optimizer
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "log.h"
#include "netcl/ckpt/strip.h"
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
  bool in_place = false;
  bool require = false;
  bool half = false;
  StripOptions strip;
};

void render(const StripReport& report, bool dry_run, bool verbose, Output& out) {
  for (std::size_t i = 0; i < report.dropped.size(); ++i) {
    out << fmt::format("{} {}{}\n", dry_run ? "would drop" : "dropped", escape(report.dropped[i]),
                       verbose ? fmt::format(" ({})", report.why[i]) : "");
  }
  const ConvertReport& w = report.written;
  out << fmt::format("{}{}: {} tensor{}, {}{}", dry_run ? "would write " : "", escape(w.path), w.num_tensors,
                     w.num_tensors == 1 ? "" : "s", dry_run ? "at most " : "", bytes_text(w.file_bytes));
  if (!dry_run && w.source_bytes > w.file_bytes) {
    out << fmt::format(
        ", {} less than before ({:.0f} %)", bytes_text(w.source_bytes - w.file_bytes),
        100.0 * static_cast<double>(w.source_bytes - w.file_bytes) / static_cast<double>(w.source_bytes));
  }
  out << "\n";
}

/// "a.stripped.pt" for "a.pt", "a.stripped.pth.tar" for "a.pth.tar".
std::filesystem::path stripped_name(std::filesystem::path path) {
  std::string extension = path.extension().string();
  if (extension == ".tar" && path.stem().has_extension()) extension = path.stem().extension().string() + extension;
  const std::string name = path.filename().string();
  return path.replace_filename(name.substr(0, name.size() - extension.size()) + ".stripped" + extension);
}

int run(Options& options) {
  options.common.apply();
  namespace fs = std::filesystem;
  ConvertOptions& write = options.strip.write;
  if (options.half) write.dtype = ScalarType::float16;
  auto opened = open_input(options.in, write.sidecar);
  if (!opened) {
    log_error(options.in, opened.error());
    return kFailed;
  }
  log_input_problems(options.in, opened->problems);
  const Problems problems = opened->problems;

  fs::path target = options.out;
  if (options.in_place) {
    target = options.in;
    write.replace = true;
  } else if (options.out.empty()) {
    if (options.in == "-") {
      log_error("standard input has no name to derive the output's from; say it with --output");
      return kFailed;
    }
    target = stripped_name(options.in);
  }
  const bool to_output = options.out == "-";
  // The format stays unless the output's extension asks for another; torch's legacy one is not written, nor Flax's,
  // of which strip_optimizer says so.
  const bool renamed =
      !options.out.empty() && !to_output && fs::path(options.out).extension() != fs::path(options.in).extension();
  if (!write.to && !renamed) write.to = opened->format == Format::torch_legacy ? Format::torch : opened->format;

  Progress progress(!options.common.quiet);
  write.run.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  write.run.cancel = &stop_requested();
  if (to_output) write.sink = write_to_standard_output;
  const auto report = strip_optimizer(std::move(*opened), target, options.strip);
  if (!report) {
    log_error(options.in, report.error());
    return kFailed;
  }
  if (!report->found) log_note(fmt::format("{}: no optimizer state found", options.in));
  log_left_out(options.in, problems, report->written);
  Output out(to_output ? 2 : 1);
  if (options.common.json) {
    render_json(*report, write.dry_run, out);
  } else if (!options.common.quiet) {
    if (!report->found) out << fmt::format("{}: no optimizer state found\n", escape(options.in));
    render(*report, write.dry_run, options.common.verbose, out);
  }
  return finish(out, options.require && !report->found ? kFound : kDone);
}

}  // namespace

Action add_strip_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  StripOptions& strip = options->strip;
  command.add_option("IN", options->in, "The checkpoint to read, or - for standard input")->required();
  auto* out = command.add_option("-o,--output", options->out, "The checkpoint to write; by default NAME.stripped.EXT")
                  ->type_name("OUT");
  command.add_flag("--in-place", options->in_place, "Replace the input, atomically")->excludes(out);
  options->common.add_to(command);
  command.add_option("--keep", strip.keep, "Parts not to drop: optimizer, scheduler, scaler, rng, ema, trainer")
      ->delimiter(',')
      ->type_name("PART")
      ->check(CLI::IsMember({"optimizer", "scheduler", "scaler", "rng", "ema", "trainer"})
                  .description("")
                  .name("optimizer scheduler scaler rng ema trainer"));
  command.add_flag("--ema", strip.ema, "Put the EMA's weights in the model's place");
  command.add_option("--optimizer-pattern", strip.optimizer_patterns, "These tensors are optimizer state; repeatable")
      ->type_name("GLOB");
  command.add_flag("--require", options->require, "Exit 1 where no optimizer state is found");
  auto* half = command.add_flag("--half", options->half, "The same as --dtype float16");
  add_target_options(command, strip.write);
  add_dtype_option(command, strip.write);
  command.get_option("--dtype")->excludes(half);
  command.footer(
      "Examples:\n"
      "  netcl-ckpt strip-optimizer iter_1000.npz\n"
      "  netcl-ckpt strip-optimizer --half -o model.safetensors full.pkl\n"
      "  netcl-ckpt strip-optimizer --in-place --keep scheduler last.pt\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
