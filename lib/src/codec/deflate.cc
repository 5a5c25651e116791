// Deflate in independent blocks, after pigz: https://zlib.net/pigz/pigz.pdf
//
// libdeflate reaches the size of zlib 6 at three times its speed, but writes whole streams only: its
// blocks cannot be joined. ISA-L level 1 reaches the same size on trained weights at twenty times.
#include "codec/deflate.h"

#include <isa-l/igzip_lib.h>
#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

// An incompressible block grows by 5 bytes for each 64 KiB of stored block, and by the flush.
constexpr std::size_t bound(std::size_t n) { return n + n / 1000 + 1024; }

Result<void> deflate_fast(std::span<const std::byte> block, bool last, std::span<std::byte> out, std::size_t& written) {
  thread_local std::vector<std::uint8_t> scratch(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream;
  isal_deflate_init(&stream);
  stream.level = 1;
  stream.level_buf = scratch.data();
  stream.level_buf_size = static_cast<std::uint32_t>(scratch.size());
  stream.gzip_flag = IGZIP_DEFLATE;
  stream.flush = last ? NO_FLUSH : FULL_FLUSH;
  stream.end_of_stream = last ? 1 : 0;
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(block.data()));
  stream.avail_in = static_cast<std::uint32_t>(block.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = static_cast<std::uint32_t>(out.size());
  if (isal_deflate(&stream) != COMP_OK || stream.avail_in != 0 || stream.avail_out == 0) {
    return fail(ErrorCode::internal, "deflate failed");
  }
  written = out.size() - stream.avail_out;
  return {};
}

Result<void> deflate_best(std::span<const std::byte> block, std::span<const std::byte> dictionary, bool last,
                          std::span<std::byte> out, std::size_t& written) {
  z_stream stream{};
  constexpr int kRawDeflate = -15;
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kRawDeflate, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
    return fail(ErrorCode::out_of_memory, "not enough memory to compress");
  }
  auto bytes = [](std::span<const std::byte> s) { return reinterpret_cast<Bytef*>(const_cast<std::byte*>(s.data())); };
  int status = Z_OK;
  if (!dictionary.empty())
    status = deflateSetDictionary(&stream, bytes(dictionary), static_cast<uInt>(dictionary.size()));
  stream.next_in = bytes(block);
  stream.avail_in = static_cast<uInt>(block.size());
  stream.next_out = bytes(out);
  stream.avail_out = static_cast<uInt>(out.size());
  if (status == Z_OK) status = deflate(&stream, last ? Z_FINISH : Z_SYNC_FLUSH);
  written = out.size() - stream.avail_out;
  const bool done = status == (last ? Z_STREAM_END : Z_OK) && stream.avail_in == 0 && stream.avail_out != 0;
  deflateEnd(&stream);
  if (!done) return fail(ErrorCode::internal, "deflate failed");
  return {};
}

}  // namespace

Result<void> deflate_block(std::span<const std::byte> block, std::span<const std::byte> dictionary, bool last,
                           DeflateLevel level, Buffer& out) {
  const std::size_t start = out.size();
  out.resize(start + bound(block.size()));
  const auto room = std::span(out).subspan(start);
  std::size_t written = 0;
  if (level == DeflateLevel::fast) {
    CKPT_CHECK(deflate_fast(block, last, room, written));
  } else {
    CKPT_CHECK(deflate_best(block, dictionary, last, room, written));
  }
  out.resize(start + written);
  return {};
}

}  // namespace netcl::ckpt
