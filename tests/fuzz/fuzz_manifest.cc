// What is read of files that this program keeps for itself: manifests, a directory's index, lists of shapes.
#include "exercise.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/verify.h"
#include "operations.h"
#include "run/checkpoint_index.h"

using namespace netcl::ckpt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto path = fuzz::write_scratch("run/index.json", bytes);
  const auto manifest = read_manifest(path);
  if (manifest) {
    const std::string text = to_json(*manifest);
    const auto back = read_manifest(fuzz::write_scratch("back.json", std::as_bytes(std::span(text))));
    if (!back) fuzz::broken("a manifest that was written can be read: " + back.error().to_string());
    if (to_json(*back) != text) fuzz::broken("a manifest comes back as it was");
  } else {
    fuzz::check_error(manifest.error());
  }
  if (const auto shapes = read_expectations(path); !shapes) fuzz::check_error(shapes.error());
  const CheckpointIndex index = CheckpointIndex::read(path.parent_path());
  CheckpointInfo known;
  known.path = path.parent_path() / "iter_1.npz";
  index.recall(known);
  return 0;
}
