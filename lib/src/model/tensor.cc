// Views of storages, and their elements in C order whatever the layout.
//
// A contiguous tensor streams. Any other (Fortran order, torch's transposed, sliced and expanded
// views) is gathered: from a copy of the range it spans where that is small, else panel by panel. A
// panel is a box of consecutive output rows; along the dimension with the smallest stride its elements
// are runs in the file, read in ascending order and scattered. Over a compressed storage each panel is
// one more pass of inflating, so panels are larger there: bounded memory is bought with time.
// Rejected: a copy of the whole array, which a few kilobytes of DEFLATE can make arbitrarily large.
#include "netcl/ckpt/tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kPanelBytes = std::uint64_t{8} << 20;
// Elements further apart than this are read one by one, not with what lies between them.
constexpr std::uint64_t kMaxGapBytes = 4096;

bool has_strides(const Tensor& t, const std::vector<std::uint64_t>& dense) {
  if (t.strides.size() != t.shape.size()) return false;
  for (std::size_t i = 0; i < t.shape.size(); ++i) {
    if (t.shape[i] > 1 && t.strides[i] != dense[i]) return false;
  }
  return true;
}

/// Bytes from the first element to the end of the last; nothing where that is beyond 64 bits.
std::optional<std::uint64_t> span_of(const Tensor& t) {
  std::optional<std::uint64_t> elements = 1;
  for (std::size_t d = 0; d < t.shape.size() && elements; ++d) {
    if (t.shape[d] == 0) return 0;
    const auto along = checked_mul(t.shape[d] - 1, t.strides[d]);
    elements = along ? checked_add(*elements, *along) : std::nullopt;
  }
  return elements ? checked_mul(*elements, t.dtype.item_bytes) : std::nullopt;
}

/// Copies `count` items, `from_step` and `to_step` bytes apart. Compilers turn the memcpy of a
/// constant size into one move, and of a variable one into a call.
template <std::size_t kItemBytes>
void copy_items(std::byte* to, std::uint64_t to_step, const std::byte* from, std::uint64_t from_step,
                std::uint64_t count) {
  for (; count > 0; --count, to += to_step, from += from_step) std::memcpy(to, from, kItemBytes);
}

void copy_items(std::byte* to, std::uint64_t to_step, const std::byte* from, std::uint64_t from_step,
                std::uint64_t count, std::uint64_t item_bytes) {
  if (to_step == item_bytes && from_step == item_bytes) {
    std::memcpy(to, from, count * item_bytes);
    return;
  }
  switch (item_bytes) {
    case 1: return copy_items<1>(to, to_step, from, from_step, count);
    case 2: return copy_items<2>(to, to_step, from, from_step, count);
    case 4: return copy_items<4>(to, to_step, from, from_step, count);
    case 8: return copy_items<8>(to, to_step, from, from_step, count);
    case 16: return copy_items<16>(to, to_step, from, from_step, count);
    default:
      for (; count > 0; --count, to += to_step, from += from_step) std::memcpy(to, from, item_bytes);
  }
}

}  // namespace

std::vector<std::uint64_t> c_strides(std::span<const std::uint64_t> shape) {
  std::vector<std::uint64_t> strides(shape.size());
  std::uint64_t next = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = next;
    next *= std::max<std::uint64_t>(shape[i], 1);
  }
  return strides;
}

std::vector<std::uint64_t> f_strides(std::span<const std::uint64_t> shape) {
  std::vector<std::uint64_t> strides(shape.size());
  std::uint64_t next = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    strides[i] = next;
    next *= std::max<std::uint64_t>(shape[i], 1);
  }
  return strides;
}

std::uint64_t Tensor::num_elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

bool Tensor::is_c_contiguous() const { return num_elements() == 0 || has_strides(*this, c_strides(shape)); }

bool Tensor::is_f_contiguous() const { return !is_c_contiguous() && has_strides(*this, f_strides(shape)); }

struct TensorReader::State {
  Tensor tensor;
  std::unique_ptr<StorageReader> reader;
  std::uint64_t total_bytes = 0;
  std::uint64_t position = 0;  // in the output

  // Gathering only.
  bool contiguous = true;
  std::vector<std::byte> span;   // the whole range that the tensor covers, or empty
  std::vector<std::byte> panel;  // output bytes [panel_begin, panel_begin + panel.size())
  std::uint64_t panel_begin = 0;
  std::size_t split = 0;         // the dimension along which output is cut into panels
  std::uint64_t panel_rows = 1;  // indices of dimension `split` in one panel
  std::vector<std::byte> run;
  std::vector<std::uint64_t> out_strides;  // in elements

