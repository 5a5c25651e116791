// torch's zip: archive/data.pkl with tensors as views of numbered storages, one stored member each.
// https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst
// Tensors that share a storage go on sharing it. A tensor whose layout torch can express keeps it as
// strides; anything else is written in C order. Payloads are little-endian.
#include <map>

#include "base/try.h"
#include "format/tree_pickler.h"
#include "format/write_plan.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

/// The class that names a storage's element type in torch's pickles.
const char* storage_class(ScalarType type) {
  switch (type) {
    case ScalarType::boolean: return "BoolStorage";
    case ScalarType::int8: return "CharStorage";
    case ScalarType::int16: return "ShortStorage";
    case ScalarType::int32: return "IntStorage";
    case ScalarType::int64: return "LongStorage";
    case ScalarType::uint8: return "ByteStorage";
    case ScalarType::float16: return "HalfStorage";
    case ScalarType::bfloat16: return "BFloat16Storage";
    case ScalarType::float32: return "FloatStorage";
    case ScalarType::float64: return "DoubleStorage";
    case ScalarType::complex64: return "ComplexFloatStorage";
    case ScalarType::complex128: return "ComplexDoubleStorage";
    default: return nullptr;
  }
}

WritePart literal_part(std::string name, std::string text) {
  WritePart part;
  part.name = std::move(name);
  part.head = std::move(text);
  return part;
}

}  // namespace

Result<WritePlan> plan_torch(const Checkpoint& checkpoint, const LayoutOptions& options) {
  const Tree& tree = checkpoint.tree;
  std::vector<WritePart> storages;
  // By storage and element type: a storage that is viewed as two types is written for each.
  std::map<std::pair<const Storage*, ScalarType>, std::size_t> keys;
  TreePickler pickler{PickleWriter(2), {}, {}};
  PickleWriter& w = pickler.writer;

  auto integers = [&](std::span<const std::uint64_t> values) {
    w.mark();
    for (const std::uint64_t v : values) w.integer(static_cast<std::int64_t>(v));
    w.tuple();
  };
  pickler.tensor = [&](ValueId id) -> Result<void> {
    const Tensor& tensor = tree.tensor(id);
    const char* type = storage_class(tensor.dtype.type);
    if (type == nullptr || !tensor.storage) {
      return fail(ErrorCode::unsupported, "torch cannot hold {}; exclude it, or write an npz", tensor.dtype.name());
    }
    const std::uint64_t item = tensor.dtype.item_bytes;
    // A whole storage is kept where it is torch's own (shared, strided) and lies as torch wants it.
    const bool keep = !options.compact && !tensor.dtype.big_endian && tensor.storage->size_bytes() % item == 0 &&
                      tensor.offset_bytes % item == 0;
    std::size_t key = storages.size();
    std::uint64_t offset = 0, elements = tensor.num_elements();
    std::vector<std::uint64_t> strides = c_strides(tensor.shape);
    bool known = false;
    if (keep) {
      const auto [it, fresh] = keys.emplace(std::pair(tensor.storage.get(), tensor.dtype.type), key);
      key = it->second;
      known = !fresh;
      offset = tensor.offset_bytes / item;
      elements = tensor.storage->size_bytes() / item;
      strides = tensor.strides;
    }
    if (!known) {
      WritePart part;
      part.name = fmt::format("archive/data/{}", key);
      part.payload = tensor;
      part.in_c_order = !keep;
      if (keep) {
        part.payload->offset_bytes = 0;
        part.payload->shape = {elements};
        part.payload->strides = {1};
      }
      storages.push_back(std::move(part));
    }
    w.global("torch._utils", "_rebuild_tensor_v2");
    w.mark();
    w.mark();
    w.string("storage");
    w.global("torch", type);
    w.string(fmt::format("{}", key));
    w.string("cpu");
    w.integer(static_cast<std::int64_t>(elements));
    w.tuple();
    w.persistent_id();
    w.integer(static_cast<std::int64_t>(offset));
    integers(tensor.shape);
    integers(strides);
    w.boolean(false);
    w.global("collections", "OrderedDict");
    w.mark();
    w.tuple();
    w.reduce();
    w.tuple();
    w.reduce();
    return {};
  };
  pickler.scalar = pickler.tensor;  // a 0-d tensor: weights_only loading takes no NumPy scalars

  CKPT_CHECK(pickler.write(checkpoint));
  WritePlan plan;
  plan.zip = true;
  plan.parts.push_back(literal_part("archive/data.pkl", w.take()));
  plan.parts.push_back(literal_part("archive/byteorder", "little"));
  for (WritePart& part : storages) plan.parts.push_back(std::move(part));
  plan.parts.push_back(literal_part("archive/version", "3\n"));
  return plan;
}

}  // namespace netcl::ckpt
