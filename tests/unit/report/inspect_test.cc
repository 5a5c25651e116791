#include "netcl/ckpt/inspect.h"

#include <bit>
#include <limits>

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

std::string metadata_of(const Checkpoint& c) {
  const auto report = inspect(c);
  REQUIRE(report);
  return dump(report->metadata, report->metadata_root);
}

}  // namespace

TEST_CASE("inspect: lists tensors with their hashes and totals", "[report]") {
  const Checkpoint c = checkpoint_of({{"model.a", tensor_of<float>({1, 2}, ScalarType::float32)},
                                      {"model.b", tensor_of<std::uint8_t>({1, 2, 3}, ScalarType::uint8)},
                                      {"optimizer.m.a", tensor_of<float>({0, 0}, ScalarType::float32)}});
  InspectOptions options;
  options.hash = true;
  const auto report = inspect(c, options);
  REQUIRE(report);
  REQUIRE(report->tensors.size() == 3);
  CHECK(report->tensors[0].name == "model.a");
  CHECK(report->tensors[1].sha256 == "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81");
  CHECK(report->tensors[2].group == Group::optimizer);
  CHECK(report->totals.num_tensors == 3);
  CHECK(report->totals.num_parameters == 5);
  CHECK(report->totals.size_bytes == 19);
}

TEST_CASE("inspect: hashes big-endian and Fortran-order tensors as C order, little-endian", "[report]") {
  DType big = make_dtype(ScalarType::uint16);
  big.big_endian = true;
  Tensor swapped = tensor_of<std::uint16_t>({0x0100, 0x0200, 0x0300, 0x0400}, big, {2, 2});
  Tensor fortran = tensor_of<std::uint16_t>({1, 3, 2, 4}, make_dtype(ScalarType::uint16), {2, 2});
  fortran.strides = f_strides(fortran.shape);
  Tensor plain = tensor_of<std::uint16_t>({1, 2, 3, 4}, make_dtype(ScalarType::uint16), {2, 2});
  InspectOptions options;
  options.hash = true;
  const auto report = inspect(checkpoint_of({{"a", swapped}, {"b", fortran}, {"c", plain}}), options);
  REQUIRE(report);
  CHECK(report->tensors[0].sha256 == report->tensors[2].sha256);
  CHECK(report->tensors[1].sha256 == report->tensors[2].sha256);
  CHECK(report->tensors[1].fortran_order);
}

TEST_CASE("inspect: statistics do not depend on how a tensor is stored or divided", "[report]") {
  std::vector<float> values(5'000'000);  // several parts
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
  values[4'999'999] = std::numeric_limits<float>::infinity();
  std::vector<float> swapped = values;
  for (float& v : swapped) v = std::bit_cast<float>(__builtin_bswap32(std::bit_cast<std::uint32_t>(v)));
  DType big = make_dtype(ScalarType::float32);
  big.big_endian = true;
  Tensor strided = tensor_of(values, make_dtype(ScalarType::float32), {1000, 5000});
  strided.strides = {1, 1000};
  const Checkpoint c =
      checkpoint_of({{"plain", tensor_of(values, ScalarType::float32)},
                     {"big-endian", tensor_of(swapped, big, {values.size()})},
                     {"fortran", strided},
                     {"text", tensor_of<std::uint32_t>({65}, DType{ScalarType::unicode, false, 4}, {1})}});
  for (const bool hash : {false, true}) {
    InspectOptions options;
    options.stats = true;
    options.hash = hash;
    const auto report = inspect(c, options);
    REQUIRE(report);
    CHECK(report->problems.empty());
    for (int i = 0; i < 3; ++i) {
      REQUIRE(report->tensors[i].stats);
      CHECK(report->tensors[i].stats->max == 999);
      CHECK(report->tensors[i].stats->mean == Approx(499.4999));
      CHECK(report->tensors[i].stats->zeros == 5000);
      CHECK(report->tensors[i].stats->inf == 1);
    }
    CHECK_FALSE(report->tensors[3].stats);
  }
}

