#include "ops/renamer.h"

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("renamer: replaces every match as sed does", "[ops]") {
  struct Row {
    const char *pattern, *replacement, *name, *want;
  };
  for (const Row& row : {
           Row{"^module\\.", "", "module.a.weight", "a.weight"},
           Row{"^", "model.", "a.weight", "model.a.weight"},
           Row{"$", ".w", "a", "a.w"},
           Row{"\\.", "/", "a.b.c", "a/b/c"},
           Row{"layers\\.([0-9]+)\\.(weight|bias)", "\\1:\\2", "layers.12.bias", "12:bias"},
           Row{"a*", "-", "baaac", "-b-c-"},
           Row{"b", "\\\\\\0", "abc", "a\\bc"},
           Row{"(x)?b", "<\\1>", "b", "<>"},
           Row{"nothing", "x", "name", "name"},
           Row{"x", "y", "", ""},
       }) {
    CAPTURE(row.pattern, row.name);
    const auto renamer = Renamer::compile(row.pattern, row.replacement);
    REQUIRE(renamer);
    CHECK(renamer->apply(row.name).value() == row.want);
  }
}

TEST_CASE("renamer: refuses what is no regular expression", "[ops]") {
  const auto renamer = Renamer::compile("(", "");
  REQUIRE_FALSE(renamer);
  CHECK(renamer.error().code == ErrorCode::invalid_argument);
}

TEST_CASE("renamer: a long name costs neither stack nor time", "[ops][hostile]") {
  const auto renamer = Renamer::compile("(a|b)*c", "x");
  REQUIRE(renamer);
  CHECK(renamer->apply(std::string(4096, 'a'))->size() == 4096);
  const auto too_long = renamer->apply(std::string(4097, 'a'));
  REQUIRE_FALSE(too_long);
  CHECK(too_long.error().code == ErrorCode::limit_exceeded);
}

}  // namespace netcl::ckpt
