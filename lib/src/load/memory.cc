// Memory of the process as a storage, and what lies in a target as a tensor.
#include "netcl/ckpt/memory.h"

#include <cstring>

#include "base/checked.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

class BorrowedStorage final : public Storage {
 public:
  explicit BorrowedStorage(std::span<const std::byte> bytes) : bytes_(bytes) { form_.stored_bytes = bytes.size(); }
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  bool seekable() const override { return true; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    return std::unique_ptr<StorageReader>(std::make_unique<Reader>(bytes_));
  }

 private:
  class Reader final : public StorageReader {
   public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
      if (offset_bytes > bytes_.size() || dst.size() > bytes_.size() - offset_bytes) {
        return fail(ErrorCode::internal, "read past the end of a storage");
      }
      if (!dst.empty()) std::memcpy(dst.data(), bytes_.data() + offset_bytes, dst.size());
      return {};
    }

   private:
    std::span<const std::byte> bytes_;
  };
  std::span<const std::byte> bytes_;
  StoredForm form_;
};

std::uint64_t memory_bytes(const Memory& memory) {
  if (const auto* span = std::get_if<std::span<std::byte>>(&memory)) return span->size();
  return std::get<DeviceMemory>(memory).size_bytes;
}

std::string wrong_size(std::uint64_t bytes, const DType& dtype, std::span<const std::uint64_t> shape) {
  return fmt::format("its memory is {} bytes, not what {} of shape ({}) takes", bytes, dtype.name(),
                     fmt::join(shape, ", "));
}

}  // namespace

StoragePtr borrowed_storage(std::span<const std::byte> bytes) { return std::make_shared<BorrowedStorage>(bytes); }

Tensor array_over(StoragePtr storage, ScalarType type, std::vector<std::uint64_t> shape) {
  Tensor t;
  t.dtype = make_dtype(type);
  t.shape = std::move(shape);
  t.strides = c_strides(t.shape);
  const std::uint64_t bytes = storage->size_bytes();
  if (checked_product(t.shape, t.dtype.item_bytes) == bytes) {
    t.storage = std::move(storage);
  } else {
    t.why_unreadable = wrong_size(bytes, t.dtype, t.shape);
  }
  return t;
}

Result<Tensor> view_of(const TensorTarget& target) {
  const auto bytes = checked_product(target.shape, target.dtype.item_bytes);
  if (!bytes || *bytes != memory_bytes(target.memory)) {
    return fail(ErrorCode::invalid_argument, "{}", wrong_size(memory_bytes(target.memory), target.dtype, target.shape));
  }
  Tensor t;
  t.dtype = target.dtype;
  t.shape = target.shape;
  t.strides = c_strides(t.shape);
  if (const auto* span = std::get_if<std::span<std::byte>>(&target.memory)) {
    t.storage = borrowed_storage(*span);
    return t;
  }
  const auto& memory = std::get<DeviceMemory>(target.memory);
  const auto end = checked_add(memory.offset_bytes, *bytes);
  if (!memory.allocation || !end || *end > memory.allocation->size_bytes()) {
    return fail(ErrorCode::invalid_argument, "its memory lies beyond the device buffer");
  }
  t.storage = memory.allocation->storage();
  t.offset_bytes = memory.offset_bytes;
  return t;
}

}  // namespace netcl::ckpt