  Result<void> fetch(std::uint64_t offset_elements, std::span<std::byte> dst) {
    const std::uint64_t at = offset_elements * tensor.dtype.item_bytes;
    if (!span.empty()) {
      std::memcpy(dst.data(), span.data() + at, dst.size());
      return {};
    }
    return reader->read(tensor.offset_bytes + at, dst);
  }

  Result<void> fill_panel();
};

/// Gathers the panel that holds `position`.
Result<void> TensorReader::State::fill_panel() {
  const auto& shape = tensor.shape;
  const std::uint64_t item = tensor.dtype.item_bytes;
  const std::uint64_t inner = out_strides[split];  // elements below one index of `split`
  const std::uint64_t first = position / item;     // output element
  const std::uint64_t row = first / inner;         // counts all indices of dims 0..split
  const std::uint64_t along = row % shape[split];
  const std::uint64_t rows = std::min(panel_rows, shape[split] - along);
  panel_begin = row * inner * item;
  panel.resize(rows * inner * item);

  // The box: extents and strides of its dimensions, outermost indices folded into `base`.
  std::uint64_t base = along * tensor.strides[split];
  for (std::uint64_t rest = row / shape[split], d = split; d-- > 0;) {
    base += (rest % shape[d]) * tensor.strides[d];
    rest /= shape[d];
  }
  struct Dim {
    std::uint64_t extent, in_stride, out_stride;
  };
  std::vector<Dim> dims;
  for (std::size_t d = split; d < shape.size(); ++d) {
    const std::uint64_t extent = d == split ? rows : shape[d];
    if (extent > 1) dims.push_back({extent, tensor.strides[d], out_strides[d]});
  }
  std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.in_stride < b.in_stride; });
  // The run goes along the densest dimension, in pieces of at most a panel. A stride of 0 repeats what
  // was read last.
  Dim inside{1, 1, 1};
  const auto densest = std::find_if(dims.begin(), dims.end(), [](const Dim& d) { return d.in_stride > 0; });
  if (densest != dims.end() && densest->in_stride <= std::max<std::uint64_t>(kMaxGapBytes / item, 1)) {
    inside = *densest;
    dims.erase(densest);
  }
  const std::uint64_t in_step = inside.in_stride * item, out_step = inside.out_stride * item;
  const std::uint64_t piece = std::clamp<std::uint64_t>(kPanelBytes / in_step, 1, inside.extent);
  std::vector<std::uint64_t> index(dims.size(), 0);
  std::uint64_t in = base, out = 0;
  std::optional<std::uint64_t> held;  // where in the file the bytes in `run` begin
  for (;;) {
    for (std::uint64_t i = 0; i < inside.extent; i += piece) {
      const std::uint64_t count = std::min(piece, inside.extent - i);
      const std::uint64_t from = in + i * inside.in_stride;
      if (held != from) {
        run.resize((count - 1) * in_step + item);
        CKPT_CHECK(fetch(from, run));
        held = from;
      }
      copy_items(panel.data() + out * item + i * out_step, out_step, run.data(), in_step, count, item);
    }
    std::size_t d = 0;
    for (; d < dims.size(); ++d) {
      in += dims[d].in_stride;
      out += dims[d].out_stride;
      if (++index[d] < dims[d].extent) break;
      in -= dims[d].in_stride * dims[d].extent;
      out -= dims[d].out_stride * dims[d].extent;
      index[d] = 0;
    }
    if (d == dims.size()) return {};
  }
}

TensorReader::TensorReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
TensorReader::TensorReader(TensorReader&&) noexcept = default;
TensorReader& TensorReader::operator=(TensorReader&&) noexcept = default;
TensorReader::~TensorReader() = default;

