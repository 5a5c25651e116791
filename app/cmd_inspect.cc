// netcl-ckpt inspect
#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "files.h"
#include "guess.h"
#include "html/page.h"
#include "log.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/open.h"
#include "options.h"
#include "render_html.h"
#include "render_human.h"
#include "render_json.h"
#include "validators.h"

namespace netcl::ckpt::app {
namespace {

enum class SortBy { file, name, size };  // as --sort's words stand

struct Options {
  CommonOptions common;
  std::vector<std::string> files;
  InspectOptions inspect;
  SortBy sort = SortBy::file;
  std::size_t depth = 0;
  std::string page;
};

void sort_tensors(std::vector<TensorInfo>& tensors, SortBy by) {
  if (by == SortBy::file) return;
  std::stable_sort(tensors.begin(), tensors.end(), [by](const TensorInfo& a, const TensorInfo& b) {
    return by == SortBy::name ? a.name < b.name : a.size_bytes > b.size_bytes;
  });
}

Result<InspectReport> inspect_file(const std::string& path, const Options& options) {
  const bool standard_input = path == "-";
  auto opened = [&]() -> Result<Checkpoint> {
    if (!standard_input) return open_checkpoint(path);
    auto source = open_standard_input();
    if (!source) return tl::make_unexpected(source.error());
    return open_checkpoint(std::move(*source), "");
  }();
  if (!opened) return tl::make_unexpected(std::move(opened.error()));
  auto report = inspect(*opened, options.inspect);
  if (!report) return report;
  report->path = path;
  if (report->tensors.empty() && !options.inspect.include.empty()) warn_no_match(options.inspect.include, *opened);
  sort_tensors(report->tensors, options.sort);
  return report;
}

int run(Options& options) {
  options.common.apply();
  const auto files = expand_files(options.files);
  if (!files) {
    log_error(files.error());
    return kFailed;
  }
  HumanOptions human;
  human.terminal = detect_terminal(options.common.color);
  human.depth = options.depth;
  human.hash = options.inspect.hash;
  human.stats = options.inspect.stats;
  human.verbose = options.common.verbose;
  const bool paged = !options.page.empty();
  options.inspect.stats |= paged;

  Output out;
  std::string sections;
  int code = kDone;
  const bool list = options.common.json && files->many;
  const char* separator = "";
  if (list) out << "{\"files\": [";
  for (const std::string& path : files->paths) {
    const auto report = inspect_file(path, options);
    if (!report && files->was_removed(path, report.error())) continue;
    if (!report) {
      code = kFailed;
      if (paged && files->many) sections += render_html(path, report.error());
      if (list) {
        out << separator;
        render_json(path, "netcl-ckpt.inspect/1", report.error(), out);
        separator = ",\n";
      }
      out.flush();
      log_error(path, report.error());
      continue;
    }
    for (const Problem& p : report->problems) {
      if (p.code == ProblemCode::io) code = kFailed;  // not all that was asked for is there
    }
    if (paged) sections += render_html(*report);
    out << separator;
    if (options.common.json) {
      render_json(*report, out);
      if (!list) out << "\n";
      separator = ",\n";
    } else {
      render_human(*report, human, out);
      separator = "\n";
      out.flush();
      log_problems(path, report->problems);
    }
    if (out.closed() && !paged) return kDone;
  }
  if (list) out << "]}\n";
  code = finish(out, code);
  if (sections.empty()) return code;
  const std::string title = files->many ? std::to_string(files->paths.size()) + " checkpoints" : files->paths[0];
  if (auto written = write_page(options.page, html_page(title, sections)); !written) {
    log_error(options.page, written.error());
    return kFailed;
  }
  return code;
}

}  // namespace

Action add_inspect_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("FILE", options->files, "Checkpoints, directories of them, or - for standard input")->required();
  options->common.add_to(command);
  command.add_flag("--hash", options->inspect.hash, "Add each tensor's SHA-256 (C order, little-endian)");
  command.add_flag("--identity", options->inspect.identity,
                   "Add one hash of all names, dtypes, shapes and values, the same in every format");
  command.add_flag("--stats", options->inspect.stats, "Add min, max, mean, std, zeros, NaN, Inf and a histogram");
  command
      .add_option("--html", options->page, "Also write a page to look at, with a treemap and --stats: a name in .html")
      ->type_name("FILE")
      ->check(page_name());
  command.add_option("--include", options->inspect.include, "Only tensors whose name matches GLOB")->type_name("GLOB");
  command.add_option("--exclude", options->inspect.exclude, "No tensors whose name matches GLOB")->type_name("GLOB");
  command
      .add_option("--optimizer-pattern", options->inspect.optimizer_patterns,
                  "Count names that match GLOB as optimizer state")
      ->type_name("GLOB");
  command.add_option("--sort", options->sort, "Order: file, name or size")
      ->transform(one_of({"file", "name", "size"}))
      ->type_name("KEY");
  command.add_option("--depth", options->depth, "Sum up below level N of dotted names")
      ->type_name("N")
      ->check(whole_number());
  add_resource_options(command, options->inspect.run.jobs);
  command.footer(
      "Examples:\n"
      "  netcl-ckpt inspect iter_1000.npz\n"
      "  netcl-ckpt inspect --depth 2 --sort size model.safetensors\n"
      "  netcl-ckpt inspect --json --hash --include 'model.*' iter_1000.npz\n"
      "  netcl-ckpt inspect --identity model.npz model.safetensors\n"
      "  netcl-ckpt inspect --stats --exclude 'optimizer.*' iter_1000.npz\n"
      "  netcl-ckpt inspect --html model.html iter_1000.npz\n"
      "  curl -s https://example.org/model.npz | netcl-ckpt inspect -\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
