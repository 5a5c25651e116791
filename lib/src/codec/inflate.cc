// Streaming inflate with ISA-L: 400 MB/s a core on trained weights, where zlib reaches 280.
// libdeflate is faster still but decodes whole members only, which would tie memory to their size.
#include "codec/inflate.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>

#include "base/buffer.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {
constexpr std::size_t kFirstReadBytes = std::size_t{4} << 10;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;
}  // namespace

bool inflate_start(std::span<const std::byte> stored, std::span<std::byte> dst) {
  // Kept: its 100 KiB take longer to get than a header takes to inflate.
  thread_local const std::unique_ptr<inflate_state> stream(new inflate_state);
  isal_inflate_init(stream.get());
  stream->next_in = const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(stored.data()));
  stream->avail_in = static_cast<std::uint32_t>(stored.size());
  stream->next_out = reinterpret_cast<std::uint8_t*>(dst.data());
  stream->avail_out = static_cast<std::uint32_t>(dst.size());
  const int status = isal_inflate(stream.get());
  return (status == ISAL_DECOMP_OK || status == ISAL_END_INPUT) && stream->avail_out == 0;
}

struct Inflater::State {
  SourcePtr source;
  std::uint64_t next_offset = 0;
  std::uint64_t stored_left = 0;
  Buffer input;
  inflate_state stream;

  std::uint64_t position() const { return next_offset - stream.avail_in; }

  Result<void> refill() {
    const std::size_t want = input.empty() ? kFirstReadBytes : kReadBytes;
    input.resize(std::min<std::uint64_t>(want, stored_left));
    CKPT_CHECK(source->read_at(next_offset, input));
    next_offset += input.size();
    stored_left -= input.size();
    stream.next_in = reinterpret_cast<std::uint8_t*>(input.data());
    stream.avail_in = static_cast<std::uint32_t>(input.size());
    return {};
  }

  bool ended() const { return stream.block_state == ISAL_BLOCK_FINISH; }
};

Inflater::Inflater(SourcePtr source, std::uint64_t offset_bytes, std::uint64_t stored_bytes)
    : state_(new State) {  // not make_unique: zeroing the 100 KiB of tables costs more than a header
  state_->source = std::move(source);
  state_->next_offset = offset_bytes;
  state_->stored_left = stored_bytes;
  isal_inflate_init(&state_->stream);
}

Inflater::~Inflater() = default;
Inflater::Inflater(Inflater&&) noexcept = default;
Inflater& Inflater::operator=(Inflater&&) noexcept = default;

Result<void> Inflater::read(std::span<std::byte> dst) {
  State& s = *state_;
  constexpr std::size_t kMaxStep = std::size_t{1} << 30;  // ISA-L counts in 32 bits
  while (!dst.empty()) {
    if (s.ended()) return fail(ErrorCode::corrupt, "the compressed data ends before the size that is recorded");
    if (s.stream.avail_in == 0 && s.stored_left > 0) CKPT_CHECK(s.refill());
    const std::size_t step = std::min(dst.size(), kMaxStep);
    const std::uint32_t before_in = s.stream.avail_in;
    s.stream.next_out = reinterpret_cast<std::uint8_t*>(dst.data());
    s.stream.avail_out = static_cast<std::uint32_t>(step);
    const int status = isal_inflate(&s.stream);
    if (status != ISAL_DECOMP_OK && status != ISAL_END_INPUT)
      return fail(ErrorCode::corrupt, "the compressed data is damaged");
    const std::size_t made = step - s.stream.avail_out;
    dst = dst.subspan(made);
    // Neither input taken nor output given: the stream wants bytes that the member does not have.
    if (made == 0 && s.stream.avail_in == before_in && s.stored_left == 0 && !s.ended()) {
      return fail(ErrorCode::corrupt, "the compressed data is cut short");
    }
  }
  return {};
}

Result<void> Inflater::finish() {
  State& s = *state_;
  std::byte beyond;
  while (!s.ended()) {
    if (s.stream.avail_in == 0 && s.stored_left > 0) CKPT_CHECK(s.refill());
    const std::uint32_t before_in = s.stream.avail_in;
    s.stream.next_out = reinterpret_cast<std::uint8_t*>(&beyond);
    s.stream.avail_out = 1;
    const int status = isal_inflate(&s.stream);
    if (status != ISAL_DECOMP_OK && status != ISAL_END_INPUT)
      return fail(ErrorCode::corrupt, "the compressed data is damaged");
    if (s.stream.avail_out == 0)
      return fail(ErrorCode::corrupt, "the compressed data goes on after the size that is recorded");
    if (s.stream.avail_in == before_in && s.stored_left == 0 && !s.ended()) {
      return fail(ErrorCode::corrupt, "the compressed data is cut short");
    }
  }
  // ISA-L may hold up to eight whole bytes of look-ahead in its bit buffer.
  const std::uint64_t held = static_cast<std::uint64_t>(std::max(s.stream.read_in_length, 0)) / 8;
  if (s.stored_left + s.stream.avail_in + held > 0) {
    return fail(ErrorCode::corrupt, "bytes follow the end of the compressed data");
  }
  return {};
}

}  // namespace netcl::ckpt
