// torch's conj and neg bits, for every way to read.
#include "model/sign_bits.h"

#include "catch.h"
#include "netcl/ckpt/tensor.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::byte> bytes_of(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("sign_bits: any range of bytes has the signs of the whole", "[model]") {
  const float stored[] = {1, 2, 3, -4};
  const float conjugate[] = {1, -2, 3, 4};
  const auto storage =
      with_sign_bits(storage_of(std::as_bytes(std::span(stored))), make_dtype(ScalarType::complex64), {true, false});
  REQUIRE(storage);
  const auto want = bytes_of(conjugate);
  auto reader = (*storage)->open();
  REQUIRE(reader);
  for (std::size_t begin = 0; begin < want.size(); ++begin) {
    for (std::size_t end = begin; end <= want.size(); ++end) {
      std::vector<std::byte> got(end - begin);
      REQUIRE((*reader)->read(begin, got));
      CHECK(std::equal(got.begin(), got.end(), want.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }
  CHECK((*storage)->stored_form().source == nullptr);  // nobody may move its bytes as they lie
}

TEST_CASE("sign_bits: both bits, big-endian elements, and what has no sign", "[model]") {
  const float stored[] = {1, 2};
  const float both[] = {-1, 2};  // -(1 - 2j)
  const auto storage =
      with_sign_bits(storage_of(std::as_bytes(std::span(stored))), make_dtype(ScalarType::complex64), {true, true});
  std::vector<std::byte> got(8);
  REQUIRE((*(*storage)->open())->read(0, got));
  CHECK(got == bytes_of(both));

  DType big = make_dtype(ScalarType::float16);
  big.big_endian = true;
  const std::byte one[] = {std::byte{0x3c}, std::byte{0}};
  std::vector<std::byte> two(2);
  REQUIRE((*(*with_sign_bits(storage_of(one), big, {false, true}))->open())->read(0, two));
  CHECK(two[0] == std::byte{0xbc});

  const StoragePtr integers = storage_of(one);
  CHECK_FALSE(with_sign_bits(integers, make_dtype(ScalarType::int16), {false, true}));
  CHECK(*with_sign_bits(integers, make_dtype(ScalarType::float16), {true, false}) == integers);  // of no complex ones
}