TEST_CASE("inspect: include and exclude choose before anything is read", "[report]") {
  const Tensor t = tensor_of<float>({1}, ScalarType::float32);
  const Checkpoint c = checkpoint_of({{"a.w", t}, {"a.b", t}, {"b.w", t}});
  InspectOptions options;
  options.include = {"a.*", "b.*"};
  options.exclude = {"*.b"};
  const auto report = inspect(c, options);
  REQUIRE(report);
  REQUIRE(report->tensors.size() == 2);
  CHECK(report->tensors[0].name == "a.w");
  CHECK(report->tensors[1].name == "b.w");
  CHECK(report->totals.num_tensors == 2);
}

TEST_CASE("inspect: a shared storage counts once among the stored bytes", "[report]") {
  const Tensor t = tensor_of<float>({1, 2, 3}, ScalarType::float32);
  const auto report = inspect(checkpoint_of({{"a", t}, {"tied", t}}));
  REQUIRE(report);
  CHECK(report->totals.stored_bytes == report->tensors[0].stored_bytes);
  CHECK(report->totals.size_bytes == 24);
}

TEST_CASE("inspect: a payload that cannot be read is a problem, not a failure", "[report]") {
  Tensor cut = tensor_of<float>({1, 2}, ScalarType::float32);
  cut.shape = {1000};
  cut.strides = {1};
  InspectOptions options;
  options.hash = true;
  const auto report = inspect(checkpoint_of({{"cut", cut}}), options);
  REQUIRE(report);
  CHECK(report->tensors[0].sha256.empty());
  REQUIRE(report->problems.size() == 1);
  CHECK(report->problems[0].where == "cut");
}

TEST_CASE("inspect: metadata is what is no tensor", "[report]") {
  Checkpoint c;
  Tree& tree = c.tree;
  const ValueId t = tree.add_tensor(tensor_of<float>({1}, ScalarType::float32));
  const ValueId only_tensors = tree.add_sequence(ValueKind::list, std::vector{t, t});
  const ValueId mixed = tree.add_sequence(ValueKind::tuple, std::vector{t, tree.add_integer(3)});
  const Tree::Entry entries[] = {
      {tree.add_string("weights"), t},
      {tree.add_string("moments"), only_tensors},
      {tree.add_string("mixed"), mixed},
      {tree.add_integer(7), tree.add_scalar(tensor_of<double>({0.5}, make_dtype(ScalarType::float64), {}))},
      {tree.add_string("empty"), tree.add_dict({})},
  };
  c.root = tree.add_dict(entries);
  const Tree::Entry beside[] = {{tree.add_string("config"), tree.add_none()}};
  c.attributes = tree.add_dict(beside);
  CHECK(metadata_of(c) == "{'config': None, 'mixed': (3), '7': 0.5r, 'empty': {}}");
}

TEST_CASE("inspect: the plain attributes of an unknown object are metadata", "[report]") {
  Checkpoint c;
  Tree& tree = c.tree;
  c.attributes = tree.add_dict({});
  const auto key = [&](const std::string& text) { return tree.add_string(text); };
  const auto attributes_of = [&] {
    const auto report = inspect(c);
    REQUIRE(report);
    const auto entries = report->metadata.entries(report->metadata_root);
    REQUIRE(entries.size() == 1);
    REQUIRE(report->metadata.kind(entries[0].value) == ValueKind::opaque);
    const auto parts = report->metadata.items(entries[0].value);
    return parts.empty() ? std::string() : dump(report->metadata, parts[0]);
  };
  const ValueId t = tree.add_tensor(tensor_of<float>({1}, ScalarType::float32));
  const ValueId steps = tree.add_sequence(ValueKind::list, std::vector{tree.add_integer(1), tree.add_none()});
  const ValueId long_list = tree.add_sequence(ValueKind::list, std::vector(17, tree.add_integer(1)));
  const ValueId inner = tree.add_opaque("a.B", {});
  const Tree::Entry entries[] = {{key("kernel"), key("rbf")},
                                 {key("C"), tree.add_real(1.5)},
                                 {key("shrinking"), tree.add_boolean(true)},
                                 {key("random_state"), tree.add_none()},
                                 {key("steps"), steps},
                                 {key("dual_coef_"), t},
                                 {key("many"), long_list},
                                 {key("inner"), inner}};
  const ValueId state = tree.add_dict(entries);
  SECTION("of a dict") {
    c.root = tree.add_opaque("sklearn.svm.SVC", std::vector{state});
    CHECK(attributes_of() ==
          "{'kernel': 'rbf', 'C': 1.5r, 'shrinking': True, 'random_state': None, 'steps': [1, None]}");
  }
  SECTION("of an object with __slots__, behind its arguments") {
    const Tree::Entry slots[] = {{key("x"), tree.add_integer(7)}};
    const ValueId pair = tree.add_sequence(ValueKind::tuple, std::vector{tree.add_none(), tree.add_dict(slots)});
    c.root = tree.add_opaque("a.C", std::vector{tree.add_integer(0), pair});
    CHECK(attributes_of() == "{'x': 7}");
  }
  SECTION("of none") {
    c.root = tree.add_opaque("a.D", std::vector{t});
    CHECK(attributes_of().empty());
  }
  SECTION("of many, the first hundred") {
    std::vector<Tree::Entry> many;
    for (int i = 0; i < 1000; ++i) many.push_back({key("k" + std::to_string(i)), tree.add_none()});
    c.root = tree.add_opaque("a.E", std::vector{tree.add_dict(many)});
    const std::string text = attributes_of();
    CHECK(text.ends_with("'k99': None, '…': '…'}"));
  }
}

