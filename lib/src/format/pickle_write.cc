// A pickle, protocol 4, that NumPy 1 and 2 load: names are NumPy 1's, which NumPy 2 keeps for exactly
// this. An array is
//   numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), b'b')
// with the state (1, shape, dtype, is Fortran order, bytes), whose bytes the engine pulls when their
// turn comes. They are written as they lie, in Fortran order and big-endian too (which NumPy turns round
// while it loads); what lies otherwise is gathered in C order, little-endian. Protocol 5's _frombuffer is not used:
// NumPy 1.15 and before lack it. https://numpy.org/doc/stable/reference/generated/numpy.ndarray.__setstate__.html
#include "base/try.h"
#include "format/tree_pickler.h"
#include "format/write_plan.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr int kProtocol = 4;  // the first with lengths beyond 4 GiB

class ArrayPickler {
 public:
  explicit ArrayPickler(const Checkpoint& checkpoint) : pickler_(checkpoint, kProtocol, false) {
    pickler_.tensor = [this](const Tensor& t, const std::string& name) { return array(t, name); };
    pickler_.scalar = [this](const Tensor& t) { return scalar(t); };
  }

  Result<WritePlan> plan() {
    CKPT_CHECK(pickler_.write());
    WritePart end;
    end.head = writer().take();
    plan_.parts.push_back(std::move(end));
    return std::move(plan_);
  }

 private:
  PickleWriter& writer() { return pickler_.writer; }

  Result<void> array(const Tensor& tensor, const std::string& name) {
    CKPT_CHECK(check_readable(tensor));
    if (!tensor.storage) {
      return fail(ErrorCode::unsupported, "an object array is a pickle of its own, which is not written; exclude it");
    }
    const bool as_it_lies = tensor.is_c_contiguous() || tensor.is_f_contiguous();
    PickleWriter& w = writer();
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
    CKPT_CHECK(pickler_.dtypes.write(as_it_lies ? tensor.dtype : little_endian(tensor.dtype), w));
    w.boolean(tensor.is_f_contiguous());
    w.bytes_header(tensor.size_bytes());
    WritePart part;
    part.name = name;
    part.head = w.take();
    part.payload = tensor;
    part.in_c_order = !as_it_lies;
    plan_.parts.push_back(std::move(part));
    w.tuple();
    w.build();
    return {};
  }

  Result<void> scalar(const Tensor& tensor) {
    std::string bytes(tensor.size_bytes(), '\0');
    CKPT_TRY(const auto reader, tensor.storage->open());
    CKPT_CHECK(reader->read(tensor.offset_bytes, std::as_writable_bytes(std::span(bytes))));
    PickleWriter& w = writer();
    w.global("numpy.core.multiarray", "scalar");
    w.mark();
    CKPT_CHECK(pickler_.dtypes.write(tensor.dtype, w));
    w.bytes(bytes);
    w.tuple();
    w.reduce();
    return {};
  }

  TreePickler pickler_;
  WritePlan plan_;
};

}  // namespace

Result<WritePlan> plan_pickle(const Checkpoint& checkpoint) { return ArrayPickler(checkpoint).plan(); }

}  // namespace netcl::ckpt
