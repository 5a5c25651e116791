// netcl-ckpt verify
#include <CLI/CLI.hpp>
#include <memory>

#include "commands.h"
#include "files.h"
#include "log.h"
#include "netcl/ckpt/verify.h"
#include "options.h"
#include "render_ci.h"
#include "render_human.h"
#include "render_json.h"
#include "validators.h"

namespace netcl::ckpt::app {
namespace {

enum class Form { human, json, junit, github, sarif };  // as --format's words stand

struct Options {
  CommonOptions common;
  Form form = Form::human;
  std::vector<std::string> files;
  std::string like;
  std::string expect;
  std::string loaders;
  std::optional<std::size_t> device;
  VerifyOptions verify;
};

/// Reads what --like or --expect ask for; false after an error has been logged.
bool load_expectations(Options& options) {
  if (options.like.empty() && options.expect.empty()) return true;
  auto expected = [&]() -> Result<std::vector<ExpectedTensor>> {
    if (!options.expect.empty()) return read_expectations(options.expect);
    auto other = open_checkpoint(options.like);
    if (!other) return tl::make_unexpected(std::move(other.error()));
    return expectations_of(*other);
  }();
  if (!expected) {
    log_error(options.expect.empty() ? options.like : options.expect, expected.error());
    return false;
  }
  options.verify.expected = std::move(*expected);
  return true;
}

/// Reads what --for names; false after an error has been logged.
bool parse_for(Options& options) {
  if (options.loaders.empty()) return true;
  auto loaders = parse_loaders(options.loaders);
  if (loaders) {
    options.verify.loaders = std::move(*loaders);
  } else {
    log_error("--for", loaders.error());
  }
  return loaders.has_value();
}

/// Opens the device of --device; false after an error has been logged.
bool open_device(Options& options) {
  if (!options.device) return true;
  auto device = Device::open(*options.device);
  if (device) {
    options.verify.device = std::move(*device);
  } else {
    log_error(device.error());
  }
  return device.has_value();
}

int run(Options& options) {
  options.common.apply();
  const auto files = expand_files(options.files);
  if (!files) {
    log_error(files.error());
    return kFailed;
  }
  if (!parse_for(options) || !load_expectations(options) || !open_device(options)) return kFailed;
  HumanOptions human;
  human.terminal = detect_terminal(options.common.color);
  human.verbose = options.common.verbose;

  const Form form = options.common.json ? Form::json : options.form;
  Output out;
  int code = kDone;
  std::vector<VerifiedFile> verified;  // for forms that begin with a count
  const char* separator = "\n";
  if (form == Form::json) out << "{\"schema\": \"netcl-ckpt.verify/1\", \"files\": [";
  const auto all = verify_all(files->paths, options.verify, [&](const std::string& path, Result<VerifyReport> report) {
    if (!report && files->was_removed(path, report.error())) return;
    if (form == Form::json) {
      out << separator;
      separator = ",\n";
      report ? render_json(*report, out) : render_json(path, nullptr, report.error(), out);
    } else if (form == Form::human && report && (!options.common.quiet || !report->sound())) {
      render_human(*report, human, out);
    }
    if (!report) {
      out.flush();
      log_error(path, report.error());
    }
    code = std::max(code, !report ? int{kFailed} : report->sound() ? int{kDone} : int{kFound});
    if (form > Form::json) verified.push_back({path, std::move(report)});
  });
  if (!all) {
    out.flush();
    log_error(all.error());
    return kFailed;
  }
  if (form == Form::json) out << "]}\n";
  if (form == Form::junit) render_junit(verified, out);
  if (form == Form::github) render_github(verified, out);
  if (form == Form::sarif) render_sarif(verified, out);
  return finish(out, code);
}

}  // namespace

Action add_verify_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("FILE", options->files, "Checkpoints, directories of them, or - for standard input")->required();
  options->common.add_to(command);
  command.add_option("--format", options->form, "Write human, json, junit, github or sarif")
      ->transform(one_of({"human", "json", "junit", "github", "sarif"}))
      ->type_name("FORM")
      ->excludes("--json");
  command
      .add_option("--allow", options->verify.allow,
                  "Foreign classes and functions that are no problem, as MODULE.NAME; * and ? match")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command.add_flag("--finite", options->verify.finite, "NaN and Inf in a tensor are problems too");
  command
      .add_option("--for", options->loaders,
                  "Also ask whether these would load the file: torch, numpy, safetensors, transformers, netcl, each "
                  "perhaps with a version (torch=1.13)")
      ->type_name("LOADERS");
  auto* like = command.add_option("--like", options->like, "Demand the names, dtypes and shapes of another checkpoint")
                   ->type_name("OTHER");
  command.add_option("--expect", options->expect, "Demand the names and shapes in a JSON file")
      ->type_name("SHAPES")
      ->excludes(like);
  command
      .add_option("--device", options->device, "Send every tensor to OpenCL device N and back (see netcl-ckpt devices)")
      ->type_name("N")
      ->check(whole_number());
  add_resource_options(command, options->verify.run.jobs);
  command.footer(
      "Exit code: 0 sound, 1 a problem was found, 2 a file could not be looked at.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt verify iter_1000.npz\n"
      "  netcl-ckpt verify --json checkpoints/\n"
      "  netcl-ckpt verify --device 0 iter_1000.npz\n"
      "  netcl-ckpt verify --format junit checkpoints/ > checkpoints.xml\n"
      "  netcl-ckpt verify --allow 'omegaconf.*' last.ckpt\n"
      "  netcl-ckpt verify --for torch,numpy=1.26 last.ckpt\n"
      "  netcl-ckpt verify --finite --like iter_1000.npz iter_2000.npz\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
