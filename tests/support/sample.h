#pragma once

#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/write_plan.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/tensor.h"

// Small things that many tests are made of.

namespace netcl::ckpt {

/// A folder that goes away with its contents.
struct TemporaryFolder {
  explicit TemporaryFolder(const std::filesystem::path& below = std::filesystem::temp_directory_path());
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(std::string_view name) const { return path / name; }
  /// Writes a file in it. Returns its path.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const;
  std::size_t num_files() const;
  std::filesystem::path path;
};

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, std::string_view text);

/// A storage over a copy of `bytes`.
StoragePtr storage_of(std::span<const std::byte> bytes);

/// A C-order tensor that holds `values`.
template <class T>
Tensor tensor_of(const std::vector<T>& values, DType dtype, std::vector<std::uint64_t> shape) {
  Tensor t;
  t.dtype = std::move(dtype);
  t.strides = c_strides(shape);
  t.shape = std::move(shape);
  t.storage = storage_of(std::as_bytes(std::span(values)));
  return t;
}

template <class T>
Tensor tensor_of(const std::vector<T>& values, ScalarType type) {
  return tensor_of(values, make_dtype(type), {values.size()});
}

/// The elements in C order, little-endian.
std::vector<std::byte> elements_of(const Tensor& tensor);

/// A checkpoint whose root is a dict of these tensors; attributes are empty.
Checkpoint checkpoint_of(const std::vector<std::pair<std::string, Tensor>>& tensors);

/// The file that `plan` describes, written and read again.
Checkpoint read_back(const WritePlan& plan);

/// The tree below `id` as text, for comparing: None, True, 3, 2.5, 'text', b'..', [..], (..), {k: v},
/// tensors as <dtype shape bytes…>.
std::string dump(const Tree& tree, ValueId id);

}  // namespace netcl::ckpt
