#pragma once

#include <optional>
#include <string_view>

#include "codec/decompressor.h"
#include "netcl/ckpt/source.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// A compressed stream around a whole file.
struct Envelope {
  StreamFormat format = StreamFormat::gzip;
  std::uint64_t offset_bytes = 0;  ///< where it begins: joblib's old files have a header of their own
};

/// The envelope that a file of this beginning has: gzip, zlib, bzip2, xz, lzma, zstd, lz4, or joblib's "ZF".
std::optional<Envelope> find_envelope(std::string_view head);

struct Unpacked {
  SourcePtr source;                  ///< in a temporary file, under the name and id of what it was in
  std::uint64_t trailing_bytes = 0;  ///< of the file, behind the last stream; zeros that pad it do not count
};

/// Unpacks all of it, streams that follow one another too.
/// Errors: truncated, corrupt, checksum_mismatch; limit_exceeded beyond `max_bytes`; io.
Result<Unpacked> unpack(const SourcePtr& source, const Envelope& envelope, std::uint64_t max_bytes);

/// What the one stream of `envelope` unpacks to, `size_bytes`, unpacked each time that it is read.
/// Errors: corrupt where deflate cannot pack so many bytes into so few.
Result<StoragePtr> unpacked_storage(const SourcePtr& source, const Envelope& envelope, std::uint64_t size_bytes);

}  // namespace netcl::ckpt
