#include "codec/deflate.h"

#include <zlib.h>

#include <random>

#include "catch.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::byte> inflate_with_zlib(std::span<const std::byte> stream, std::size_t size) {
  std::vector<std::byte> out(size + 1);
  z_stream z{};
  REQUIRE(inflateInit2(&z, -15) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(stream.data()));
  z.avail_in = static_cast<uInt>(stream.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(inflate(&z, Z_FINISH) == Z_STREAM_END);
  REQUIRE(z.avail_in == 0);
  out.resize(z.total_out);
  inflateEnd(&z);
  return out;
}

}  // namespace

TEST_CASE("deflate: blocks joined are one stream for zlib", "[codec]") {
  std::mt19937 random(1);
  for (const bool noise : {false, true}) {
    std::vector<std::byte> input(300000);
    for (auto& b : input) b = static_cast<std::byte>(noise ? random() : random() % 3);
    for (const auto level : {DeflateLevel::fast, DeflateLevel::best}) {
      for (const std::size_t block : {std::size_t{1}, std::size_t{70000}, std::size_t{300000}}) {
        const std::size_t total = block == 1 ? 50 : input.size();
        Buffer stream;
        for (std::size_t at = 0; at < total; at += block) {
          const std::size_t n = std::min(block, total - at);
          const std::size_t back = std::min<std::size_t>(at, 32768);
          REQUIRE(deflate_block(std::span(input).subspan(at, n), std::span(input).subspan(at - back, back),
                                at + n == total, level, stream));
        }
        const auto out = inflate_with_zlib(stream, total);
        CHECK(std::equal(out.begin(), out.end(), input.begin(), input.begin() + static_cast<long>(total)));
      }
    }
  }
}

TEST_CASE("deflate: an empty stream is a stream", "[codec]") {
  for (const auto level : {DeflateLevel::fast, DeflateLevel::best}) {
    Buffer stream;
    REQUIRE(deflate_block({}, {}, true, level, stream));
    CHECK(inflate_with_zlib(stream, 0).empty());
  }
}
