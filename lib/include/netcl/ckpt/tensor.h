#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// An n-dimensional view of a storage. Copying a Tensor copies no payload.
/// Lifetime: keeps its storage, and with it the open file, alive.
struct NETCL_CKPT_EXPORT Tensor {
  DType dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  ///< in elements, one for each dimension; may be 0 (torch's expand)
  std::uint64_t offset_bytes = 0;      ///< of element (0, …, 0) in `storage`
  StoragePtr storage;                  ///< null for an object array, whose payload is a pickle
  std::string why_unreadable;          ///< of a tensor that is listed and cannot be read: it has no storage

  std::uint64_t num_elements() const;
  std::uint64_t size_bytes() const { return num_elements() * dtype.item_bytes; }
  /// True if the elements lie side by side in C order, so that the payload is one range.
  bool is_c_contiguous() const;
  /// Fortran order, and not C order at the same time.
  bool is_f_contiguous() const;

  /// All elements in C order. Compares the payload's checksum, if the file has one.
  /// Errors: invalid_argument if the dtype is not T's (std::uint8_t takes booleans too), those of TensorReader.
  template <Element T>
  requires(!std::same_as<T, bool>) Result<std::vector<T>> read()
  const { return read<T>(0, num_elements()); }
  /// `count` elements from `first` on, counted in C order. Of a part no checksum is compared.
  /// Errors: likewise; invalid_argument if there are not so many.
  template <Element T>
  requires(!std::same_as<T, bool>) Result<std::vector<T>> read(std::uint64_t first, std::uint64_t count)
  const {
    std::vector<T> out;
    auto done = read_elements(kScalarType<T>, first, count, [&out](std::size_t n) {
      out.resize(n);
      return std::as_writable_bytes(std::span(out));
    });
    if (!done) return tl::make_unexpected(std::move(done.error()));
    return out;
  }
  /// What read() calls: `make_room` is asked for memory for `count` elements once all else is known to be right.
  Result<void> read_elements(ScalarType type, std::uint64_t first, std::uint64_t count,
                             const std::function<std::span<std::byte>(std::size_t)>& make_room) const;
};

/// Strides, in elements, of a C-order or Fortran-order array of `shape`.
NETCL_CKPT_EXPORT std::vector<std::uint64_t> c_strides(std::span<const std::uint64_t> shape);
NETCL_CKPT_EXPORT std::vector<std::uint64_t> f_strides(std::span<const std::uint64_t> shape);

/// Streams a tensor's elements in C order, little-endian: what its SHA-256 is taken of, and what
/// `numpy.ascontiguousarray(a).astype(little-endian).tobytes()` gives. Memory is bounded by 16 MiB,
/// or for a compressed payload in another order by twice `max_buffered_bytes`, whatever the size.
/// Threads: one thread at a time.
class NETCL_CKPT_EXPORT TensorReader {
 public:
  /// Errors: unsupported for an object array; corrupt if the tensor lies beyond its storage.
  static Result<TensorReader> open(const Tensor& tensor, std::uint64_t max_buffered_bytes = std::uint64_t{64} << 20);

  TensorReader(TensorReader&&) noexcept;
  TensorReader& operator=(TensorReader&&) noexcept;
  ~TensorReader();

  /// Fills `dst` with the next bytes; dst.size() is a multiple of the item size, and at most what is
  /// left of size_bytes().
  Result<void> read(std::span<std::byte> dst);
  std::uint64_t remaining_bytes() const;

 private:
  struct State;
  explicit TensorReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace netcl::ckpt
