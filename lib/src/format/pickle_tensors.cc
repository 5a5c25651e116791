// NumPy: _reconstruct(class, (0,), b'b') with the state (1, shape, dtype, fortran, data), _frombuffer(data,
// dtype, shape, order), scalar(dtype, data). torch: a storage, and offset, sizes and strides in elements.
// https://github.com/numpy/numpy/blob/main/numpy/_core/src/multiarray/methods.c, array_setstate
// https://github.com/pytorch/pytorch/blob/main/torch/_utils.py
#include "format/pickle_tensors.h"

#include <algorithm>

#include "base/checked.h"
#include "base/text.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {

using Kind = PickleKind;

namespace {

/// (1, shape, dtype, fortran, data), or the same without a version.
Result<PickleTensors::ArrayState> state_of(const PickleView& view, PickleId state) {
  if (state == kNoPickle || view.kind(state) != Kind::tuple) return bad_pickle("an array has no state");
  auto s = view.items(state);
  if (s.size() == 5) {
    if (!view.is_integer(s[0]) || view.graph.integer(s[0]) < 0 || view.graph.integer(s[0]) > 1)
      return bad_pickle("an array's state has a version that does not exist");
    s.erase(s.begin());
  }
  if (s.size() != 4) return bad_pickle("an array is not described as NumPy does it");
  const bool fortran = (view.kind(s[2]) == Kind::boolean && view.graph.boolean(s[2])) ||
                       (view.is_integer(s[2]) && view.graph.integer(s[2]) != 0);
  return PickleTensors::ArrayState{s[0], s[1], s[3], fortran ? "F" : "C", kNoPickle};
}

}  // namespace

Result<PickleTensors::ArrayState> PickleTensors::array_state(PickleId call) const {
  const auto given = view_.args(call);
  switch (view_.called(call)) {
    case Meaning::frombuffer: {
      if (given.size() < 4 || given.size() > 5 || view_.kind(given[3]) != Kind::string)
        return bad_pickle("an array is not described as NumPy does it");
      ArrayState out{given[2], given[1], given[0], std::string(view_.text(given[3])), kNoPickle};
      if (out.order == "K" && given.size() == 5) {
        out.axes = given[4];
      } else if (out.order != "C" && out.order != "F" && out.order != "A") {
        return bad_pickle("an array has an order that does not exist");
      }
      return out;
    }
    case Meaning::jax_array:
      // (function, its arguments, its state, …): the call that made NumPy's array.
      if (given.size() < 3) return bad_pickle("a jax array has too few parts");
      if (view_.meaning(given[0]) != Meaning::reconstruct)
        return fail(ErrorCode::unsupported, "a jax array of something other than NumPy's");
      return state_of(view_, given[2]);
    default:
      if (given.empty() || view_.meaning(given[0]) != Meaning::array_class)
        return fail(ErrorCode::unsupported, "an array of a class that is not NumPy's");
      return state_of(view_, view_.graph.call(call).state);
  }
}

Result<void> PickleTensors::array(const ArrayState& state, Tensor& out) const {
  CKPT_TRY(out.dtype, dtypes_.parse(state.dtype));
  CKPT_TRY(out.shape, dtypes_.sizes(state.shape));
  const auto size = checked_product(out.shape, out.dtype.item_bytes);
  constexpr std::uint64_t kMaxEmptyElements = 1 << 20;
  if (!size || (out.dtype.item_bytes == 0 && out.num_elements() > kMaxEmptyElements)) {
    out.shape.clear();
    return bad_pickle("an array's shape describes more elements than there can be");
  }
  out.strides = state.order == "F" ? f_strides(out.shape) : c_strides(out.shape);
  if (state.axes != kNoPickle) {
    CKPT_TRY(const auto axes, dtypes_.sizes(state.axes));
    std::vector<bool> seen(out.shape.size());
    Tensor moved = out;
    for (std::size_t i = 0; i < axes.size() && axes.size() == seen.size(); ++i) {
      if (axes[i] >= seen.size() || seen[axes[i]]) break;
      seen[axes[i]] = true;
      moved.shape[i] = out.shape[axes[i]];
      moved.strides[i] = out.strides[axes[i]];
    }
    if (axes.size() != seen.size() || std::find(seen.begin(), seen.end(), false) != seen.end())
      return bad_pickle("an array's order of axes is none");
    out = std::move(moved);
  }
  if (has_object(out.dtype)) {
    if (view_.kind(state.data) != Kind::list) return bad_pickle("an object array's elements are no list");
    return {};
  }
  CKPT_TRY(PickleView::Bytes bytes, view_.bytes(state.data));
  if (bytes.size_bytes != *size)
    return fail(ErrorCode::corrupt, "an array of {} bytes comes with {}", *size, bytes.size_bytes);
  out.storage = std::move(bytes.storage);
  out.offset_bytes = bytes.offset_bytes;
  return {};
}

