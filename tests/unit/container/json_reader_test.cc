#include "container/json_reader.h"

#include <fmt/format.h>

#include "base/try.h"
#include "catch.h"

using namespace netcl::ckpt;

namespace {

/// Writes the events down: {"a": [1, 2.5]} is `{ a: [ 1 2.5r ] }`.
class Recorder final : public JsonHandler {
 public:
  std::string text;
  Result<void> null() override { return note("null"); }
  Result<void> boolean(bool value) override { return note(value ? "true" : "false"); }
  Result<void> integer(std::int64_t value) override { return note(fmt::format("{}", value)); }
  Result<void> big_integer(std::string_view decimal) override { return note(fmt::format("{}b", decimal)); }
  Result<void> real(double value) override { return note(fmt::format("{}r", value)); }
  Result<void> string(std::string_view s) override { return note(fmt::format("'{}'", s)); }
  Result<void> begin_object() override { return note("{"); }
  Result<void> key(std::string_view s) override {
    if (s == "refuse") return fail(ErrorCode::unsupported, "refused");
    return note(fmt::format("{}:", s));
  }
  Result<void> end_object() override { return note("}"); }
  Result<void> begin_array() override { return note("["); }
  Result<void> end_array() override { return note("]"); }

 private:
  Result<void> note(std::string_view s) {
    if (!text.empty()) text += ' ';
    text += s;
    return {};
  }
};

Result<std::string> events(std::string_view text, const JsonOptions& options = {}) {
  Recorder recorder;
  CKPT_CHECK(read_json(text, options, recorder));
  return recorder.text;
}

}  // namespace

TEST_CASE("json_reader: what a document holds, in its order", "[container]") {
  struct Row {
    std::string_view text, want;
  };
  const Row rows[] = {
      {"null", "null"},
      {" [true, false]\n", "[ true false ]"},
      {R"({"b": {}, "a": [1, -2, 2.5, 1e3]})", "{ b: { } a: [ 1 -2 2.5r 1000r ] }"},
      {R"(["\u00e9\ud83d\ude00\n", "é"])", "[ 'é😀\n' 'é' ]"},
      {"[9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809]",
       "[ 9223372036854775807 9223372036854775808b -9223372036854775808 -9223372036854775809b ]"},
      {"[18446744073709551616]", "[ 18446744073709551616b ]"},
      {R"({"a": {"x": 1}, "b": {"x": 1}})", "{ a: { x: 1 } b: { x: 1 } }"},
      {R"("NaN")", "'NaN'"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    for (bool allow_nan : {false, true}) CHECK(events(row.text, {.allow_nan = allow_nan}).value() == row.want);
  }
}

TEST_CASE("json_reader: what is not JSON, and where", "[container][hostile]") {
  struct Row {
    std::string_view text;
    ErrorCode code;
    std::uint64_t offset_bytes;
  };
  using namespace std::literals;
  const Row rows[] = {
      {"", ErrorCode::truncated, 0},
      {R"({"a": [1, 2)", ErrorCode::truncated, 11},
      {R"({"optim_state": {"t": 8, "moments": [[)", ErrorCode::truncated, 38},
      {R"({"a": "b)", ErrorCode::truncated, 8},
      {"tru", ErrorCode::truncated, 3},
      {"[1, 2}", ErrorCode::corrupt, 5},
      {"[1] x", ErrorCode::corrupt, 4},
      {"[1]\0"sv, ErrorCode::corrupt, 3},
      {"\xEF\xBB\xBF[1]", ErrorCode::corrupt, 0},
      {"// c\n[1]", ErrorCode::corrupt, 0},
      {"[1,]", ErrorCode::corrupt, 3},
      {"{'a': 1}", ErrorCode::corrupt, 1},
      {"[\"a\xFF\"]", ErrorCode::corrupt, 3},
      {"[\"\xC0\x80\"]", ErrorCode::corrupt, 2},
      {R"(["\ud800"])", ErrorCode::corrupt, 8},
      {"[\"\n\"]", ErrorCode::corrupt, 2},
      {"[01]", ErrorCode::corrupt, 2},
      {"[NaN]", ErrorCode::corrupt, 1},
      {"[-Infinity]", ErrorCode::corrupt, 2},
      {R"({"a": 1, "b": 2, "a": 3})", ErrorCode::corrupt, 20},
      {R"({"a": 1, "\u0061": 3})", ErrorCode::corrupt, 17},
      {"[1e999]", ErrorCode::limit_exceeded, 7},
      {R"([1, {"refuse": 2}])", ErrorCode::unsupported, 13},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto got = events(row.text);
    REQUIRE_FALSE(got);
    CHECK(to_string(got.error().code) == std::string(to_string(row.code)));
    CHECK(got.error().offset_bytes == row.offset_bytes);
    CHECK(got.error().message.find("exception") == std::string::npos);
  }
}

TEST_CASE("json_reader: Python's NaN and Infinity where the caller takes them", "[container]") {
  const JsonOptions python{.allow_nan = true};
  CHECK(events("NaN", python).value() == "nanr");
  CHECK(events("[NaN, 0e0,Infinity ,-Infinity]", python).value() == "[ nanr 0r infr -infr ]");
  CHECK(events(R"({"NaN": NaN, "a": "\"Infinity"})", python).value() == "{ NaN: nanr a: '\"Infinity' }");
  for (const char* bad : {"[1NaN]", "[NaN1]", "[--Infinity]", "[-NaN]", "[Infinity.5]", "[+Infinity]", "NaN NaN",
                          "[InfinityNaN]", "[NaNNaN]", "{NaN: 1}", "[nan]", "[Inf]"}) {
    CAPTURE(bad);
    CHECK_FALSE(events(bad, python));
  }
}

TEST_CASE("json_reader: depth is bounded by the option, not by the stack", "[container][hostile]") {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  CHECK(events(deep));
  const auto refused = events("[" + deep + "]");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::limit_exceeded);
  CHECK(refused.error().offset_bytes == 200'001);
}

TEST_CASE("json_reader: a sample survives every cut and every changed byte", "[container][hostile]") {
  const std::string sample = R"({"a": [1, -2.5e3, NaN, "x\u00e9"], "b": {"c": null, "d": -Infinity}})";
  REQUIRE(events(sample, {.allow_nan = true}));
  for (std::size_t cut = 0; cut < sample.size(); ++cut) {
    const auto got = events(sample.substr(0, cut), {.allow_nan = true});
    CAPTURE(cut);
    REQUIRE_FALSE(got);
    CHECK(got.error().offset_bytes <= cut);
  }
  for (std::size_t at = 0; at < sample.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = sample;
      changed[at] = static_cast<char>(byte);
      const auto got = events(changed, {.allow_nan = true});
      if (!got) CHECK(got.error().offset_bytes <= sample.size());
    }
  }
}
