#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

enum class Compression : std::uint8_t { none, deflate, bzip2, lzma, zstd, xz };

/// "none", "deflate", … Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(Compression compression);

/// What a writer does about compression.
enum class CompressionChoice : std::uint8_t {
  keep,  ///< as each tensor was stored; what need not be touched is moved without decoding
  none,  ///< stored, payloads aligned to 64 bytes
  fast,  ///< deflate, ISA-L level 1
  best,  ///< deflate, zlib level 9
};

/// How a storage lies in its file, for tools that move bytes without decoding them.
struct StoredForm {
  SourcePtr source;
  std::uint64_t offset_bytes = 0;  ///< of the stored (perhaps compressed) bytes in `source`
  std::uint64_t stored_bytes = 0;
  Compression compression = Compression::none;
  std::optional<std::uint32_t> crc32;  ///< of the decoded bytes, header included; if recorded
  /// Decoded bytes that precede the storage in the same stored unit: the npy header of a zip member.
  std::uint64_t header_bytes = 0;
};

/// A cursor over one storage's decoded bytes.
/// Threads: one thread at a time.
class NETCL_CKPT_EXPORT StorageReader {
 public:
  virtual ~StorageReader() = default;
  /// Fills `dst` from `offset_bytes` on. Ascending offsets are cheap; on a compressed storage a step
  /// back starts again from the beginning. A reader that has been read from 0 to the end in
  /// ascending order without gaps has also checked the CRC, if one is recorded.
  /// Errors: truncated, corrupt, checksum_mismatch, io.
  virtual Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) = 0;
  /// Announces that this range will be read in ascending order, so that what lies far away can be fetched ahead.
  virtual void will_read(std::uint64_t /*begin_bytes*/, std::uint64_t /*end_bytes*/) {}
};

/// A run of bytes that tensors share: torch's storage, a zip member's payload, a range of a pickle.
/// Reading is lazy; nothing is kept between calls.
/// Threads: all members may be called concurrently; each thread opens its own reader.
class NETCL_CKPT_EXPORT Storage {
 public:
  virtual ~Storage() = default;
  virtual std::uint64_t size_bytes() const = 0;  ///< decoded
  virtual Result<std::unique_ptr<StorageReader>> open() const = 0;
  /// True if reads at any offset cost the same.
  virtual bool seekable() const = 0;
  virtual const StoredForm& stored_form() const = 0;
};

using StoragePtr = std::shared_ptr<const Storage>;

/// `size_bytes` bytes of `source` as they are. The caller has checked that they are there.
NETCL_CKPT_EXPORT StoragePtr file_storage(SourcePtr source, std::uint64_t offset_bytes, std::uint64_t size_bytes);

}  // namespace netcl::ckpt
