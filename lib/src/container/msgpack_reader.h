#pragma once

#include <cstdint>
#include <string>

#include "base/buffer.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

enum class MsgpackKind : std::uint8_t {
  nil,
  boolean,
  integer,
  big_integer,  ///< unsigned, beyond int64
  real,
  string,
  bytes,
  list,
  map,
  extension
};

/// The beginning of a value, or all of one that has no bytes and no elements of its own.
struct MsgpackToken {
  MsgpackKind kind = MsgpackKind::nil;
  std::uint64_t offset_bytes = 0;  ///< of its first byte in the source
  std::int64_t integer = 0;        ///< of integer and boolean
  std::uint64_t big_integer = 0;
  double real = 0;
  std::uint64_t size = 0;          ///< bytes of string, bytes and extension; elements of a list; pairs of a map
  std::int8_t extension_type = 0;  ///< negative ones are msgpack's own: -1 is a time
};

/// Reads the values of a range of a source one after another. What has elements is followed by these; what has bytes is
/// followed by them, which the caller reads, skips or enters. Nothing is kept and nothing nests here.
/// Lifetime: the source must outlive the reader.
class MsgpackReader {
 public:
  MsgpackReader(const ByteSource& source, std::uint64_t begin, std::uint64_t end)
      : source_(source), at_(begin), end_(end), outer_end_(end) {}

  std::uint64_t offset() const { return at_; }
  std::uint64_t left() const { return end_ - at_; }

  /// Errors, with the value's offset: truncated where it, its bytes or the least that its elements take is beyond the
  /// end; corrupt; io.
  Result<MsgpackToken> next();

  /// The bytes of the string, bytes or extension that next() gave last: it has proven that they are there.
  Result<void> read(std::uint64_t size_bytes, std::string& out);
  void skip(std::uint64_t size_bytes) { at_ += size_bytes; }

  /// Until leave() the range ends behind the extension that next() gave last, in which values are read. One at a time.
  void enter(std::uint64_t size_bytes) { end_ = at_ + size_bytes; }
  /// Behind the extension, whatever was read of it.
  void leave() {
    at_ = end_;
    end_ = outer_end_;
  }

 private:
  bool is_buffered(std::uint64_t num_bytes) const;
  /// Makes so many bytes (a few), which are there, available in the buffer.
  Result<void> want(std::size_t num_bytes);
  /// A big-endian number of so many bytes.
  Result<std::uint64_t> number(std::size_t num_bytes);
  Result<MsgpackToken> sized(MsgpackToken token, MsgpackKind kind, std::uint64_t size);

  const ByteSource& source_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::uint64_t outer_end_;
  Buffer buffer_;
  std::uint64_t buffer_begin_ = 0;
};

}  // namespace netcl::ckpt
