// gzip (RFC 1952) and zlib (RFC 1950) by zlib, bzip2 by libbz2, xz and lzma by liblzma, zstd (RFC 8878) by libzstd,
// lz4 frames (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md) by liblz4.
//
// A stream says how large a window its decoder must keep, which is memory on the file's word: xz and zstd are told the
// most that they may take, twice what their programs' highest ordinary levels need. An lz4 block has 4 MiB at most.
#include "codec/decompressor.h"

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kMaxWindowBytes = std::uint64_t{128} << 20;  // xz -9 needs 65 MiB, zstd --ultra 128
constexpr int kMaxWindowLog = 27;

tl::unexpected<Error> no_memory() { return fail(ErrorCode::out_of_memory, "not enough memory to decompress"); }

template <class Byte>
Byte* input_of(std::span<const std::byte> in) {
  return reinterpret_cast<Byte*>(const_cast<std::byte*>(in.data()));
}
template <class Byte>
Byte* output_of(std::span<std::byte> out) {
  return reinterpret_cast<Byte*>(out.data());
}
/// zlib and libbz2 count in 32 bits.
template <class Bytes>
unsigned count_of(Bytes bytes) {
  return static_cast<unsigned>(std::min<std::size_t>(bytes.size(), std::numeric_limits<int>::max()));
}

/// Errors that say which stream it is: the file's name need not, and the reader of the message may not know that there
/// is one.
class NamedDecompressor : public Decompressor {
 protected:
  explicit NamedDecompressor(StreamFormat format) : format_(format) {}

  tl::unexpected<Error> damaged() const {
    return fail(ErrorCode::corrupt, "the {} stream is damaged", to_string(format_));
  }
  tl::unexpected<Error> wrong_checksum() const {
    return fail(ErrorCode::checksum_mismatch, "the {} stream does not have its checksum: it is damaged",
                to_string(format_));
  }
  tl::unexpected<Error> window_too_large() const {
    return fail(ErrorCode::limit_exceeded, "the {} stream needs a window of more than {} MiB; unpack it first",
                to_string(format_), kMaxWindowBytes >> 20);
  }

 private:
  StreamFormat format_;
};

class ZlibDecompressor final : public NamedDecompressor {
 public:
  explicit ZlibDecompressor(bool gzip) : NamedDecompressor(gzip ? StreamFormat::gzip : StreamFormat::zlib) {
    ready_ = inflateInit2(&stream_, gzip ? 31 : 15) == Z_OK;
  }
  ~ZlibDecompressor() override {
    if (ready_) inflateEnd(&stream_);
  }
  ZlibDecompressor(const ZlibDecompressor&) = delete;
  ZlibDecompressor& operator=(const ZlibDecompressor&) = delete;

  Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (!ready_) return no_memory();
    stream_.next_in = input_of<Bytef>(in);
    stream_.avail_in = count_of(in);
    stream_.next_out = output_of<Bytef>(out);
    stream_.avail_out = count_of(out);
    const int status = inflate(&stream_, Z_NO_FLUSH);
    if (status == Z_MEM_ERROR) return no_memory();
    if (status == Z_DATA_ERROR && stream_.msg != nullptr && std::string_view(stream_.msg) == "incorrect data check")
      return wrong_checksum();
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) return damaged();
    return Step{count_of(in) - stream_.avail_in, count_of(out) - stream_.avail_out, status == Z_STREAM_END};
  }
  Result<void> restart() override {
    if (inflateReset(&stream_) != Z_OK) return no_memory();
    return {};
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

class Bzip2Decompressor final : public NamedDecompressor {
 public:
  Bzip2Decompressor() : NamedDecompressor(StreamFormat::bzip2) {
    ready_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK;
  }
  ~Bzip2Decompressor() override {
    if (ready_) BZ2_bzDecompressEnd(&stream_);
  }
  Bzip2Decompressor(const Bzip2Decompressor&) = delete;
  Bzip2Decompressor& operator=(const Bzip2Decompressor&) = delete;

  Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (!ready_) return no_memory();
    stream_.next_in = input_of<char>(in);
    stream_.avail_in = count_of(in);
    stream_.next_out = output_of<char>(out);
    stream_.avail_out = count_of(out);
    const int status = BZ2_bzDecompress(&stream_);
    if (status == BZ_MEM_ERROR) return no_memory();
    if (status != BZ_OK && status != BZ_STREAM_END) return damaged();
    return Step{count_of(in) - stream_.avail_in, count_of(out) - stream_.avail_out, status == BZ_STREAM_END};
  }
  Result<void> restart() override {
    BZ2_bzDecompressEnd(&stream_);
    ready_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK;
    if (!ready_) return no_memory();
    return {};
  }

 private:
  bz_stream stream_{};
  bool ready_ = false;
};

