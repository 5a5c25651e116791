// The sidecar is looked for by name, so this one goes through a file; /dev/shm keeps that cheap.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "exercise.h"
#include "format/readers.h"

using namespace netcl::ckpt;

namespace {

/// A dict of two arrays, for moments to be compared with.
ValueId arrays(Tree& tree, const SourcePtr& source) {
  std::vector<Tree::Entry> entries;
  for (std::uint64_t n : {2, 3}) {
    Tensor t;
    t.dtype = make_dtype(ScalarType::uint8);
    t.shape = {n};
    t.strides = {1};
    t.storage = file_storage(source, 0, 0);
    const ValueId name = tree.add_string("p");
    entries.push_back({name, tree.add_tensor(std::move(t))});
  }
  return tree.add_dict(entries);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string stem = "/dev/shm/netcl-ckpt-fuzz-" + std::to_string(::getpid());
  std::ofstream(stem + ".json", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  fuzz::exercise(data, size, [&](const SourcePtr& source, const OpenOptions& options, Checkpoint& out) -> Result<void> {
    out.root = arrays(out.tree, source);
    read_sidecar(stem + ".npz", options, out);
    out.root = out.attributes;
    return {};
  });
  std::filesystem::remove(stem + ".json");
  return 0;
}
