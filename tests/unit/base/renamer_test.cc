#include "base/renamer.h"

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("renamer: replaces every match as sed does", "[base]") {
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

TEST_CASE("renamer: refuses what is no regular expression", "[base]") {
  const auto renamer = Renamer::compile("(", "");
  REQUIRE_FALSE(renamer);
  CHECK(renamer.error().code == ErrorCode::invalid_argument);
}

TEST_CASE("renamer: a long name costs neither stack nor time", "[base][hostile]") {
  const auto renamer = Renamer::compile("(a|b)*c", "x");
  REQUIRE(renamer);
  CHECK(renamer->apply(std::string(4096, 'a'))->size() == 4096);
  const auto too_long = renamer->apply(std::string(4097, 'a'));
  REQUIRE_FALSE(too_long);
  CHECK(too_long.error().code == ErrorCode::limit_exceeded);
}

TEST_CASE("renamer: many long names of few values are refused, not matched for minutes", "[base][hostile]") {
  auto renames = Renames::compile({{"^a", "b"}, {"b$", "c"}}, 100).value();
  CHECK(renames.apply("ab").value() == "bc");
  std::size_t done = 0;
  while (done < 10'000 && renames.apply(std::string(2000, 'x'))) ++done;
  CHECK(done > 100);
  CHECK(done < 1000);
  auto honest = Renames::compile({{"^a", "b"}}, 2'000'000).value();
  for (int i = 0; i < 100'000; ++i) REQUIRE(honest.apply("model.decoder.layers.12.attention.query.weight"));
}

}  // namespace netcl::ckpt
