#include <cmath>

#include "catch.h"
#include "format/readers.h"

using namespace netcl::ckpt;

TEST_CASE("json_value: containers keep their order and their numbers", "[format]") {
  Tree tree;
  const auto root =
      parse_json(R"({"z": [1, 12345678901234567890, 0.5, null, true], "a": {}, "n": NaN})", Limits{}, tree).value();
  REQUIRE(tree.kind(root) == ValueKind::dict);
  REQUIRE(tree.entries(root).size() == 3);
  CHECK(tree.text(tree.entries(root)[0].key) == "z");
  const auto items = tree.items(tree.find(root, "z")->value);
  REQUIRE(items.size() == 5);
  CHECK(tree.integer(items[0]) == 1);
  CHECK(tree.kind(items[1]) == ValueKind::big_integer);
  CHECK(tree.text(items[1]) == "12345678901234567890");
  CHECK(tree.real(items[2]) == 0.5);
  CHECK(tree.kind(items[3]) == ValueKind::none);
  CHECK(tree.boolean(items[4]));
  CHECK(tree.entries(tree.find(root, "a")->value).empty());
  CHECK(std::isnan(tree.real(tree.find(root, "n")->value)));
}

TEST_CASE("json_value: values are added to a tree that already holds some", "[format]") {
  Tree tree;
  const ValueId before = tree.add_string("before");
  const auto root = parse_json("[[1], [2]]", Limits{}, tree).value();
  CHECK(tree.text(before) == "before");
  CHECK(tree.integer(tree.items(tree.items(root)[1])[0]) == 2);
}

TEST_CASE("json_value: the limits hold", "[format][hostile]") {
  struct Row {
    const char* text;
    Limits limits;
    ErrorCode code;
  };
  Limits bytes, values, depth;
  bytes.max_json_bytes = 4;
  values.max_values = 3;
  depth.max_depth = 2;
  for (const Row& row :
       {Row{"[1, 2]", bytes, ErrorCode::limit_exceeded}, Row{"[1,2,3,4]", values, ErrorCode::limit_exceeded},
        Row{"[[[]]]", depth, ErrorCode::limit_exceeded}, Row{"[1", Limits{}, ErrorCode::truncated}}) {
    CAPTURE(row.text);
    Tree tree;
    const auto got = parse_json(row.text, row.limits, tree);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == row.code);
  }
}

TEST_CASE("json_value: 100,000 levels are built without recursion", "[format][hostile]") {
  Tree tree;
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += i % 2 == 0 ? "[" : "{\"k\":";
  text += "1";
  for (int i = 100'000; i-- > 0;) text += i % 2 == 0 ? "]" : "}";
  CHECK(parse_json(text, Limits{}, tree));
}
