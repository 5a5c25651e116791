// A pickle, protocol 4, that NumPy 1 and 2 load: arrays as numpy.core.multiarray._reconstruct with the
// payload in BINBYTES, which the engine pulls when its turn comes.
#include "base/try.h"
#include "format/numpy_pickle.h"
#include "format/tree_pickler.h"
#include "format/write_plan.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

Result<std::string> scalar_bytes(const Tensor& tensor) {
  std::string bytes(tensor.size_bytes(), '\0');
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  CKPT_CHECK(reader.read(std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

}  // namespace

Result<WritePlan> plan_pickle(const Checkpoint& checkpoint) {
  const Tree& tree = checkpoint.tree;
  WritePlan plan;
  DTypePickler dtypes;
  TreePickler pickler{PickleWriter(4), {}, {}};
  PickleWriter& w = pickler.writer;

  pickler.tensor = [&](ValueId id) -> Result<void> {
    const Tensor& tensor = tree.tensor(id);
    if (!tensor.storage)
      return fail(ErrorCode::unsupported, "an object array is a pickle of its own, which is not written; exclude it");
    const bool as_it_lies = tensor.is_c_contiguous() || tensor.is_f_contiguous();
    w.global("numpy.core.multiarray", "_reconstruct");
    w.mark();
    w.global("numpy", "ndarray");
    w.mark();
    w.integer(0);
    w.tuple();
    w.bytes("b");
    w.tuple();
    w.reduce();
    w.mark();
    w.integer(1);
    w.mark();
    for (const std::uint64_t d : tensor.shape) w.integer(static_cast<std::int64_t>(d));
    w.tuple();
    CKPT_CHECK(dtypes.write(as_it_lies ? tensor.dtype : little_endian(tensor.dtype), w));
    w.boolean(tensor.is_f_contiguous());
    w.bytes_header(tensor.size_bytes());
    WritePart part;
    part.head = w.take();
    part.payload = tensor;
    part.in_c_order = !as_it_lies;
    plan.parts.push_back(std::move(part));
    w.tuple();
    w.build();
    return {};
  };
  pickler.scalar = [&](ValueId id) -> Result<void> {
    const Tensor& tensor = tree.tensor(id);
    CKPT_TRY(const std::string bytes, scalar_bytes(tensor));
    w.global("numpy.core.multiarray", "scalar");
    w.mark();
    CKPT_CHECK(dtypes.write(little_endian(tensor.dtype), w));
    w.bytes(bytes);
    w.tuple();
    w.reduce();
    return {};
  };

  CKPT_CHECK(pickler.write(checkpoint));
  WritePart end;
  end.head = w.take();
  plan.parts.push_back(std::move(end));
  return plan;
}

}  // namespace netcl::ckpt