Result<void> PickleTensors::joblib_array(PickleId call, Tensor& out) const {
  CKPT_TRY(const auto attributes, view_.mapping(view_.graph.call(call).state));
  CKPT_TRY(out.dtype, dtypes_.parse(view_.find(attributes, "dtype")));
  CKPT_TRY(out.shape, dtypes_.sizes(view_.find(attributes, "shape")));
  const auto size = checked_product(out.shape, out.dtype.item_bytes);
  if (!size || (out.dtype.item_bytes == 0 && out.num_elements() > 0)) {
    out.shape.clear();
    return bad_pickle("an array's shape describes more elements than there can be");
  }
  const PickleId order = view_.find(attributes, "order");
  const bool fortran = order != kNoPickle && view_.is_text(order, "F");
  out.strides = fortran ? f_strides(out.shape) : c_strides(out.shape);
  if (has_object(out.dtype)) return {};
  const PickleId raw = view_.graph.call(call).raw;
  if (raw == kNoPickle) return bad_pickle("joblib's array has no elements behind it");
  const auto range = view_.graph.range(raw);
  if (range.size_bytes < *size) return bad_pickle("joblib's array has two states");
  out.storage = view_.payload;
  out.offset_bytes = range.offset_bytes + range.size_bytes - *size;
  return {};
}

Result<void> PickleTensors::joblib_zarray(const std::vector<PickleId>& attributes, Tensor& out) const {
  // (1, shape, dtype, fortran): NumPy's state without the data, for an array of the class in `init_args`
  const PickleId state = view_.find(attributes, "state");
  const auto parts =
      state != kNoPickle && view_.kind(state) == Kind::tuple ? view_.items(state) : std::vector<PickleId>();
  if (parts.size() != 4) return bad_pickle("an array is not described as NumPy does it");
  CKPT_TRY(out.dtype, dtypes_.parse(parts[2]));
  CKPT_TRY(out.shape, dtypes_.sizes(parts[1]));
  if (!checked_product(out.shape, out.dtype.item_bytes) || (out.dtype.item_bytes == 0 && out.num_elements() > 0)) {
    out.shape.clear();
    return bad_pickle("an array's shape describes more elements than there can be");
  }
  const bool fortran = (view_.kind(parts[3]) == Kind::boolean && view_.graph.boolean(parts[3])) ||
                       (view_.is_integer(parts[3]) && view_.graph.integer(parts[3]) != 0);
  out.strides = fortran ? f_strides(out.shape) : c_strides(out.shape);
  if (has_object(out.dtype)) return fail(ErrorCode::unsupported, "an object array in a file of joblib before 0.10");
  return {};
}

Result<void> PickleTensors::scalar(const std::vector<PickleId>& given, Tensor& out) const {
  if (given.size() != 2) return bad_pickle("a NumPy scalar has the wrong parts");
  CKPT_TRY(out.dtype, dtypes_.parse(given[0]));
  if (has_object(out.dtype)) return {};
  CKPT_TRY(PickleView::Bytes bytes, view_.bytes(given[1]));
  if (bytes.size_bytes != out.dtype.item_bytes)
    return bad_pickle("a NumPy scalar's data have another size than its dtype");
  out.storage = std::move(bytes.storage);
  out.offset_bytes = bytes.offset_bytes;
  return {};
}

Result<TorchStorage> PickleTensors::storage(PickleId id) const {
  if (view_.called(id) == Meaning::load_from_bytes && nested) {
    CKPT_TRY(Tensor whole, nested(id));
    if (whole.storage == nullptr || whole.shape.size() != 1 || whole.offset_bytes != 0)
      return bad_pickle("a torch tensor's storage is none");
    return TorchStorage{whole.storage, whole.dtype, whole.shape[0]};
  }
  if (view_.kind(id) != Kind::persistent || !resolve_) return bad_pickle("a torch tensor has no storage");
  return resolve_(view_.graph, view_.graph.persistent_id(id));
}