TEST_CASE("inspect: metadata of a tree that shares, nests and contains itself stays small", "[report][hostile]") {
  Checkpoint c;
  Tree& tree = c.tree;
  c.attributes = tree.add_dict({});
  SECTION("a list in itself") {
    const ValueId list = tree.reserve();
    tree.define_sequence(list, ValueKind::list, std::vector{tree.add_integer(1), list});
    const Tree::Entry entries[] = {{tree.add_string("a"), list}};
    c.root = tree.add_dict(entries);
    CHECK(metadata_of(c) == "{'a': [1, '…']}");
  }
  SECTION("2**60 leaves through 60 shared pairs") {
    ValueId node = tree.add_integer(1);
    for (int i = 0; i < 60; ++i) node = tree.add_sequence(ValueKind::list, std::vector{node, node});
    const Tree::Entry entries[] = {{tree.add_string("a"), node}};
    c.root = tree.add_dict(entries);
    CHECK(metadata_of(c).size() < 4'000'000);
  }
  SECTION("a hundred thousand lists deep") {
    ValueId node = tree.add_integer(1);
    for (int i = 0; i < 100'000; ++i) node = tree.add_sequence(ValueKind::list, std::vector{node});
    const Tree::Entry entries[] = {{tree.add_string("a"), node}};
    c.root = tree.add_dict(entries);
    const std::string text = metadata_of(c);
    CHECK(static_cast<std::size_t>(std::count(text.begin(), text.end(), '[')) == kMaxMetadataDepth - 1);
  }
  SECTION("a tuple of many tensors many times: minutes, if each were passed over each time") {
    const ValueId tensor = tree.add_tensor(tensor_of<double>({0.5}, make_dtype(ScalarType::float64), {}));
    const ValueId inner = tree.add_sequence(ValueKind::tuple, std::vector(150'000, tensor));
    c.root = tree.add_sequence(ValueKind::tuple, std::vector(150'000, inner));
    const auto report = inspect(c, {});
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::limit_exceeded);
  }
  SECTION("a hundred thousand objects of one state that shows nothing: hours, if each were passed over") {
    std::vector<Tree::Entry> state;
    for (int i = 0; i < 100'000; ++i) state.push_back({tree.add_integer(i), tree.add_none()});
    const std::vector parts{tree.add_dict(state)};
    std::vector<ValueId> objects;
    for (int i = 0; i < 100'000; ++i) objects.push_back(tree.add_opaque("a.B", parts));
    c.root = tree.add_sequence(ValueKind::list, objects);
    CHECK(metadata_of(c).size() < 4'000'000);
  }
  SECTION("one megabyte of text a million times") {
    const ValueId text = tree.add_string(std::string(1 << 20, 'x'));
    const Tree::Entry entries[] = {
        {tree.add_string("a"), tree.add_sequence(ValueKind::list, std::vector(100'000, text))}};
    c.root = tree.add_dict(entries);
    CHECK(metadata_of(c).size() < (std::size_t{80} << 20));
  }
}

}  // namespace netcl::ckpt
