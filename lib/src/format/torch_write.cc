// torch's zip: archive/data.pkl, protocol 2, with tensors as views of numbered storages, which are a
// stored member each:
//   torch._utils._rebuild_tensor_v2(('storage', torch.FloatStorage, KEY, 'cpu', elements),
//                                   offset, size, stride, False, OrderedDict())
// https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst
//
// Storages of a torch file are written whole, so that tensors go on sharing them and views stay views;
// compact, and from any other format, a tensor brings the range that it covers, and only tensors of the
// very same elements share one. Fortran order is kept as strides. A tensor that covers no range of its
// own (a strided view, compact; another byte order) is gathered in C order, little-endian.
//
// The dtypes that torch got since 2.1 (uint16, float8 …) have no storage class of their own; torch 2.3 and
// later writes them, and so it is done here, as
//   torch._utils._rebuild_tensor_v3(('storage', torch.storage.UntypedStorage, KEY, 'cpu', bytes),
//                                   offset, size, stride, False, OrderedDict(), torch.uint16)
// Older torch has no such function. So only tensors that it could not hold anyway are written in this way.
#include <map>
#include <tuple>

#include "base/try.h"
#include "format/pickle_values.h"
#include "format/tree_pickler.h"
#include "format/write_plan.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr int kProtocol = 2;  // what torch.save writes, and all that weights-only reading knows

/// The class that names a storage's element type in torch's pickles; null where there is none.
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

/// True where the elements are one little-endian range; otherwise they are gathered in C order.
bool lies_as_written(const Tensor& tensor) {
  return !tensor.dtype.big_endian && (tensor.is_c_contiguous() || tensor.is_f_contiguous());
}

class TorchPickler {
 public:
  TorchPickler(const Checkpoint& checkpoint, const LayoutOptions& options)
      : pickler_(checkpoint, kProtocol, true),
        whole_storages_(!options.compact &&
                        (checkpoint.format == Format::torch || checkpoint.format == Format::torch_legacy)) {
    pickler_.tensor = [this](const Tensor& t, const std::string&) { return tensor(t); };
    pickler_.scalar = [this](const Tensor& t) { return tensor(t); };  // 0-d: torch knows no NumPy scalars
  }

  Result<WritePlan> plan() {
    CKPT_CHECK(pickler_.write());
    WritePlan plan;
    plan.zip = true;
    plan.parts.push_back(literal_part("archive/data.pkl", pickler_.writer.take()));
    plan.parts.push_back(literal_part("archive/byteorder", "little"));
    for (WritePart& part : storages_) plan.parts.push_back(std::move(part));
    plan.parts.push_back(literal_part("archive/version", "3\n"));
    return plan;
  }

 private:
  Result<void> tensor(const Tensor& tensor) {
    CKPT_CHECK(check_readable(tensor));
    const char* type = storage_class(tensor.dtype.type);
    const std::string name = tensor.dtype.name();
    if ((type == nullptr && !torch_dtype({"torch", name})) || !tensor.storage) {
      return fail(ErrorCode::unsupported, "torch files cannot hold {}; exclude it, or write an npz or a pickle", name);
    }
    const std::uint64_t item = tensor.dtype.item_bytes;
    Tensor stored = tensor;  // what the storage holds
    std::uint64_t offset = 0;
    std::vector<std::uint64_t> strides = tensor.strides;
    if (whole_storages_ && tensor.offset_bytes % item == 0) {
      offset = tensor.offset_bytes / item;
      stored.offset_bytes = 0;
      stored.shape = {tensor.storage->size_bytes() / item};
      stored.strides = {1};
    } else if (!lies_as_written(tensor)) {
      strides = c_strides(tensor.shape);
    }
    const std::size_t key = add_storage(stored);

    PickleWriter& w = pickler_.writer;
    w.global("torch._utils", type ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    w.mark();
    w.mark();
    w.string("storage");
    w.global(type ? "torch" : "torch.storage", type ? type : "UntypedStorage");
    w.string(fmt::format("{}", key));
    w.string("cpu");
    w.integer(static_cast<std::int64_t>(type ? stored.num_elements() : stored.size_bytes()));
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
    if (type == nullptr) w.global("torch", name);
    w.tuple();
    w.reduce();
    return {};
  }

  /// The number of the member that holds `stored`.
  std::size_t add_storage(const Tensor& stored) {
    const auto [it, fresh] = keys_.emplace(std::tuple(stored.storage.get(), stored.dtype.type, stored.dtype.big_endian,
                                                      stored.offset_bytes, stored.shape, stored.strides),
                                           storages_.size());
    if (fresh) {
      WritePart part;
      part.name = fmt::format("archive/data/{}", storages_.size());
      part.payload = stored;
      part.in_c_order = !lies_as_written(stored);
      storages_.push_back(std::move(part));
    }
    return it->second;
  }

  void integers(std::span<const std::uint64_t> values) {
    pickler_.writer.mark();
    for (const std::uint64_t v : values) pickler_.writer.integer(static_cast<std::int64_t>(v));
    pickler_.writer.tuple();
  }

  TreePickler pickler_;
  bool whole_storages_;
  std::vector<WritePart> storages_;
  std::map<std::tuple<const Storage*, ScalarType, bool, std::uint64_t, std::vector<std::uint64_t>,
                      std::vector<std::uint64_t>>,
           std::size_t>
      keys_;
};

}  // namespace

Result<WritePlan> plan_torch(const Checkpoint& checkpoint, const LayoutOptions& options) {
  return TorchPickler(checkpoint, options).plan();
}

}  // namespace netcl::ckpt
