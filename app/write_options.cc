// Options of the subcommands that write a checkpoint.
#include "write_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <utility>

#include "netcl/ckpt/open.h"
#include "options.h"
#include "validators.h"

namespace netcl::ckpt::app {

void add_target_options(CLI::App& command, ConvertOptions& options) {
  const std::map<std::string, Format> formats = {{"npz", Format::npz},     {"npy", Format::npy},
                                                 {"netcl", Format::netcl}, {"pickle", Format::pickle},
                                                 {"torch", Format::torch}, {"safetensors", Format::safetensors}};
  command
      .add_option_function<Format>(
          "--to", [&options](const Format& f) { options.to = f; },
          "Format of the output: npz, npy, netcl, pickle, torch or safetensors")
      ->transform(one_of(formats))
      ->type_name("FORMAT");
  const std::map<std::string, CompressionChoice> choices = {{"keep", CompressionChoice::keep},
                                                            {"none", CompressionChoice::none},
                                                            {"fast", CompressionChoice::fast},
                                                            {"best", CompressionChoice::best}};
  command.add_option("--compression", options.compression, "Compression of an npz: keep, none, fast or best")
      ->transform(one_of(choices))
      ->type_name("HOW");
  command.add_flag("-f,--force", options.replace, "Replace the output where it exists");
  command.add_flag("-n,--dry-run", options.dry_run, "Say what would be written, and write nothing");
  command.add_flag("--verify", options.verify, "Read the result back and compare before it takes its place");
  command.add_flag("--compact", options.compact, "torch: a view keeps only what it uses of its storage");
  command.add_flag_callback(
      "--no-sidecar", [&options] { options.sidecar = false; }, "Read an npz without the .json beside it");
  command.add_flag("--embed-sidecar", options.embed_sidecar, "npz: metadata inside the archive, no .json beside it");
  command.add_option("--exclude", options.exclude, "No tensor or value whose name matches; repeatable")
      ->type_name("GLOB");
  command.add_option("--root", options.root, "Make this part, a dotted name, the whole")->type_name("PATH");
  command.add_flag("--tensors-only", options.tensors_only, "A flat list of tensors, without other values");
  command.add_flag("--strict", options.strict, "A value left out, or a number that a cast makes Inf, is an error");
  command.add_flag("--drop-unsafe", options.drop_unsafe, "Leave out what would need an unsafe global");
  command.add_flag("--dedupe", options.dedupe, "safetensors: write one tensor under several names once");
  add_resource_options(command, options.run.jobs);
}

void add_dtype_option(CLI::App& command, ConvertOptions& options) {
  const std::map<std::string, ScalarType> types = {{"float16", ScalarType::float16},
                                                   {"bfloat16", ScalarType::bfloat16},
                                                   {"float32", ScalarType::float32},
                                                   {"float64", ScalarType::float64}};
  command
      .add_option_function<ScalarType>(
          "--dtype", [&options](const ScalarType& t) { options.dtype = t; },
          "Cast floats to float16, bfloat16, float32 or float64")
      ->transform(one_of(types))
      ->type_name("TYPE");
}

Result<Checkpoint> open_input(const std::string& path, bool sidecar) {
  OpenOptions options;
  options.sidecar = sidecar;
  if (path != "-") return open_checkpoint(path, options);
  auto source = open_standard_input();
  if (!source) return tl::make_unexpected(std::move(source.error()));
  return open_checkpoint(std::move(*source), "");
}

}  // namespace netcl::ckpt::app
