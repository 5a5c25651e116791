#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/endian.h"

namespace netcl::ckpt {

/// Reads fields one after another from bytes in memory. Sticky: once a read does not fit, ok() is
/// false, every later read gives zero or nothing, and the caller checks once at the end.
class ByteCursor {
 public:
  explicit ByteCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return ok_ ? bytes_.size() - position_ : 0; }

  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }

  std::span<const std::byte> take(std::uint64_t n) {
    if (!ok_ || n > bytes_.size() - position_) {
      ok_ = false;
      return {};
    }
    auto r = bytes_.subspan(position_, n);
    position_ += n;
    return r;
  }
  void skip(std::uint64_t n) { take(n); }
  std::string_view text(std::uint64_t n) {
    auto r = take(n);
    return {reinterpret_cast<const char*>(r.data()), r.size()};
  }

 private:
  template <class T>
  T number() {
    auto r = take(sizeof(T));
    return r.empty() ? T{0} : load_le<T>(r.data());
  }

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace netcl::ckpt
