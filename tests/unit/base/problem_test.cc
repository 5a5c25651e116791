#include "base/problem.h"

#include <algorithm>
#include <set>
#include <string>

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("problem: each code has a word of its own, in kebab-case", "[base]") {
  std::set<std::string> words;
  for (const ProblemKind& kind : problem_kinds()) {
    const std::string word = to_string(kind.code);
    CAPTURE(word);
    CHECK(word == kind.word);
    CHECK(words.insert(word).second);
    const bool kebab = !word.empty() && word.front() != '-' && word.back() != '-' && word.find("--") == word.npos &&
                       std::all_of(word.begin(), word.end(), [](char c) { return c == '-' || (c >= 'a' && c <= 'z'); });
    CHECK(kebab);
    CHECK(std::string(kind.section).empty() == std::string(kind.text).empty());
  }
}

TEST_CASE("problem: a code that is no member has a word, too", "[base]") {
  CHECK(to_string(static_cast<ProblemCode>(255)) == std::string("internal"));
}

TEST_CASE("problem: is as grave as its code usually is, unless it says otherwise", "[base]") {
  const Problem usual = make_problem(ProblemCode::trailing_bytes, "a", 7, "3 bytes");
  CHECK(usual.severity == Severity::warning);
  CHECK(usual.where == "a");
  CHECK(usual.offset_bytes == 7);
  CHECK(usual.message == "3 bytes");
  CHECK(make_problem(ProblemCode::trailing_bytes, "", {}, "", Severity::error).severity == Severity::error);
}

TEST_CASE("problem: of an error has the error's word and place", "[base]") {
  std::set<std::string> words;
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
    Error e;
    e.code = static_cast<ErrorCode>(i);
    e.member = "a.npy";
    e.offset_bytes = 7;
    const Problem p = to_problem(e);
    CHECK(words.insert(to_string(e.code)).second);
    CHECK(std::string(to_string(e.code)) == to_string(p.code));
    CHECK(p.severity == Severity::error);
    CHECK(p.where == "a.npy");
    CHECK(p.offset_bytes == 7);
    CHECK(to_problem(e, "b").where == "b");
  }
  CHECK(to_string(ErrorCode::checksum_mismatch) == std::string("checksum-mismatch"));
}

}  // namespace netcl::ckpt
