#include "base/glob.h"

#include <string>

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("glob: matches as a shell would, dots and slashes included", "[base]") {
  struct {
    const char* pattern;
    const char* text;
    bool matches;
  } const cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "a.b/c", true},
      {"model.*", "model.fc.weight", true},
      {"model.*", "model", false},
      {"*.weight", "fc.weight", true},
      {"*.weight", "fc.weight.0", false},
      {"a*b*c", "a.b.b.c", true},
      {"a*b*c", "a.b.b.d", false},
      {"layer.?", "layer.1", true},
      {"layer.?", "layer.12", false},
      {"?", "é", true},
      {"layer.[0-3].*", "layer.2.w", true},
      {"layer.[0-3].*", "layer.4.w", false},
      {"[!a]", "b", true},
      {"[!a]", "a", false},
      {"[]]", "]", true},
      {"[", "[", true},
      {"[ab", "[ab", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"1:weight", "1:weight", true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.pattern, c.text);
    CHECK(glob_match(c.pattern, c.text) == c.matches);
  }
}

TEST_CASE("glob: many stars take no exponential time", "[base][hostile]") {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  CHECK_FALSE(glob_match(pattern + "b", std::string(20'000, 'a')));
}

}  // namespace netcl::ckpt
