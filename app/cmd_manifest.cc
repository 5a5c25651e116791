// netcl-ckpt manifest
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <span>

#include "commands.h"
#include "log.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/output_file.h"
#include "options.h"
#include "render_human.h"
#include "render_json.h"
#include "validators.h"

namespace netcl::ckpt::app {
namespace {

namespace fs = std::filesystem;

enum class Verb { create, check };  // as the words stand

struct Options {
  CommonOptions common;
  Verb action = Verb::create;
  std::vector<std::string> paths;
  std::string out;
  bool force = false;
  ManifestOptions manifest;
};

constexpr const char* kFolderManifest = "all.manifest.json";

/// DIR/all.manifest.json, or NAME.npz.manifest.json.
fs::path default_manifest(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? path / kFolderManifest : fs::path(path.string() + ".manifest.json");
}

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

Result<void> write(const std::string& text, const fs::path& path, bool replace) {
  auto file = OutputFile::create(path, replace);
  if (!file) return tl::make_unexpected(std::move(file.error()));
  if (auto done = file->write_at(0, std::as_bytes(std::span(text))); !done) return done;
  return file->commit(text.size());
}

int create(const Options& options) {
  if (options.out.empty() && options.paths.size() > 1) {
    log_error("one manifest for several files needs a name; say it with --output");
    return kFailed;
  }
  const bool to_output = options.out == "-";
  const fs::path target = options.out.empty() ? default_manifest(options.paths[0]) : fs::path(options.out);
  const auto manifest = create_manifest({options.paths.begin(), options.paths.end()},
                                        to_output ? fs::path(".") : folder_of(target), options.manifest);
  if (!manifest) {
    log_error(options.paths[0], manifest.error());
    return kFailed;
  }
  const std::string text = to_json(*manifest);
  if (constexpr Limits limits; text.size() > limits.max_json_bytes) {
    log_error(fmt::format("a manifest of {} bytes is more than check reads; make one for fewer files", text.size()));
    return kFailed;
  }
  Output out;
  if (to_output) {
    out << text;
    return finish(out, kDone);
  }
  if (const auto written = write(text, target, options.force); !written) {
    log_error(target.string(), written.error());
    return kFailed;
  }
  if (options.common.json) {
    out << text;
  } else if (!options.common.quiet) {
    std::uint64_t total_bytes = 0;
    for (const ManifestFile& f : manifest->files) total_bytes += f.file_bytes;
    out << fmt::format("{}: {} file{}, {}\n", escape(target.string()), manifest->files.size(),
                       manifest->files.size() == 1 ? "" : "s", bytes_text(total_bytes));
  }
  return finish(out, kDone);
}

int check(const Options& options) {
  Output out;
  int code = kDone;
  const char* separator = "\n";
  if (options.common.json) out << "{\"schema\": \"netcl-ckpt.manifest-check/1\", \"manifests\": [";
  for (const std::string& argument : options.paths) {
    const bool is_manifest = fs::path(argument).extension() == ".json";
    const fs::path path = is_manifest ? fs::path(argument) : default_manifest(argument);
    const auto report = [&]() -> Result<ManifestReport> {
      const auto manifest = read_manifest(path, options.manifest.limits);
      if (!manifest) return tl::make_unexpected(manifest.error());
      return check_manifest(*manifest, folder_of(path), options.manifest);
    }();
    if (options.common.json) {
      out << separator;
      separator = ",\n";
      report ? render_json(path.string(), *report, out) : render_json(path.string(), nullptr, report.error(), out);
    }
    if (!report) {
      out.flush();
      log_error(path.string(), report.error());
      code = kFailed;
      continue;
    }
    if (!report->findings.empty()) code = std::max(code, int{kFound});
    if (options.common.json) continue;
    for (const ManifestFinding& f : report->findings) {
      out << escape((folder_of(path) / f.path).lexically_normal().string()) << ": "
          << (f.tensor.empty() ? "" : escape(f.tensor) + ": ") << escape(f.message) << "\n";
    }
    if (report->findings.empty() && !options.common.quiet) {
      out << fmt::format("{}: all as it was ({} file{}, {})\n", escape(path.string()), report->num_files,
                         report->num_files == 1 ? "" : "s", bytes_text(report->checked_bytes));
    }
  }
  if (options.common.json) out << "]}\n";
  return finish(out, code);
}

int run(const Options& options) {
  options.common.apply();
  return options.action == Verb::create ? create(options) : check(options);
}

}  // namespace

Action add_manifest_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("ACTION", options->action, "create or check")->required()->transform(one_of({"create", "check"}));
  command
      .add_option("FILE", options->paths,
                  "create: checkpoints and folders of them; check: manifests, or what they were made for")
      ->required();
  options->common.add_to(command);
  command
      .add_option("-o,--output", options->out,
                  "The manifest to write, or -; by default FILE.manifest.json or DIR/all.manifest.json")
      ->type_name("OUT");
  command.add_flag("-f,--force", options->force, "Replace the manifest where it exists");
  add_resource_options(command, options->manifest.run.jobs);
  command.footer(
      "Exit code: 0 all is as it was, 1 something changed, 2 it could not look.\n"
      "\n"
      "Examples:\n"
      "  netcl-ckpt manifest create iter_1000.npz\n"
      "  netcl-ckpt manifest check iter_1000.npz\n"
      "  netcl-ckpt manifest create -o release.manifest.json model.safetensors config/\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
