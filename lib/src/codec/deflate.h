#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

enum class DeflateLevel : std::uint8_t {
  fast,  ///< ISA-L level 1: 0.7 GB/s a core
  best,  ///< zlib level 9: some 20 times slower, a fraction of a percent smaller
};

/// Compresses one block of a deflate stream (RFC 1951) and appends it to `out`. Blocks are independent
/// of each other, and each but the last ends on a byte boundary with an empty stored block, so that
/// blocks compressed in parallel and written one after another are one ordinary stream.
/// `dictionary`: up to 32 KiB of decoded bytes before the block, which `best` may refer back to.
/// Errors: internal.
Result<void> deflate_block(std::span<const std::byte> block, std::span<const std::byte> dictionary, bool last,
                           DeflateLevel level, Buffer& out);

}  // namespace netcl::ckpt
