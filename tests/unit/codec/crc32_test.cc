#include "codec/crc32.h"

#include <zlib.h>

#include <vector>

#include "catch.h"

using namespace netcl::ckpt;

TEST_CASE("crc32: the check value, pieces and combination agree with zlib", "[codec]") {
  CHECK(crc32(0, std::as_bytes(std::span("123456789", 9))) == 0xcbf43926);
  CHECK(crc32(0, {}) == 0);
  std::vector<std::byte> bytes(100000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i >> 3);
  const auto whole = static_cast<std::uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
  CHECK(crc32(0, bytes) == whole);
  for (std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{99999}, bytes.size()}) {
    const auto head = std::span<const std::byte>(bytes).first(cut);
    const auto tail = std::span<const std::byte>(bytes).subspan(cut);
    CHECK(crc32(crc32(0, head), tail) == whole);
    CHECK(crc32_combine(crc32(0, head), crc32(0, tail), tail.size()) == whole);
  }
}