Result<void> PickleTensors::torch(const std::vector<PickleId>& given, PickleId dtype, PickleId metadata,
                                  Tensor& out) const {
  if (given.size() < 4) return bad_pickle("a torch tensor has too few parts");
  // What can be listed of it even if its storage cannot be had.
  auto shape = dtypes_.sizes(given[2]);
  if (shape && checked_product(*shape, 16)) out.shape = *shape;
  CKPT_TRY(TorchStorage storage, this->storage(given[0]));
  if (dtype != kNoPickle) {
    if (view_.meaning(dtype) != Meaning::element_type) return bad_pickle("a torch tensor has no element type");
    const bool big_endian = storage.dtype.big_endian;
    CKPT_TRY(storage.dtype, torch_dtype(view_.graph.global(dtype)));
    storage.dtype.big_endian = big_endian && storage.dtype.item_bytes > 1;
    storage.num_elements = storage.storage->size_bytes() / storage.dtype.item_bytes;
  }
  out.dtype = storage.dtype;
  if (!shape) return tl::make_unexpected(std::move(shape.error()));
  const auto size = checked_product(*shape, out.dtype.item_bytes);
  if (!size) return bad_pickle("a torch tensor's size describes more elements than there can be");
  out.shape = std::move(*shape);
  CKPT_TRY(out.strides, dtypes_.sizes(given[3]));
  if (out.strides.size() != out.shape.size()) return bad_pickle("a torch tensor has not one stride for each dimension");
  const auto offset = view_.size(given[1]);
  if (!offset) return bad_pickle("a torch tensor has an impossible offset");
  CKPT_CHECK(place_tensor(storage, *offset, view_.limits, out));
  if (metadata == kNoPickle || !view_.is_mapping(metadata)) return {};
  CKPT_TRY(const auto pairs, view_.mapping(metadata));
  auto is_set = [&](std::string_view key) {
    const PickleId bit = view_.find(pairs, key);
    return bit != kNoPickle && view_.kind(bit) == Kind::boolean && view_.graph.boolean(bit);
  };
  const SignBits bits{is_set("conj"), is_set("neg")};
  if (bits == SignBits{}) return {};
  StoragePtr& changed = changed_[{out.storage.get(), out.dtype.type, bits.conjugate, bits.negative}];
  if (changed == nullptr) {
    auto with_bits = with_sign_bits(out.storage, out.dtype, bits);
    if (!with_bits) return tl::make_unexpected(std::move(with_bits.error()));
    changed = std::move(*with_bits);
  }
  out.storage = changed;
  return {};
}

Result<void> place_tensor(const TorchStorage& storage, std::uint64_t offset, const Limits& limits, Tensor& out) {
  if (out.num_elements() > 0) {
    std::optional<std::uint64_t> last = offset;
    for (std::size_t d = 0; d < out.shape.size() && last; ++d) {
      const auto step = checked_mul(out.shape[d] - 1, out.strides[d]);
      last = step ? checked_add(*last, *step) : std::nullopt;
    }
    if (!last || *last >= storage.num_elements) return bad_pickle("a torch tensor reaches beyond its storage");
    const auto most = checked_mul(storage.storage->size_bytes(), limits.max_expansion);
    if (most && out.size_bytes() > *most)
      return fail(ErrorCode::limit_exceeded, "a torch tensor repeats its storage more than {} times",
                  limits.max_expansion);
    out.offset_bytes = offset * out.dtype.item_bytes;
  } else if (offset > storage.num_elements) {
    return bad_pickle("a torch tensor begins beyond its storage");
  }
  out.storage = storage.storage;
  return {};
}

Result<void> PickleTensors::meta(const std::vector<PickleId>& given, Tensor& out) const {
  if (given.size() < 2) return bad_pickle("a meta tensor has too few parts");
  if (view_.meaning(given[0]) == Meaning::element_type) {
    CKPT_TRY(out.dtype, torch_dtype(view_.graph.global(given[0])));
  }
  CKPT_TRY(out.shape, dtypes_.sizes(given[1]));
  if (!checked_product(out.shape, 16)) {
    out.shape.clear();
    return bad_pickle("a torch tensor's size describes more elements than there can be");
  }
  return fail(ErrorCode::unsupported, "a tensor of torch's meta device: it has a shape and no data");
}

Result<void> PickleTensors::lone_storage(PickleId persistent, Tensor& out) const {
  if (!resolve_) return bad_pickle("the pickle refers to an object outside of it");
  CKPT_TRY(const TorchStorage storage, resolve_(view_.graph, view_.graph.persistent_id(persistent)));
  out.dtype = storage.dtype;
  out.shape = {storage.num_elements};
  out.strides = {1};
  out.storage = storage.storage;
  return {};
}

}  // namespace netcl::ckpt
