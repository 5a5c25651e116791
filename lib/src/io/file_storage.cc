// A range of a source as a Storage: the payloads that lie in their file as they are.
#include "base/try.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {
namespace {

class FileStorage final : public Storage {
 public:
  FileStorage(SourcePtr source, std::uint64_t offset_bytes, std::uint64_t size_bytes) {
    form_.source = std::move(source);
    form_.offset_bytes = offset_bytes;
    form_.stored_bytes = size_bytes;
  }
  std::uint64_t size_bytes() const override { return form_.stored_bytes; }
  bool seekable() const override { return true; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    if (!form_.source) return fail(ErrorCode::invalid_argument, "the storage has no source to read from");
    return std::unique_ptr<StorageReader>(std::make_unique<Reader>(form_));
  }

 private:
  class Reader final : public StorageReader {
   public:
    explicit Reader(const StoredForm& form) : form_(form) {}
    Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
      if (offset_bytes > form_.stored_bytes || dst.size() > form_.stored_bytes - offset_bytes) {
        return fail(ErrorCode::internal, "read past the end of a storage");
      }
      return form_.source->read_at(form_.offset_bytes + offset_bytes, dst);
    }

   private:
    StoredForm form_;
  };
  StoredForm form_;
};

}  // namespace

const char* to_string(Compression compression) {
  switch (compression) {
    case Compression::none: return "none";
    case Compression::deflate: return "deflate";
    case Compression::bzip2: return "bzip2";
    case Compression::lzma: return "lzma";
    case Compression::zstd: return "zstd";
    case Compression::xz: return "xz";
  }
  return "none";
}

StoragePtr file_storage(SourcePtr source, std::uint64_t offset_bytes, std::uint64_t size_bytes) {
  return std::make_shared<FileStorage>(std::move(source), offset_bytes, size_bytes);
}

}  // namespace netcl::ckpt
