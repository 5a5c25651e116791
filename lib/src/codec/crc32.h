#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace netcl::ckpt {

/// CRC-32 as zip, gzip and zlib have it (IEEE 802.3, reflected), of what `crc` is the checksum of
/// followed by `bytes`; 0 is the checksum of nothing.
std::uint32_t crc32(std::uint32_t crc, std::span<const std::byte> bytes);

/// The checksum of A followed by B, from theirs and B's size.
std::uint32_t crc32_combine(std::uint32_t a, std::uint32_t b, std::uint64_t b_bytes);

}  // namespace netcl::ckpt
