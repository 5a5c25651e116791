#include "base/text.h"

#include "catch.h"

using namespace netcl::ckpt;

TEST_CASE("text: well-formed UTF-8 is told from the rest", "[base]") {
  for (const char* good : {"", "a", "重み", "\xF4\x8F\xBF\xBF"}) CHECK(is_utf8(good));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5",
                          "\xE4\xB8", "a\xFF"})
    CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("text: bytes that are no UTF-8 are escaped, the rest stays", "[base]") {
  CHECK(to_valid_utf8("a\xFFπ") == "a\\xffπ");
  CHECK(to_valid_utf8("\xED\xB2\x80") == "\\xed\\xb2\\x80");
}

TEST_CASE("text: every length of UTF-8 becomes UCS-4 and comes back", "[base]") {
  const std::string text = "a\u00e9\u91cd\U0001f600\U0010ffff";
  const std::vector<std::byte> characters = utf8_to_ucs4(text);
  CHECK(characters.size() == 20);
  CHECK(characters[12] == std::byte{0});
  CHECK(characters[13] == std::byte{0xf6});
  CHECK(characters[14] == std::byte{1});
  CHECK(ucs4_to_utf8(characters) == text);
  CHECK(utf8_to_ucs4("").empty());
}
