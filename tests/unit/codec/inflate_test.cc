#include "codec/inflate.h"

#include <random>

#include "catch.h"
#include "codec/deflate.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::byte> sample(std::size_t size, unsigned distinct) {
  std::mt19937 random(size);
  std::vector<std::byte> out(size);
  for (auto& b : out) b = static_cast<std::byte>(random() % distinct);
  return out;
}

Buffer deflated(std::span<const std::byte> bytes, DeflateLevel level) {
  Buffer out;
  REQUIRE(deflate_block(bytes, {}, true, level, out));
  return out;
}

SourcePtr source_of(std::span<const std::byte> bytes) { return memory_source({bytes.begin(), bytes.end()}, "memory"); }

/// Everything, in steps of `step` bytes.
Result<std::vector<std::byte>> inflate_all(const SourcePtr& source, std::uint64_t at, std::uint64_t stored,
                                           std::size_t size, std::size_t step) {
  Inflater inflater(source, at, stored);
  std::vector<std::byte> out(size);
  for (std::size_t done = 0; done < size; done += step) {
    const auto read = inflater.read(std::span(out).subspan(done, std::min(step, size - done)));
    if (!read) return tl::make_unexpected(read.error());
  }
  if (const auto finished = inflater.finish(); !finished) return tl::make_unexpected(finished.error());
  return out;
}

}  // namespace

TEST_CASE("inflate: gives back what was deflated, in any steps", "[codec]") {
  for (const auto level : {DeflateLevel::fast, DeflateLevel::best}) {
    for (const unsigned distinct : {1U, 5U, 256U}) {
      for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{700}, std::size_t{600'000}}) {
        const auto bytes = sample(size, distinct);
        const Buffer stream = deflated(bytes, level);
        for (const std::size_t step : {std::size_t{333}, std::size_t{1} << 20}) {
          const auto out = inflate_all(source_of(stream), 0, stream.size(), size, step);
          REQUIRE(out);
          CHECK(*out == bytes);
        }
        const std::size_t wanted = std::min<std::size_t>(size, 128);
        std::vector<std::byte> start(wanted);
        CHECK(inflate_start(stream, start));
        CHECK(std::equal(start.begin(), start.end(), bytes.begin()));
      }
    }
  }
}

TEST_CASE("inflate: says what is wrong with a stream", "[codec][hostile]") {
  const auto bytes = sample(5000, 20);
  Buffer stream = deflated(bytes, DeflateLevel::best);
  const std::size_t whole = stream.size();
  auto error = [&](std::uint64_t stored, std::size_t size) {
    const auto out = inflate_all(source_of(stream), 0, stored, size, 1000);
    return out ? std::string() : out.error().message;
  };
  CHECK(error(whole, 5000).empty());
  CHECK(error(whole - 1, 5000) == "the compressed data is cut short");
  CHECK(error(whole / 2, 5000) == "the compressed data is cut short");
  CHECK(error(whole, 5001) == "the compressed data ends before the size that is recorded");
  CHECK(error(whole, 4999) == "the compressed data goes on after the size that is recorded");
  for (const std::size_t rest : {1U, 7U, 9U, 1000U}) {
    stream.resize(whole + rest, std::byte{0});
    CHECK(error(whole + rest, 5000) == "bytes follow the end of the compressed data");
    CHECK(error(whole, 5000).empty());
  }
  std::vector<std::byte> start(128);
  CHECK_FALSE(inflate_start(std::span(stream).first(10), start));
  CHECK_FALSE(inflate_start({}, start));
}

TEST_CASE("inflate: survives every changed byte", "[codec][hostile]") {
  const auto bytes = sample(400, 30);
  const Buffer stream = deflated(bytes, DeflateLevel::best);
  for (std::size_t i = 0; i < stream.size(); ++i) {
    for (int flip = 1; flip < 256; flip += 3) {
      Buffer changed = stream;
      changed[i] ^= static_cast<std::byte>(flip);
      (void)inflate_all(source_of(changed), 0, changed.size(), bytes.size(), 77);
      std::vector<std::byte> start(128);
      (void)inflate_start(changed, start);
    }
  }
}
