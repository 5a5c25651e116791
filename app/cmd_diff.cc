// netcl-ckpt diff
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "guess.h"
#include "html/page.h"
#include "log.h"
#include "netcl/ckpt/diff.h"
#include "options.h"
#include "render_html.h"
#include "render_human.h"
#include "render_json.h"
#include "validators.h"
#include "write_options.h"

namespace netcl::ckpt::app {
namespace {

struct Options {
  CommonOptions common;
  DiffView view;
  std::vector<std::string> maps;
  bool no_equal_nan = false;
  bool list_elements = false;
  std::string page;
  std::optional<std::uint64_t> count;
  DiffOptions diff;
};

int run(Options& options) {
  options.common.apply();
  DiffOptions& diff_options = options.diff;
  DiffView& view = options.view;
  if (!parse_renames("--map", options.maps, diff_options.map)) return kFailed;
  if (view.a == "-" && view.b == "-") {
    log_error("standard input is one file, not two");
    return kFailed;
  }
  diff_options.equal_nan = !options.no_equal_nan;
  constexpr std::uint64_t kElementsByDefault = 20;
  if (options.list_elements) diff_options.max_elements = kElementsByDefault;
  if (options.count) diff_options.max_elements = *options.count;
  const bool paged = !options.page.empty();
  diff_options.brief |= options.common.quiet && !paged;
  diff_options.histogram = paged || (options.common.json && !diff_options.brief);
  view.all = options.common.verbose;
  view.terminal = detect_terminal(options.common.color);

  auto open = [](const std::string& path) {
    auto opened = open_input(path);
    if (!opened) log_error(path, opened.error());
    if (opened) log_problems(path, opened->problems);
    return opened;
  };
  const auto a = open(view.a);
  if (!a) return kFailed;
  const auto b = open(view.b);
  if (!b) return kFailed;
  const auto report = diff(*a, *b, diff_options);
  if (!report) {
    log_error(report.error());
    return kFailed;
  }
  const bool unmatched = report->tensors.empty() && !report->differs;
  if (unmatched && !diff_options.include.empty()) warn_no_match(diff_options.include, *a);
  if (paged) {
    if (auto written = write_page(options.page, render_html(*report, view)); !written) {
      log_error(options.page, written.error());
      return kFailed;
    }
  }
  Output out;
  if (options.common.json) {
    render_json(*report, view, out);
  } else if (options.common.quiet) {
    // the exit code is the answer
  } else if (diff_options.brief) {
    if (report->differs) out << fmt::format("{} and {} differ\n", escape(view.a), escape(view.b));
  } else {
    render_human(*report, view, out);
  }
  out.flush();
  if (report->differs && diff_options.brief) return finish(out, kFound);
  for (const TensorDiff& t : report->tensors) {
    if (t.change == TensorChange::not_comparable)
      log_error(fmt::format("{}: {}: an object array is not compared; --exclude it", view.a, t.name));
    if (t.error) log_error(fmt::format("{}, {}: {}: {}", view.a, view.b, t.name, error_text(*t.error)));
  }
  return finish(out, !report->complete() ? kFailed : report->differs ? kFound : kDone);
}

}  // namespace

Action add_diff_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  DiffOptions& diff = options->diff;
  command.add_option("A", options->view.a, "The first checkpoint, or - for standard input")->required();
  command.add_option("B", options->view.b, "The second")->required();
  options->common.add_to(command);
  command.add_option("-p,--rtol", diff.rtol, "The same where |a-b| <= ATOL + R*|b|, as in NumPy")->type_name("R");
  command.add_option("-d,--atol", diff.atol, "See --rtol")->type_name("ATOL");
  command.add_option("--ulp", diff.ulp, "The same where at most N representable numbers lie between")->type_name("N");
  command.add_flag("--bitwise", diff.bitwise, "NaN payloads and the sign of zero count");
  command.add_flag("--no-equal-nan", options->no_equal_nan, "NaN differs from NaN");
  command.add_flag("--ignore-dtype", diff.ignore_dtype, "Compare tensors of different dtypes by value");
  command.add_option("--map", options->maps, "Rename A's tensors: an extended regular expression; repeatable")
      ->type_name("OLD=NEW");
  command.add_option("--transpose", diff.transpose, "Transpose A's matrices whose name matches; repeatable")
      ->type_name("GLOB");
  command.add_option("--include", diff.include, "Only what matches; repeatable")->type_name("GLOB");
  command.add_option("--exclude,--exclude-path", diff.exclude, "Nothing that matches; repeatable")->type_name("GLOB");
  command.add_option("--only", diff.scope, "Only model, optimizer or metadata")
      ->transform(one_of(std::map<std::string, DiffScope>{
          {"model", DiffScope::model}, {"optimizer", DiffScope::optimizer}, {"metadata", DiffScope::metadata}}))
      ->type_name("PART");
  command.add_option("--optimizer-pattern", diff.optimizer_patterns, "These tensors are optimizer state; repeatable")
      ->type_name("GLOB");
  auto* brief =
      command.add_flag("--brief", diff.brief, "Say only whether they differ, and stop at the first difference");
  command.add_flag("-r,--report", options->list_elements, "List the elements that differ, 20 of each tensor");
  command.add_option("-n,--count", options->count, "List N of them")->type_name("N");
  command.add_option("--html", options->page, "Also write a page to look at, with histograms: a name in .html")
      ->type_name("FILE")
      ->check(page_name())
      ->excludes(brief);
  command.add_option("--limit", options->view.limit, "Show at most N tensors")->type_name("N");
  command.add_option("--sort", options->view.by_change, "Order: name (the file's) or change (most moved first)")
      ->transform(one_of(std::map<std::string, bool>{{"name", false}, {"change", true}}))
      ->type_name("KEY");
  add_resource_options(command, diff.run.jobs);
  command.footer(
      "Exit code: 0 the same, 1 different, 2 trouble.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt diff iter_1000.npz iter_2000.npz\n"
      "  netcl-ckpt diff --brief --only model last.pkl best.npz\n"
      "  netcl-ckpt diff --rtol 1e-5 --atol 1e-8 reference.npz new.npz\n"
      "  netcl-ckpt diff --quiet --html report.html iter_1000.npz iter_2000.npz\n"
      "  netcl-ckpt diff --map '^module\\.=' --transpose '*.weight' torch.pt netcl.npz\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
