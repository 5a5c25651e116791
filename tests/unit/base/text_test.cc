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