Result<TensorReader> TensorReader::open(const Tensor& tensor, std::uint64_t max_buffered_bytes) {
  return guarded([&]() -> Result<TensorReader> {
    if (!tensor.why_unreadable.empty()) return fail(ErrorCode::unsupported, "{}", tensor.why_unreadable);
    if (!tensor.storage)
      return fail(ErrorCode::unsupported,
                  "an object array has no elements that can be read without running its pickle");
    if (tensor.strides.size() != tensor.shape.size()) {
      return fail(ErrorCode::invalid_argument, "a tensor of {} dimensions has {} strides", tensor.shape.size(),
                  tensor.strides.size());
    }
    const auto total_bytes = checked_product(tensor.shape, tensor.dtype.item_bytes);
    if (!total_bytes) return fail(ErrorCode::invalid_argument, "the tensor's size is beyond 64 bits");
    auto state = std::make_unique<State>();
    State& s = *state;
    s.tensor = tensor;
    s.total_bytes = *total_bytes;
    CKPT_TRY(s.reader, tensor.storage->open());
    const auto span_bytes = span_of(tensor);
    const auto end = span_bytes ? checked_add(tensor.offset_bytes, *span_bytes) : std::nullopt;
    if (s.total_bytes > 0 && (!end || *end > tensor.storage->size_bytes())) {
      return fail(ErrorCode::corrupt, "the tensor lies beyond its storage of {} bytes", tensor.storage->size_bytes());
    }
    s.contiguous = tensor.is_c_contiguous();
    if (s.contiguous || s.total_bytes == 0) return TensorReader(std::move(state));

    // Over a compressed storage a panel is a whole pass.
    const std::uint64_t panel_bytes =
        tensor.storage->seekable() ? kPanelBytes : std::max(max_buffered_bytes, kPanelBytes);
    if (*span_bytes <= panel_bytes) {
      s.span.resize(*span_bytes);
      CKPT_CHECK(s.reader->read(tensor.offset_bytes, s.span));
    }
    const std::uint64_t item = tensor.dtype.item_bytes;
    s.out_strides = c_strides(tensor.shape);
    while (s.split + 1 < tensor.shape.size() && s.out_strides[s.split] * item > panel_bytes) ++s.split;
    s.panel_rows = std::max<std::uint64_t>(1, panel_bytes / (s.out_strides[s.split] * item));
    return TensorReader(std::move(state));
  });
}

std::uint64_t TensorReader::remaining_bytes() const { return state_ ? state_->total_bytes - state_->position : 0; }

Result<void> TensorReader::read(std::span<std::byte> dst) {
  return guarded([&]() -> Result<void> {
    if (!state_) return fail(ErrorCode::invalid_argument, "the reader was moved from");
    State& s = *state_;
    if (dst.size() > remaining_bytes()) return fail(ErrorCode::internal, "read past the end of a tensor");
    const auto whole = dst;
    if (s.contiguous) {
      CKPT_CHECK(s.reader->read(s.tensor.offset_bytes + s.position, dst));
      s.position += dst.size();
    } else {
      while (!dst.empty()) {
        if (s.position < s.panel_begin || s.position >= s.panel_begin + s.panel.size()) CKPT_CHECK(s.fill_panel());
        const std::uint64_t at = s.position - s.panel_begin;
        const std::size_t n = std::min<std::uint64_t>(dst.size(), s.panel.size() - at);
        std::memcpy(dst.data(), s.panel.data() + at, n);
        dst = dst.subspan(n);
        s.position += n;
      }
    }
    to_little_endian(s.tensor.dtype, whole);
    return {};
  });
}

namespace {

/// Elements that no one range of the storage holds, from the front on.
Result<void> read_streamed(const Tensor& tensor, std::uint64_t first, std::span<std::byte> dst) {
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  const std::uint64_t item = tensor.dtype.item_bytes;
  constexpr std::uint64_t kBlockElements = std::uint64_t{1} << 16;
  for (std::uint64_t skipped = 0; skipped < first;) {
    const std::uint64_t n = std::min(kBlockElements, first - skipped);
    CKPT_CHECK(reader.read(thread_buffer(n * item)));
    skipped += n;
  }
  return reader.read(dst);
}

}  // namespace

Result<void> Tensor::read_elements(ScalarType type, std::uint64_t first, std::uint64_t count,
                                   const std::function<std::span<std::byte>(std::size_t)>& make_room) const {
  return guarded([&]() -> Result<void> {
    const bool as_bytes = dtype.type == ScalarType::boolean && type == ScalarType::uint8;
    if (dtype.type != type && !as_bytes)
      return fail(ErrorCode::invalid_argument, "its dtype is {}, not {}", dtype.name(), make_dtype(type).name());
    const std::uint64_t elements = num_elements();
    if (first > elements || count > elements - first)
      return fail(ErrorCode::invalid_argument, "it has {} elements, not {} from {} on", elements, count, first);
    if (!why_unreadable.empty()) return fail(ErrorCode::unsupported, "{}", why_unreadable);
    CKPT_TRY(const auto reader, TensorReader::open(*this));  // compares the tensor with its storage
    const std::span<std::byte> dst = make_room(count);
    if (count == 0) return {};
    if (count == elements || !is_c_contiguous()) return read_streamed(*this, first, dst);
    CKPT_TRY(const auto part, storage->open());
    CKPT_CHECK(part->read(offset_bytes + first * dtype.item_bytes, dst));
    to_little_endian(dtype, dst);
    return {};
  });
}

}  // namespace netcl::ckpt
