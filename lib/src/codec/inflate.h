#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// DEFLATE's own bound: no stream decodes to more than this for its size. An all-zero optimizer state
/// comes close (1028:1), so a tighter guess would refuse real checkpoints.
constexpr std::uint64_t kMaxInflateRatio = 1032;
constexpr std::uint64_t kMaxInflateSlack = 64;

/// Decodes the first dst.size() bytes of a raw deflate stream of which `stored` is the start.
/// False where they cannot be had from it: it is too short, or damaged.
bool inflate_start(std::span<const std::byte> stored, std::span<std::byte> dst);

/// Decodes a raw deflate stream (RFC 1951) that lies in [offset_bytes, offset_bytes + stored_bytes) of
/// a source, front to back, as far as asked. Reads little for a short first request and a quarter MiB
/// at a time later, so that looking at a header costs one small read.
/// Threads: one thread at a time.
class Inflater {
 public:
  Inflater(SourcePtr source, std::uint64_t offset_bytes, std::uint64_t stored_bytes);
  ~Inflater();
  Inflater(Inflater&&) noexcept;
  Inflater& operator=(Inflater&&) noexcept;

  /// Fills `dst` with the next decoded bytes.
  /// Errors: corrupt where the stream is invalid or ends first; io, truncated.
  Result<void> read(std::span<std::byte> dst);

  /// Checks that the stream ends here, and where the stored bytes end.
  /// Errors: corrupt.
  Result<void> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace netcl::ckpt
