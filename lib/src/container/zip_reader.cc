// Members compressed with a method that is rare in checkpoints, decoded by libzip. It opens the whole
// archive over our ByteSource, through a callback, and the member by its place in the directory.
//
// Where NETCL_CKPT_LATE_LIBZIP is set, libzip is loaded when the first such member is met: with the libcrypto
// that it needs it would take as long to load as the program itself.
#include "container/zip_reader.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/shared_library.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

#ifdef NETCL_CKPT_LATE_LIBZIP
/// libzip's function of this name; null where libzip is not there.
template <typename Function>
Function* late(const char* name) {
  static const SharedLibrary library = [] {
    const SharedLibrary upstream("libzip.so.5");
    return upstream.loaded() ? upstream : SharedLibrary("libzip.so.4");  // Debian's name of the same, up to 12
  }();
  Function* function = nullptr;
  library.find(function, name);
  return function;
}
#define LIBZIP(function)                                             \
  ([] {                                                              \
    static const auto found = late<decltype(::function)>(#function); \
    return found;                                                    \
  }())
#else
#define LIBZIP(function) (&::function)
#endif

/// What libzip's callback needs: a position in the source.
struct Window {
  SourcePtr source;
  std::uint64_t position = 0;
};

zip_int64_t source_callback(void* user, void* data, zip_uint64_t length, zip_source_cmd_t command) {
  auto& window = *static_cast<Window*>(user);
  switch (command) {
    case ZIP_SOURCE_SUPPORTS:
      return LIBZIP(zip_source_make_command_bitmap)(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                                    ZIP_SOURCE_ERROR, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_FREE,
                                                    -1);
    case ZIP_SOURCE_OPEN: window.position = 0; return 0;
    case ZIP_SOURCE_READ: {
      const std::uint64_t n = std::min<std::uint64_t>(length, window.source->size_bytes() - window.position);
      if (!window.source->read_at(window.position, {static_cast<std::byte*>(data), n})) return -1;
      window.position += n;
      return static_cast<zip_int64_t>(n);
    }
    case ZIP_SOURCE_SEEK: {
      zip_error_t error;
      const zip_int64_t to =
          LIBZIP(zip_source_seek_compute_offset)(window.position, window.source->size_bytes(), data, length, &error);
      if (to < 0) return -1;
      window.position = static_cast<std::uint64_t>(to);
      return 0;
    }
    case ZIP_SOURCE_TELL: return static_cast<zip_int64_t>(window.position);
    case ZIP_SOURCE_STAT: {
      auto* st = static_cast<zip_stat_t*>(data);
      LIBZIP(zip_stat_init)(st);
      st->valid = ZIP_STAT_SIZE;
      st->size = window.source->size_bytes();
      return sizeof *st;
    }
    case ZIP_SOURCE_ERROR: {
      const int codes[2] = {ZIP_ER_READ, 0};
      std::memcpy(data, codes, sizeof codes);
      return sizeof codes;
    }
    default: return 0;
  }
}

class LibzipReader final : public StorageReader {
 public:
  static Result<std::unique_ptr<StorageReader>> open(const StoredForm& form, const ZipMember& member) {
    auto r = std::make_unique<LibzipReader>(form, member);
    CKPT_CHECK(r->open_archive());
    return std::unique_ptr<StorageReader>(std::move(r));
  }

  LibzipReader(const StoredForm& form, const ZipMember& member)
      : window_{form.source, 0}, form_(form), member_(member) {}
  ~LibzipReader() override {
    if (file_ != nullptr) LIBZIP(zip_fclose)(file_);
    if (archive_ != nullptr) LIBZIP(zip_discard)(archive_);
  }
  LibzipReader(const LibzipReader&) = delete;
  LibzipReader& operator=(const LibzipReader&) = delete;

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    const std::uint64_t wanted = form_.header_bytes + offset_bytes;
    if (file_ == nullptr || wanted < position_) CKPT_CHECK(open_member());
    std::vector<std::byte> skipped;
    while (position_ < wanted) {
      skipped.resize(std::min<std::uint64_t>(wanted - position_, std::uint64_t{64} << 10));
      CKPT_CHECK(take(skipped));
    }
    return take(dst);
  }

 private:
  Result<void> open_archive() {
    zip_error_t error;
    LIBZIP(zip_error_init)(&error);
    zip_source_t* source = LIBZIP(zip_source_function_create)(source_callback, &window_, &error);
    if (source == nullptr) return fail(ErrorCode::out_of_memory, "not enough memory");
    archive_ = LIBZIP(zip_open_from_source)(source, ZIP_RDONLY, &error);
    if (archive_ == nullptr) {
      LIBZIP(zip_source_free)(source);
      return damaged("libzip cannot open the archive");
    }
    return {};
  }

  Result<void> open_member() {
    if (file_ != nullptr) LIBZIP(zip_fclose)(file_);
    file_ = nullptr;
    position_ = 0;
    zip_stat_t found;
    if (LIBZIP(zip_stat_index)(archive_, member_.index, 0, &found) != 0 || found.crc != member_.crc32 ||
        found.size != member_.size_bytes || found.comp_size != member_.stored_bytes) {
      return damaged("libzip sees another member at this place of the directory");
    }
    file_ = LIBZIP(zip_fopen_index)(archive_, member_.index, 0);
    if (file_ == nullptr) return damaged("libzip cannot open the member");
    return {};
  }

  Result<void> take(std::span<std::byte> dst) {
    while (!dst.empty()) {
      const zip_int64_t n = LIBZIP(zip_fread)(file_, dst.data(), dst.size());
      if (n <= 0) return damaged(n == 0 ? "the compressed data ends early" : LIBZIP(zip_file_strerror)(file_));
      position_ += static_cast<std::uint64_t>(n);
      dst = dst.subspan(static_cast<std::size_t>(n));
    }
    if (position_ != member_.size_bytes || !form_.crc32) return {};
    std::byte beyond;
    if (LIBZIP(zip_fread)(file_, &beyond, 1) != 0)
      return damaged(LIBZIP(zip_file_strerror)(file_));  // also where the CRC is checked
    return {};
  }

  tl::unexpected<Error> damaged(std::string_view what) const {
    return fail_at(ErrorCode::corrupt, member_.name, std::nullopt, "{}", what);
  }

  Window window_;
  StoredForm form_;
  ZipMember member_;
  zip_t* archive_ = nullptr;
  zip_file_t* file_ = nullptr;
  std::uint64_t position_ = 0;
};

}  // namespace

bool libzip_decodes(std::uint16_t method) {
  // The youngest of the functions that are called here: where it is, all are.
  auto* supported = LIBZIP(zip_compression_method_supported);
  return supported != nullptr && supported(method, 0) != 0;
}

Result<std::unique_ptr<StorageReader>> open_with_libzip(const StoredForm& form, const ZipMember& member) {
  return LibzipReader::open(form, member);
}

}  // namespace netcl::ckpt
