// FILE.gz, .bz2, .xz, .lzma, .zst and .lz4, and joblib's compressed dumps: the same streams under any name.
//
// All of it goes to a temporary file first, because readers seek and no such stream can. joblib before 0.10 wrote
// "ZF", the unpacked size as "0x…" padded with spaces to 19 characters (20 of Python 2), and a zlib stream.
// https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle_compat.py, read_zfile
#include "container/envelope.h"

#include <algorithm>
#include <array>

#include "base/buffer.h"
#include "base/try.h"
#include "codec/inflate.h"
#include "io/spool.h"

namespace netcl::ckpt {
namespace {

using namespace std::string_view_literals;

std::optional<StreamFormat> stream_at(std::string_view head) {
  if (head.starts_with("\x1f\x8b\x08"sv)) return StreamFormat::gzip;
  if (head.starts_with("BZh") && head.size() > 9 && head[3] >= '1' && head[3] <= '9' &&
      (head.substr(4).starts_with("1AY&SY") || head.substr(4).starts_with("\x17\x72\x45\x38\x50\x90"sv)))
    return StreamFormat::bzip2;
  if (head.starts_with("\xfd"
                       "7zXZ\0"sv))
    return StreamFormat::xz;
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return StreamFormat::zstd;
  if (head.starts_with("\x04\x22\x4d\x18"sv)) return StreamFormat::lz4;
  // The properties that every writer sets, and a window of a power of two.
  if (head.size() > 13 && head.starts_with("\x5d\0\0"sv) &&
      (head.substr(5, 8) == "\xff\xff\xff\xff\xff\xff\xff\xff"sv || head.substr(10, 3) == "\0\0\0"sv))
    return StreamFormat::lzma;
  if (head.size() > 2 && head[0] == 'x' &&
      (static_cast<std::uint8_t>(head[0]) * 256 + static_cast<std::uint8_t>(head[1])) % 31 == 0 &&
      (head[1] & 0x20) == 0)
    return StreamFormat::zlib;
  return std::nullopt;
}

constexpr std::size_t kStartBytes = 32;  // enough for stream_at()

/// True if another stream of `format` follows; of zlib's there is one.
bool begins(StreamFormat format, std::span<const std::byte> bytes) {
  if (format == StreamFormat::zlib || format == StreamFormat::lzma) return false;
  return stream_at(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())) == format;
}

tl::unexpected<Error> cut_short(StreamFormat format, std::uint64_t offset_bytes) {
  return fail_at(ErrorCode::truncated, "", offset_bytes, "the {} stream is cut short", to_string(format));
}

class UnpackingReader final : public StorageReader {
 public:
  UnpackingReader(SourcePtr source, const Envelope& envelope, std::uint64_t size_bytes)
      : source_(std::move(source)), envelope_(envelope), size_bytes_(size_bytes) {}

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    if (offset_bytes > size_bytes_ || dst.size() > size_bytes_ - offset_bytes)
      return fail(ErrorCode::internal, "read past the end of unpacked data");
    if (decoder_ == nullptr || offset_bytes < made_) {
      CKPT_TRY(decoder_, Decompressor::open(envelope_.format));
      taken_ = envelope_.offset_bytes;
      made_ = 0;
      ended_ = false;
      left_ = {};
    }
    while (made_ < offset_bytes) {
      std::array<std::byte, 4096> skipped;
      CKPT_CHECK(pull(std::span(skipped).first(std::min<std::uint64_t>(skipped.size(), offset_bytes - made_))));
    }
    CKPT_CHECK(pull(dst));
    if (made_ < size_bytes_) return {};
    // Only behind the last byte does the decoder compare the checksum.
    std::byte more{};
    CKPT_TRY(const bool has_more, pull_some(std::span(&more, 1)).map([](std::size_t n) { return n > 0; }));
    if (has_more) return damaged("unpacks to more than it should");
    return {};
  }

 private:
  tl::unexpected<Error> damaged(std::string_view what) const {
    return fail_at(ErrorCode::corrupt, "", taken_, "the {} stream {}", to_string(envelope_.format), what);
  }

  Result<void> pull(std::span<std::byte> dst) {
    while (!dst.empty()) {
      CKPT_TRY(const std::size_t n, pull_some(dst));
      if (n == 0) return damaged("unpacks to less than it should");
      dst = dst.subspan(n);
      made_ += n;
    }
    return {};
  }

  /// Up to dst.size() bytes; none at the stream's end.
  Result<std::size_t> pull_some(std::span<std::byte> dst) {
    constexpr std::size_t kBlockBytes = std::size_t{64} << 10;
    while (!ended_) {
      if (left_.empty() && taken_ < source_->size_bytes()) {
        input_.resize(std::min<std::uint64_t>(kBlockBytes, source_->size_bytes() - taken_));
        CKPT_CHECK(source_->read_at(taken_, input_));
        left_ = input_;
      }
      const bool last = left_.size() == source_->size_bytes() - taken_;
      CKPT_TRY(const Decompressor::Step step, decoder_->run(left_, dst));
      left_ = left_.subspan(step.taken);
      taken_ += step.taken;
      ended_ = step.ended;
      if (step.made > 0) return step.made;
      if (ended_) break;
      if (step.taken == 0 && last) return cut_short(envelope_.format, taken_);
      if (step.taken == 0) return damaged("is damaged");
    }
    return std::size_t{0};
  }

