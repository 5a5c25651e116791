// torch's conj() and imag of a conjugate change no bytes: they set a bit that says how to read them. It is
// applied here, between the stored bytes and whoever reads them, so that every command sees the values.
// The sign of a floating-point number is its highest bit, whatever its width: a range of bytes is read, and
// the bytes in it that hold signs are changed.
#include "model/sign_bits.h"

#include "base/try.h"

namespace netcl::ckpt {
namespace {

class SignedReader final : public StorageReader {
 public:
  SignedReader(std::unique_ptr<StorageReader> reader, std::uint64_t item_bytes, std::vector<std::uint64_t> signs)
      : reader_(std::move(reader)), item_bytes_(item_bytes), signs_(std::move(signs)) {}

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    CKPT_CHECK(reader_->read(offset_bytes, dst));
    const std::uint64_t phase = offset_bytes % item_bytes_;
    for (const std::uint64_t sign : signs_) {
      for (std::uint64_t i = (sign + item_bytes_ - phase) % item_bytes_; i < dst.size(); i += item_bytes_)
        dst[i] ^= std::byte{0x80};
    }
    return {};
  }
  void will_read(std::uint64_t begin_bytes, std::uint64_t end_bytes) override {
    reader_->will_read(begin_bytes, end_bytes);
  }

 private:
  std::unique_ptr<StorageReader> reader_;
  std::uint64_t item_bytes_;
  std::vector<std::uint64_t> signs_;
};

class SignedStorage final : public Storage {
 public:
  SignedStorage(StoragePtr storage, std::uint64_t item_bytes, std::vector<std::uint64_t> signs)
      : storage_(std::move(storage)), item_bytes_(item_bytes), signs_(std::move(signs)) {
    form_.stored_bytes = storage_->stored_form().stored_bytes;
  }
  std::uint64_t size_bytes() const override { return storage_->size_bytes(); }
  bool seekable() const override { return storage_->seekable(); }
  const StoredForm& stored_form() const override { return form_; }  // no source: its bytes lie in no file
  Result<std::unique_ptr<StorageReader>> open() const override {
    CKPT_TRY(auto reader, storage_->open());
    return std::make_unique<SignedReader>(std::move(reader), item_bytes_, signs_);
  }

 private:
  StoragePtr storage_;
  std::uint64_t item_bytes_;
  std::vector<std::uint64_t> signs_;  // offsets in an element of the bytes that hold a sign to be changed
  StoredForm form_;
};

}  // namespace

Result<StoragePtr> with_sign_bits(StoragePtr storage, const DType& dtype, SignBits bits) {
  std::uint64_t num_parts = 1;
  switch (dtype.type) {
    case ScalarType::complex32:
    case ScalarType::complex64:
    case ScalarType::complex128: num_parts = 2; break;
    case ScalarType::float16:
    case ScalarType::bfloat16:
    case ScalarType::float32:
    case ScalarType::float64: break;
    default:
      if (bits.negative) return fail(ErrorCode::unsupported, "the negative of {} elements is not read", dtype.name());
      return storage;
  }
  const std::uint64_t part_bytes = dtype.item_bytes / num_parts;
  std::vector<std::uint64_t> signs;
  for (std::uint64_t part = 0; part < num_parts; ++part) {
    const bool imaginary = part == 1;
    if (bits.negative != (imaginary && bits.conjugate))
      signs.push_back(part * part_bytes + (dtype.big_endian ? 0 : part_bytes - 1));
  }
  if (signs.empty()) return storage;
  return std::make_shared<SignedStorage>(std::move(storage), dtype.item_bytes, std::move(signs));
}

}  // namespace netcl::ckpt
