#include "codec/sha256.h"

#include <string_view>

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("sha256: FIPS 180-4's examples, in one piece and in many", "[codec]") {
  const std::string_view text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  const auto bytes = std::as_bytes(std::span(text));
  const char* expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
  Sha256 whole, pieces;
  whole.update(bytes);
  CHECK(whole.hex_digest() == expected);
  for (std::byte b : bytes) pieces.update({&b, 1});
  CHECK(pieces.hex_digest() == expected);
  CHECK(pieces.hex_digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");  // of nothing
}

}  // namespace netcl::ckpt
