// msgpack: a first byte that says what a value is and, mostly, how long; then its length and bytes, big-endian.
// https://github.com/msgpack/msgpack/blob/master/spec.md
//
// Values are pulled one by one, so that depth costs nothing here, and a caller steps over the bytes of an array without
// reading them: what remains of gigabytes of weights are a few kilobytes of headers. A length is compared with what is
// left before anything is made of it; an element takes at least one byte.
#include "container/msgpack_reader.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;

}  // namespace

bool MsgpackReader::is_buffered(std::uint64_t num_bytes) const {
  return at_ >= buffer_begin_ && at_ - buffer_begin_ + num_bytes <= buffer_.size();
}

Result<void> MsgpackReader::want(std::size_t num_bytes) {
  if (is_buffered(num_bytes)) return {};
  // Small at first and after a jump: the next values may stand behind another payload.
  const std::uint64_t block = at_ == buffer_begin_ + buffer_.size() && !buffer_.empty() ? 65536 : kBlockBytes;
  const std::uint64_t size = std::min(std::max<std::uint64_t>(block, num_bytes), outer_end_ - at_);
  buffer_.resize(size);
  if (auto done = source_.read_at(at_, buffer_); !done) {
    buffer_.clear();
    return done;
  }
  buffer_begin_ = at_;
  return {};
}

Result<std::uint64_t> MsgpackReader::number(std::size_t num_bytes) {
  if (num_bytes > end_ - at_) return fail(ErrorCode::truncated, "the data end before a value does");
  CKPT_CHECK(want(num_bytes));
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < num_bytes; ++i)
    value = value << 8 | static_cast<std::uint8_t>(buffer_[at_++ - buffer_begin_]);
  return value;
}

Result<void> MsgpackReader::read(std::uint64_t size_bytes, std::string& out) {
  out.resize(size_bytes);
  const auto bytes = std::as_writable_bytes(std::span(out));
  if (size_bytes <= kBlockBytes || is_buffered(size_bytes)) {
    CKPT_CHECK(want(size_bytes));
    std::copy_n(buffer_.begin() + static_cast<std::ptrdiff_t>(at_ - buffer_begin_), size_bytes, bytes.begin());
  } else {
    CKPT_CHECK(source_.read_at(at_, bytes));
  }
  at_ += size_bytes;
  return {};
}

Result<MsgpackToken> MsgpackReader::sized(MsgpackToken token, MsgpackKind kind, std::uint64_t size) {
  token.kind = kind;
  token.size = size;
  const std::uint64_t least = kind == MsgpackKind::map ? 2 * size : size;  // size has 32 bits
  if (least <= left()) return token;
  const std::string_view what = kind == MsgpackKind::map      ? "a map of"
                                : kind == MsgpackKind::list   ? "a list of"
                                : kind == MsgpackKind::string ? "a text of"
                                : kind == MsgpackKind::bytes  ? "a byte string of"
                                                              : "an extension of";
  const std::string_view unit = kind == MsgpackKind::map ? "pairs" : kind == MsgpackKind::list ? "elements" : "bytes";
  return fail(ErrorCode::truncated, "it claims {} {} {} where {} bytes are left", what, size, unit, left());
}

Result<MsgpackToken> MsgpackReader::next() {
  MsgpackToken token;
  token.offset_bytes = at_;
  auto read = [&]() -> Result<MsgpackToken> {
    using Kind = MsgpackKind;
    CKPT_TRY(const auto first, number(1));
    const auto integer = [&](std::int64_t value) {
      token.kind = Kind::integer;
      token.integer = value;
      return token;
    };
    const auto sized_by = [&](Kind kind, std::size_t length_bytes) -> Result<MsgpackToken> {
      CKPT_TRY(const std::uint64_t size, number(length_bytes));
      return sized(token, kind, size);
    };
    const auto extension = [&](std::uint64_t size) -> Result<MsgpackToken> {
      CKPT_TRY(const auto type, number(1));
      token.extension_type = static_cast<std::int8_t>(type);
      return sized(token, Kind::extension, size);
    };
    if (first <= 0x7f) return integer(static_cast<std::int64_t>(first));
    if (first <= 0x8f) return sized(token, Kind::map, first & 0x0f);
    if (first <= 0x9f) return sized(token, Kind::list, first & 0x0f);
    if (first <= 0xbf) return sized(token, Kind::string, first & 0x1f);
    if (first >= 0xe0) return integer(static_cast<std::int8_t>(first));
    switch (first) {
      case 0xc0: return token;
      case 0xc2:
      case 0xc3:
        token.kind = Kind::boolean;
        token.integer = first == 0xc3;
        return token;
      case 0xc4: return sized_by(Kind::bytes, 1);
      case 0xc5: return sized_by(Kind::bytes, 2);
      case 0xc6: return sized_by(Kind::bytes, 4);
      case 0xc7:
      case 0xc8:
      case 0xc9: {
        CKPT_TRY(const std::uint64_t size, number(std::size_t{1} << (first - 0xc7)));
        return extension(size);
      }
      case 0xca: {
        CKPT_TRY(const std::uint64_t bits, number(4));
        token.kind = Kind::real;
        token.real = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
        return token;
      }
      case 0xcb: {
        CKPT_TRY(const std::uint64_t bits, number(8));
        token.kind = Kind::real;
        token.real = std::bit_cast<double>(bits);
        return token;
      }
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf: {
        CKPT_TRY(const std::uint64_t value, number(std::size_t{1} << (first - 0xcc)));
        if (static_cast<std::int64_t>(value) >= 0) return integer(static_cast<std::int64_t>(value));
        token.kind = Kind::big_integer;
        token.big_integer = value;
        return token;
      }
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3: {
        const std::size_t size = std::size_t{1} << (first - 0xd0);
        CKPT_TRY(const std::uint64_t value, number(size));
        const auto unused = static_cast<int>(64 - 8 * size);
        return integer(static_cast<std::int64_t>(value << unused) >> unused);
      }
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8: return extension(std::uint64_t{1} << (first - 0xd4));
      case 0xd9: return sized_by(Kind::string, 1);
      case 0xda: return sized_by(Kind::string, 2);
      case 0xdb: return sized_by(Kind::string, 4);
      case 0xdc: return sized_by(Kind::list, 2);
      case 0xdd: return sized_by(Kind::list, 4);
      case 0xde: return sized_by(Kind::map, 2);
      case 0xdf: return sized_by(Kind::map, 4);
      default: return fail(ErrorCode::corrupt, "byte 0x{:02x} begins no value of msgpack", first);
    }
  }();
  if (!read && !could_not_look(read.error().code)) read.error().offset_bytes = token.offset_bytes;
  return read;
}

}  // namespace netcl::ckpt
