// The structure document, beside a flat list of three tensors: what is made of it can be written, and says the same.
#include "exercise.h"
#include "format/structure_decode.h"
#include "format/structure_encode.h"

using namespace netcl::ckpt;

namespace {

Checkpoint flat() {
  Checkpoint out;
  std::vector<Tree::Entry> entries;
  for (const char* name : {"a", "b.c", "d.0"}) {
    Tensor t;
    t.dtype = make_dtype(ScalarType::uint8);
    t.shape = t.strides = {1};
    t.storage = file_storage(memory_source({std::byte{7}}, "one"), 0, 1);
    const ValueId key = out.tree.add_string(name);
    entries.push_back({key, out.tree.add_tensor(std::move(t))});
  }
  out.root = out.tree.add_dict(entries);
  out.attributes = out.tree.add_dict({});
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Checkpoint first = flat();
  if (auto done = decode_structure(text, {}, first); !done) {
    fuzz::check_error(done.error());
    return 0;
  }
  const auto tensors = list_tensors(first);
  if (!tensors) fuzz::broken("what a structure gives can be listed: " + tensors.error().to_string());
  if (tensors->size() != 3) fuzz::broken("a structure loses no tensor and makes none");
  const auto once = encode_structure(first, true, true, true);
  if (!once) fuzz::broken("what was read can be written: " + once.error().to_string());
  Checkpoint second = flat();
  if (auto done = decode_structure(*once, {}, second); !done)
    fuzz::broken("what was written can be read: " + done.error().to_string());
  const auto twice = encode_structure(second, true, true, true);
  if (!twice || *twice != *once) fuzz::broken("a structure comes back as it was");
  return 0;
}