  SourcePtr source_;
  Envelope envelope_;
  std::uint64_t size_bytes_;
  std::unique_ptr<Decompressor> decoder_;
  Buffer input_;
  std::span<const std::byte> left_;  // of the input, not taken
  std::uint64_t taken_ = 0;          // of the file
  std::uint64_t made_ = 0;
  bool ended_ = false;
};

class UnpackingStorage final : public Storage {
 public:
  UnpackingStorage(SourcePtr source, const Envelope& envelope, std::uint64_t size_bytes)
      : source_(std::move(source)), envelope_(envelope), size_bytes_(size_bytes) {
    form_.stored_bytes = source_->size_bytes();
    form_.compression = Compression::deflate;
  }
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool seekable() const override { return false; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    return std::unique_ptr<StorageReader>(std::make_unique<UnpackingReader>(source_, envelope_, size_bytes_));
  }

 private:
  SourcePtr source_;
  Envelope envelope_;
  std::uint64_t size_bytes_;
  StoredForm form_;  // no source: nothing of it could be moved as it is
};

}  // namespace

Result<StoragePtr> unpacked_storage(const SourcePtr& source, const Envelope& envelope, std::uint64_t size_bytes) {
  const std::uint64_t stored = source->size_bytes() - std::min(source->size_bytes(), envelope.offset_bytes);
  if (size_bytes / kMaxInflateRatio > stored + kMaxInflateSlack)
    return fail(ErrorCode::corrupt, "{} bytes cannot be packed into {}", size_bytes, stored);
  return StoragePtr(std::make_shared<UnpackingStorage>(source, envelope, size_bytes));
}

std::optional<Envelope> find_envelope(std::string_view head) {
  if (head.starts_with("ZF0x")) {
    constexpr std::size_t kHeaderBytes = 21;
    if (head.size() <= kHeaderBytes) return std::nullopt;
    return Envelope{StreamFormat::zlib, kHeaderBytes + (head[kHeaderBytes] == ' ')};
  }
  const auto format = stream_at(head);
  return format ? std::optional(Envelope{*format, 0}) : std::nullopt;
}

Result<Unpacked> unpack(const SourcePtr& source, const Envelope& envelope, std::uint64_t max_bytes) {
  constexpr std::size_t kBlockBytes = std::size_t{256} << 10;
  const std::uint64_t size = source->size_bytes();
  CKPT_TRY(Spool out, Spool::create(source->name()));
  CKPT_TRY(auto decoder, Decompressor::open(envelope.format));
  Buffer input(std::min<std::uint64_t>(kBlockBytes, size)), output(kBlockBytes);
  std::uint64_t at = envelope.offset_bytes;  // of the input's first byte that was not taken
  std::span<const std::byte> left;
  auto refill = [&]() -> Result<void> {
    const std::size_t n = std::min<std::uint64_t>(input.size(), size - at);
    CKPT_CHECK(source->read_at(at, std::span(input).first(n)));
    left = std::span(input).first(n);
    return {};
  };
  bool full = false;  // the decoder may have more without further input
  for (;;) {
    if (left.empty() && at < size) CKPT_CHECK(refill());
    if (left.empty() && !full) return cut_short(envelope.format, size);
    auto step = decoder->run(left, output);
    if (!step) {
      if (!step.error().offset_bytes) step.error().offset_bytes = at;
      return tl::make_unexpected(std::move(step.error()));
    }
    at += step->taken;
    left = left.subspan(step->taken);
    full = step->made == output.size();
    if (step->made > max_bytes - out.size_bytes())
      return fail_at(ErrorCode::limit_exceeded, "", at, "it unpacks to more than {} bytes; unpack it first", max_bytes);
    CKPT_CHECK(out.write(std::span(output).first(step->made)));
    if (!step->ended) {
      if (step->taken > 0 || step->made > 0) continue;
      if (at + left.size() == size) return cut_short(envelope.format, size);
      if (left.size() == input.size())
        return fail_at(ErrorCode::corrupt, "", at, "the {} stream is damaged", to_string(envelope.format));
      CKPT_CHECK(refill());
      continue;
    }
    // Another stream may follow, or zeros that pad a tape's block.
    if (left.size() < kStartBytes) CKPT_CHECK(refill());
    if (begins(envelope.format, left)) {
      CKPT_CHECK(decoder->restart());
      continue;
    }
    CKPT_CHECK(refill());
    const bool padded = left.size() == size - at &&
                        std::all_of(left.begin(), left.end(), [](std::byte b) { return b == std::byte{0}; });
    Unpacked result;
    result.trailing_bytes = padded ? 0 : size - at;
    result.source = std::move(out).finish(source->file_id());
    return result;
  }
}

}  // namespace netcl::ckpt
