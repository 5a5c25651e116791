#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Compressed streams that stand around whole files. `lzma` is the format before xz.
enum class StreamFormat : std::uint8_t { gzip, zlib, bzip2, xz, lzma, zstd, lz4 };

/// Its name in messages: "gzip".
const char* to_string(StreamFormat format);

/// Decodes one stream (gzip: one member, zstd and lz4: one frame), piece by piece, in at most 140 MiB.
/// Threads: one thread at a time.
class Decompressor {
 public:
  /// Errors: out_of_memory.
  static Result<std::unique_ptr<Decompressor>> open(StreamFormat format);
  virtual ~Decompressor() = default;

  struct Step {
    std::size_t taken = 0;
    std::size_t made = 0;
    bool ended = false;  ///< nothing of this stream follows
  };
  /// Takes from `in`, gives to `out`. Neither taken nor made: it wants more input.
  /// Errors: corrupt; checksum_mismatch; limit_exceeded if the stream wants a larger window than is allowed.
  virtual Result<Step> run(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  /// After the end: makes it ready for another stream.
  /// Errors: out_of_memory.
  virtual Result<void> restart() = 0;
};

}  // namespace netcl::ckpt