class LzmaDecompressor final : public NamedDecompressor {
 public:
  explicit LzmaDecompressor(bool alone)
      : NamedDecompressor(alone ? StreamFormat::lzma : StreamFormat::xz), alone_(alone) {
    ready_ = restart().has_value();
  }
  ~LzmaDecompressor() override { lzma_end(&stream_); }
  LzmaDecompressor(const LzmaDecompressor&) = delete;
  LzmaDecompressor& operator=(const LzmaDecompressor&) = delete;

  Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (!ready_) return no_memory();
    stream_.next_in = input_of<const std::uint8_t>(in);
    stream_.avail_in = in.size();
    stream_.next_out = output_of<std::uint8_t>(out);
    stream_.avail_out = out.size();
    const lzma_ret status = lzma_code(&stream_, LZMA_RUN);
    if (status == LZMA_MEM_ERROR) return no_memory();
    if (status == LZMA_MEMLIMIT_ERROR) return window_too_large();
    if (status != LZMA_OK && status != LZMA_STREAM_END && status != LZMA_BUF_ERROR) return damaged();
    return Step{in.size() - stream_.avail_in, out.size() - stream_.avail_out, status == LZMA_STREAM_END};
  }
  Result<void> restart() override {
    const lzma_ret status =
        alone_ ? lzma_alone_decoder(&stream_, kMaxWindowBytes) : lzma_stream_decoder(&stream_, kMaxWindowBytes, 0);
    if (status != LZMA_OK) return no_memory();
    return {};
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool alone_;
  bool ready_ = false;
};

class ZstdDecompressor final : public NamedDecompressor {
 public:
  ZstdDecompressor() : NamedDecompressor(StreamFormat::zstd), stream_(ZSTD_createDStream()) {
    if (stream_ != nullptr) ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kMaxWindowLog);
  }
  ~ZstdDecompressor() override { ZSTD_freeDStream(stream_); }
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;

  Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (stream_ == nullptr) return no_memory();
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t status = ZSTD_decompressStream(stream_, &to, &from);
    if (ZSTD_isError(status) != 0) {
      const std::string_view why = ZSTD_getErrorName(status);
      if (why.find("too much memory") != why.npos) return window_too_large();
      if (why.find("checksum") != why.npos) return wrong_checksum();
      return damaged();
    }
    return Step{from.pos, to.pos, status == 0};
  }
  Result<void> restart() override { return {}; }  // a frame that ended is followed by the next

 private:
  ZSTD_DStream* stream_;
};

class Lz4Decompressor final : public NamedDecompressor {
 public:
  Lz4Decompressor() : NamedDecompressor(StreamFormat::lz4) {
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context_, LZ4F_VERSION)) != 0) context_ = nullptr;
  }
  ~Lz4Decompressor() override { LZ4F_freeDecompressionContext(context_); }
  Lz4Decompressor(const Lz4Decompressor&) = delete;
  Lz4Decompressor& operator=(const Lz4Decompressor&) = delete;

  Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) override {
    if (context_ == nullptr) return no_memory();
    std::size_t taken = in.size(), made = out.size();
    const std::size_t status = LZ4F_decompress(context_, out.data(), &made, in.data(), &taken, nullptr);
    if (LZ4F_isError(status) != 0) {
      const std::string_view why = LZ4F_getErrorName(status);
      if (why.find("allocation") != why.npos) return no_memory();
      if (why.find("hecksum") != why.npos) return wrong_checksum();
      return damaged();
    }
    return Step{taken, made, status == 0};
  }
  Result<void> restart() override { return {}; }  // a frame that ended is followed by the next

 private:
  LZ4F_dctx* context_ = nullptr;
};

}  // namespace

const char* to_string(StreamFormat format) {
  switch (format) {
    case StreamFormat::gzip: return "gzip";
    case StreamFormat::zlib: return "zlib";
    case StreamFormat::bzip2: return "bzip2";
    case StreamFormat::xz: return "xz";
    case StreamFormat::lzma: return "lzma";
    case StreamFormat::zstd: return "zstd";
    case StreamFormat::lz4: return "lz4";
  }
  return "compressed";
}

Result<std::unique_ptr<Decompressor>> Decompressor::open(StreamFormat format) {
  using Pointer = std::unique_ptr<Decompressor>;
  switch (format) {
    case StreamFormat::gzip: return Pointer(std::make_unique<ZlibDecompressor>(true));
    case StreamFormat::zlib: return Pointer(std::make_unique<ZlibDecompressor>(false));
    case StreamFormat::bzip2: return Pointer(std::make_unique<Bzip2Decompressor>());
    case StreamFormat::xz: return Pointer(std::make_unique<LzmaDecompressor>(false));
    case StreamFormat::lzma: return Pointer(std::make_unique<LzmaDecompressor>(true));
    case StreamFormat::zstd: return Pointer(std::make_unique<ZstdDecompressor>());
    case StreamFormat::lz4: return Pointer(std::make_unique<Lz4Decompressor>());
  }
  return fail(ErrorCode::internal, "no such stream");
}

}  // namespace netcl::ckpt
