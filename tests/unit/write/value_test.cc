#include "netcl/ckpt/value.h"

#include <type_traits>

#include "catch.h"
#include "netcl/ckpt/memory.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

std::string text_of(const Value& value) {
  Tree tree;
  const auto id = value.add_to(tree);
  return id ? dump(tree, *id) : id.error().message;
}

template <class T>
constexpr bool is_value = std::is_convertible_v<T, Value>;

}  // namespace

// A pointer would be a bool, and a character a number.
static_assert(!is_value<float*> && !is_value<const void*> && !is_value<char> && !is_value<char32_t>);
static_assert(!is_value<long double> && !is_value<std::vector<bool>>);
static_assert(is_value<const char*> && is_value<std::string_view> && is_value<unsigned long long> && is_value<short>);

TEST_CASE("value: each integer type keeps its number", "[write]") {
  CHECK(text_of(std::int8_t{-5}) == "-5");
  CHECK(text_of(std::uint8_t{200}) == "200");
  CHECK(text_of(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(text_of(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
  CHECK(text_of(true) == "True");
  CHECK(text_of(0.5F) == "0.5r");
  CHECK(text_of(std::string_view("a\0b", 3)) == text_of(std::string("a\0b", 3)));
}

TEST_CASE("value: braces make a dict of pairs, and a list of all else", "[write]") {
  CHECK(text_of({{"epoch", 3}, {"name", "run"}}) == "{'epoch': 3, 'name': 'run'}");
  CHECK(text_of({{"a", {{"b", 1}}}}) == "{'a': {'b': 1}}");
  CHECK(text_of({{"lr", {0.5, 0.25}}}) == "{'lr': [0.5r, 0.25r]}");
  CHECK(text_of({1, 2}) == "[1, 2]");
  CHECK(text_of({"a", "b"}) == "['a', 'b']");
  CHECK(text_of({{"a", 1}, 2}) == "[['a', 1], 2]");
  CHECK(text_of({{"a", 1, 2}}) == "[['a', 1, 2]]");
  CHECK(text_of({{1, 2}, {3, 4}}) == "[[1, 2], [3, 4]]");
  CHECK(text_of({1}) == "[1]");
  CHECK(text_of(Value()) == "None");
  // What was not written in braces stays what it is.
  CHECK(text_of({Value::list({"a", 1}), Value::list({"b", 2})}) == "[['a', 1], ['b', 2]]");
  CHECK(text_of({Value::tuple({"a", 1}), Value::tuple({"b", 2})}) == "[('a', 1), ('b', 2)]");
}

TEST_CASE("value: vectors are copied, with a shape behind them in that shape", "[write]") {
  std::vector<float> w = {1, 2, 3, 4, 5, 6};
  const Value state = {{"w", w, {2, 3}}, {"flat", w}, {"ids", std::vector<std::int64_t>{7}}};
  const std::string before = text_of(state);
  w[0] = 9;
  CHECK(text_of(state) == before);

  Tree tree;
  const ValueId root = state.add_to(tree).value();
  const Tensor& shaped = tree.tensor(tree.find(root, "w")->value);
  CHECK(shaped.shape == std::vector<std::uint64_t>{2, 3});
  CHECK(shaped.read<float>().value() == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(tree.tensor(tree.find(root, "flat")->value).shape == std::vector<std::uint64_t>{6});
  CHECK(tree.tensor(tree.find(root, "ids")->value).read<std::int64_t>().value() == std::vector<std::int64_t>{7});

  CHECK(text_of({{"w", w, {2, 2}}}) == "its memory is 24 bytes, not what float32 of shape (2, 2) takes");
  CHECK(text_of({{"w", w, {-6}}}).find("[['w', ") == 0);
}

TEST_CASE("value: targets are borrowed, constant ones too", "[write]") {
  std::vector<double> w = {1, 2};
  const std::vector<std::complex<float>> c = {{1, 2}};
  const Value state = {{"w", host_target(w, {2})}, {"c", host_target(c, {1, 1})}};
  w[0] = 9;
  Tree tree;
  const ValueId root = state.add_to(tree).value();
  CHECK(tree.tensor(tree.find(root, "w")->value).read<double>().value() == std::vector<double>{9, 2});
  CHECK(tree.tensor(tree.find(root, "c")->value).read<std::complex<float>>().value() == c);
  CHECK(text_of(host_target(c, {3})) == "its memory is 8 bytes, not what complex64 of shape (3) takes");
  CHECK(text_of(host_target(w, {3})) == "its memory is 16 bytes, not what float64 of shape (3) takes");
}
