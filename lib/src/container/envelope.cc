// FILE.gz, .bz2, .xz, .lzma and .zst, and joblib's compressed dumps: the same streams under any name.
//
// All of it goes to a temporary file first, because readers seek and no such stream can. joblib before 0.10 wrote
// "ZF", the unpacked size as "0x…" padded with spaces to 19 characters (20 of Python 2), and a zlib stream.
// https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle_compat.py, read_zfile
#include "container/envelope.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/try.h"
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

/// True where another stream of `format` follows; of zlib's there is one.
bool begins(StreamFormat format, std::span<const std::byte> bytes) {
  if (format == StreamFormat::zlib || format == StreamFormat::lzma) return false;
  return stream_at(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())) == format;
}

}  // namespace

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
    if (left.empty() && !full) return fail_at(ErrorCode::truncated, "", size, "the compressed data is cut short");
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
      if (at + left.size() == size) return fail_at(ErrorCode::truncated, "", size, "the compressed data is cut short");
      if (left.size() == input.size()) return fail_at(ErrorCode::corrupt, "", at, "the compressed data is damaged");
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
