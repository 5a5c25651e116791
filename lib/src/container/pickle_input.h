#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/endian.h"
#include "base/try.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// Forward reads of opcodes and what follows them, through a buffer.
/// Errors of each: truncated; those of the reader.
class PickleInput {
 public:
  PickleInput(StorageReader& reader, std::uint64_t begin, std::uint64_t end) : reader_(reader), at_(begin), end_(end) {}

  std::uint64_t offset() const { return at_; }
  std::uint64_t left() const { return end_ - at_; }

  Result<std::uint8_t> byte() {
    CKPT_CHECK(want(1));
    return static_cast<std::uint8_t>(buffer_[at_++ - buffer_begin_]);
  }

  template <class T>
  Result<T> number() {
    CKPT_CHECK(want(sizeof(T)));
    const T v = load_le<T>(buffer_.data() + (at_ - buffer_begin_));
    at_ += sizeof(T);
    return v;
  }

  Result<void> text(std::uint64_t size_bytes, std::string& out) {
    CKPT_CHECK(need(size_bytes));
    const std::size_t start = out.size();
    out.resize(start + size_bytes);
    auto dst = std::as_writable_bytes(std::span(out)).subspan(start);
    while (!dst.empty()) {
      CKPT_CHECK(want(1));
      const std::size_t n = std::min<std::uint64_t>(dst.size(), buffer_begin_ + buffer_.size() - at_);
      std::copy_n(buffer_.begin() + static_cast<std::ptrdiff_t>(at_ - buffer_begin_), n, dst.begin());
      dst = dst.subspan(n);
      at_ += n;
    }
    return {};
  }

  /// Up to the next newline, which is taken and left out.
  Result<std::string> line() {
    std::string out;
    for (;;) {
      CKPT_CHECK(want(1));
      const auto first = buffer_.begin() + static_cast<std::ptrdiff_t>(at_ - buffer_begin_);
      const auto newline = std::find(first, buffer_.end(), std::byte{'\n'});
      out.append(reinterpret_cast<const char*>(&*first), static_cast<std::size_t>(newline - first));
      at_ += static_cast<std::uint64_t>(newline - first);
      if (newline == buffer_.end()) continue;
      ++at_;
      return out;
    }
  }

  Result<void> skip(std::uint64_t size_bytes) {
    CKPT_CHECK(need(size_bytes));
    at_ += size_bytes;
    return {};
  }

  Result<void> need(std::uint64_t size_bytes) const {
    if (size_bytes > end_ - at_)
      return fail(ErrorCode::truncated, "it claims {} bytes where {} are left", size_bytes, end_ - at_);
    return {};
  }

 private:
  /// Makes `n` bytes (a few) available in the buffer.
  Result<void> want(std::size_t n) {
    if (at_ >= buffer_begin_ && at_ - buffer_begin_ + n <= buffer_.size()) return {};
    if (n > end_ - at_) return fail(ErrorCode::truncated, "the pickle ends without STOP");
    // Small at first and after a jump: the next opcodes may lead over another payload.
    const std::uint64_t block = at_ == buffer_begin_ + buffer_.size() && !buffer_.empty() ? 65536 : 4096;
    const std::uint64_t size = std::min(std::max<std::uint64_t>(block, n), end_ - at_);
    buffer_.resize(size);
    CKPT_CHECK(reader_.read(at_, buffer_));
    buffer_begin_ = at_;
    return {};
  }

  StorageReader& reader_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_begin_ = 0;
};

}  // namespace netcl::ckpt
