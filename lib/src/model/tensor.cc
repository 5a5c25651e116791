// Views of storages, and their elements in C order whatever the layout.
//
// A contiguous tensor streams. Any other (Fortran order, torch's transposed, sliced and expanded
// views) is gathered: from a copy of the range it spans where that is small or the storage is
// compressed, else panel by panel. A panel is a box of consecutive output rows; along the dimension
// with the smallest stride its elements are runs in the file, each read once and scattered.
#include "netcl/ckpt/tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kPanelBytes = std::uint64_t{8} << 20;

bool has_strides(const Tensor& t, const std::vector<std::uint64_t>& dense) {
  for (std::size_t i = 0; i < t.shape.size(); ++i) {
    if (t.shape[i] > 1 && t.strides[i] != dense[i]) return false;
  }
  return true;
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
  // The innermost dimension in the file is the run; where it is not dense, a run is one element.
  Dim inside{1, 1, 1};
  if (!dims.empty() && dims.front().in_stride == 1) {
    inside = dims.front();
    dims.erase(dims.begin());
  }
  run.resize(inside.extent * item);
  std::vector<std::uint64_t> index(dims.size(), 0);
  std::uint64_t in = base, out = 0;
  for (;;) {
    CKPT_CHECK(fetch(in, run));
    std::byte* to = panel.data() + out * item;
    if (inside.out_stride == 1) {
      std::memcpy(to, run.data(), run.size());
    } else {
      for (std::uint64_t i = 0; i < inside.extent; ++i)
        std::memcpy(to + i * inside.out_stride * item, run.data() + i * item, item);
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
    if (!tensor.storage)
      return fail(ErrorCode::unsupported,
                  "an object array has no elements that can be read without running its pickle");
    auto state = std::make_unique<State>();
    State& s = *state;
    s.tensor = tensor;
    s.total_bytes = tensor.size_bytes();
    CKPT_TRY(s.reader, tensor.storage->open());
    s.contiguous = tensor.is_c_contiguous();
    if (s.contiguous || s.total_bytes == 0) return TensorReader(std::move(state));

    const std::uint64_t item = tensor.dtype.item_bytes;
    std::uint64_t last = 0;
    for (std::size_t d = 0; d < tensor.shape.size(); ++d) last += (tensor.shape[d] - 1) * tensor.strides[d];
    const std::uint64_t span_bytes = (last + 1) * item;
    if (span_bytes <= kPanelBytes || !tensor.storage->seekable()) {
      if (span_bytes > max_buffered_bytes) {
        return fail(ErrorCode::limit_exceeded,
                    "reading a compressed array in another order needs {} bytes of memory; decompress the file first",
                    span_bytes);
      }
      s.span.resize(span_bytes);
      CKPT_CHECK(s.reader->read(tensor.offset_bytes, s.span));
    }
    s.out_strides = c_strides(tensor.shape);
    while (s.split + 1 < tensor.shape.size() && s.out_strides[s.split] * item > kPanelBytes) ++s.split;
    s.panel_rows = std::max<std::uint64_t>(1, kPanelBytes / (s.out_strides[s.split] * item));
    return TensorReader(std::move(state));
  });
}

std::uint64_t TensorReader::remaining_bytes() const { return state_->total_bytes - state_->position; }

Result<void> TensorReader::read(std::span<std::byte> dst) {
  return guarded([&]() -> Result<void> {
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

}  // namespace netcl::ckpt
