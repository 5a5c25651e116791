// What the commands do, on any bytes: the fuzz targets `operations` and `directory`, and the sweep, share it.
#include "operations.h"

#include <unistd.h>

#include <fstream>
#include <string>

#include "exercise.h"
#include "format/peek.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/diff.h"
#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/repair.h"
#include "netcl/ckpt/strip.h"
#include "netcl/ckpt/verify.h"

namespace netcl::ckpt::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 20;  // of payload: enough of what bombs decode to

template <class Value>
void check(const Result<Value>& result) {
  if (!result) check_error(result.error());
}

bool is_small(const Checkpoint& checkpoint) {
  const auto tensors = list_tensors(checkpoint);
  if (!tensors) return false;
  std::uint64_t left = kMaxBytes;
  for (const NamedTensor& t : *tensors) {
    const std::uint64_t bytes = checkpoint.tree.tensor(t.value).size_bytes();
    if (bytes > left) return false;
    left -= bytes;
  }
  return true;
}

/// What convert wrote opens, and holds what it said.
void read_back(const ConvertReport& written) {
  const auto back = open_checkpoint(fs::path(written.path));
  if (!back) broken("what was written opens: " + back.error().to_string());
  const auto report = inspect(*back);
  if (!report) broken("what was written can be listed: " + report.error().to_string());
  if (report->totals.num_tensors != written.num_tensors) broken("as many tensors are read as were written");
}

void convert_to_each(const Checkpoint& checkpoint) {
  constexpr std::pair<Format, const char*> kOutputs[] = {
      {Format::npz, "out.npz"},    {Format::npy, "out.npy"},  {Format::npy_folder, "out/"},
      {Format::pickle, "out.pkl"}, {Format::torch, "out.pt"}, {Format::safetensors, "out.safetensors"}};
  for (const auto& [format, name] : kOutputs) {
    ConvertOptions options;
    options.to = format;
    options.replace = true;
    options.verify = true;
    options.run.jobs = 1;
    const auto written = convert(checkpoint, scratch() / name, options);
    check(written);
    if (written) read_back(*written);
  }
}

}  // namespace

const fs::path& scratch() {
  static const fs::path folder = [] {
    const fs::path shm = "/dev/shm";
    const fs::path path =
        (fs::exists(shm) ? shm : fs::temp_directory_path()) / ("netcl-ckpt-fuzz-" + std::to_string(::getpid()));
    fs::remove_all(path);
    fs::create_directories(path / "run");
    std::atexit([] { fs::remove_all(scratch()); });
    return path;
  }();
  return folder;
}

fs::path write_scratch(std::string_view name, std::span<const std::byte> bytes) {
  const fs::path path = scratch() / name;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return path;
}

void run_operations(std::span<const std::byte> bytes) {
  const SourcePtr source = memory_source({bytes.begin(), bytes.end()}, "fuzz");
  const auto opened = open_checkpoint(source, "");
  if (!opened) check_error(opened.error());
  if (opened && !is_small(*opened)) return;
  VerifyOptions verifying;
  verifying.finite = true;
  verifying.run.jobs = 1;
  check(verify(source, "", verifying));
  RepairOptions repairing;
  repairing.replace = true;
  repairing.run.jobs = 1;
  check(repair(source, scratch() / "repaired.npz", repairing));
  if (!opened) return;

  InspectOptions inspecting;
  inspecting.hash = inspecting.stats = inspecting.identity = true;
  inspecting.include = {"*[a-z]*"};
  inspecting.run.jobs = 1;
  check(inspect(*opened, inspecting));
  DiffOptions diffing;
  diffing.run.jobs = 1;
  check(diff(*opened, *opened, diffing));
  StripOptions stripping;
  stripping.write.to = Format::pickle;
  stripping.write.replace = true;
  stripping.write.run.jobs = 1;
  check(strip_optimizer(*opened, scratch() / "stripped.pkl", stripping));
  convert_to_each(*opened);
}

void run_directory_operations(std::span<const std::byte> bytes) {
  const fs::path path = write_scratch("run/iter_7.npz", bytes);
  if (const auto opened = open_checkpoint(path); opened && !is_small(*opened)) return;
  looks_like_checkpoint(path);
  check(peek_checkpoint(path, {}));
  LatestOptions latest;
  latest.scan.run.jobs = 1;
  latest.scan.check = Check::full;
  check(list_checkpoints(scratch() / "run", latest.scan));
  latest.scan.check = Check::quick;
  check(list_checkpoints(scratch() / "run", latest.scan));
  check(latest_checkpoint(scratch() / "run", latest));
  latest.best = BestBy{"loss", false};
  check(latest_checkpoint(scratch() / "run", latest));
  PruneOptions pruning;
  pruning.scan.run.jobs = 1;
  pruning.retention.keep_last = 1;
  check(prune_checkpoints(scratch() / "run", pruning));
  ManifestOptions recording;
  recording.run.jobs = 1;
  const auto manifest = create_manifest({path}, scratch() / "run", recording);
  check(manifest);
  if (!manifest) return;
  const std::string text = to_json(*manifest);
  const auto back = read_manifest(write_scratch("all.manifest.json", std::as_bytes(std::span(text))));
  if (!back) broken("a manifest that was written can be read: " + back.error().to_string());
  const auto same = check_manifest(*back, scratch() / "run", recording);
  check(same);
  if (same && !same->findings.empty()) broken("a file is what its manifest says: " + same->findings[0].message);
}

}  // namespace netcl::ckpt::fuzz
