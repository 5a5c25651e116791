// netcl-ckpt repair
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "log.h"
#include "netcl/ckpt/repair.h"
#include "options.h"
#include "progress.h"
#include "render_human.h"
#include "render_json.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  std::string in;
  std::string out;
  RepairOptions repair;
};

void render(const RepairReport& report, Output& out) {
  for (const RepairReport::Loss& l : report.lost)
    out << fmt::format("lost {}: {} (byte {})\n", escape(l.member), escape(l.message), l.offset_bytes);
  for (const std::string& name : report.lost_tensors) out << fmt::format("lost tensor {}\n", escape(name));
  if (report.end_lost) out << "lost the end of the file: what stood behind the last member found cannot be named\n";
  out << fmt::format("{}: {} of {} {} found, {}\n", escape(report.path), report.kept.size(),
                     report.kept.size() + report.lost.size(),
                     report.format == Format::safetensors ? "tensors" : "members", bytes_text(report.file_bytes));
}

int run(Options& options) {
  options.common.apply();
  Progress progress(!options.common.quiet);
  options.repair.run.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.repair.run.cancel = &stop_requested();
  auto source = options.in == "-" ? open_standard_input() : open_file(options.in);
  if (!source) {
    log_error(options.in, source.error());
    return kFailed;
  }
  const auto report = repair(std::move(*source), options.out, options.repair);
  if (!report) {
    log_error(options.in, report.error());
    return kFailed;
  }
  log_problems(options.out, report->problems);
  if (!report->lost_tensors.empty()) {
    log_note(fmt::format("{}: 'netcl-ckpt convert --exclude NAME' leaves tensors out that are lost", options.out));
  }
  Output out;
  if (options.common.json) {
    render_json(*report, out);
  } else if (!options.common.quiet) {
    render(*report, out);
  }
  return finish(out, report->complete() ? kDone : kFound);
}

}  // namespace

Action add_repair_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("IN", options->in, "The damaged npz, .netcl, torch or safetensors file, or - for standard input")
      ->required();
  command.add_option("-o,--output", options->out, "The file to write, never the input")->type_name("OUT")->required();
  command.add_flag("-f,--force", options->repair.replace, "Replace the output where it exists");
  options->common.add_to(command);
  add_resource_options(command, options->repair.run.jobs);
  command.footer(
      "Exit code: 0 nothing is lost, 1 something is, or no tensor is whole, 2 nothing could be written.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt repair torn.npz -o rescued.npz\n"
      "  netcl-ckpt repair torn.pt -o rescued.pt\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
