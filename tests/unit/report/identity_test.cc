#include "report/identity.h"

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

std::string identity_of(const Checkpoint& c) {
  InspectOptions options;
  options.identity = true;
  const auto report = inspect(c, options);
  REQUIRE(report);
  for (const TensorInfo& t : report->tensors) CHECK(t.sha256.empty());
  return report->identity;
}

Tensor floats(std::vector<float> values) { return tensor_of<float>(values, ScalarType::float32); }

}  // namespace

TEST_CASE("identity: the bytes are those that the manual gives", "[report]") {
  // By the manual's Python: {"b": float32 [1, 2], "a": int16 [[1], [2]]}, and {}.
  CHECK(identity_of(checkpoint_of(
            {{"b", floats({1, 2})}, {"a", tensor_of<std::int16_t>({1, 2}, make_dtype(ScalarType::int16), {2, 1})}})) ==
        "ddb3bea972612111d3c646d4d64930c17d6843f087f86ab079351667291cfe4c");
  CHECK(identity_of(checkpoint_of({})) == "2afc1a2b836d90084b2fb5d23a8af6dc08ff9d9f68b4782be113dcfb6f944b32");
}

TEST_CASE("identity: order and layout do not matter, everything else does", "[report]") {
  const std::string one = identity_of(checkpoint_of({{"a", floats({1, 2, 3, 4})}, {"b", floats({5})}}));
  CHECK(identity_of(checkpoint_of({{"b", floats({5})}, {"a", floats({1, 2, 3, 4})}})) == one);
  CHECK(identity_of(
            checkpoint_of({{"b", floats({5})}, {"a", floats({1, 2, 3, 4})}, {"__netcl_meta__", floats({6})}})) == one);
  DType big = make_dtype(ScalarType::uint16);
  big.big_endian = true;
  Tensor fortran = tensor_of<std::uint16_t>({0x0100, 0x0300, 0x0200, 0x0400}, big, {2, 2});
  fortran.strides = f_strides(fortran.shape);
  const Tensor plain = tensor_of<std::uint16_t>({1, 2, 3, 4}, make_dtype(ScalarType::uint16), {2, 2});
  CHECK(identity_of(checkpoint_of({{"a", fortran}})) == identity_of(checkpoint_of({{"a", plain}})));

  const Tensor square = tensor_of<float>({1, 2, 3, 4}, make_dtype(ScalarType::float32), {2, 2});
  const Tensor bits = tensor_of<float>({1, 2, 3, 4}, make_dtype(ScalarType::int32), {4});
  for (const Checkpoint& c :
       {checkpoint_of({{"a", floats({1, 2, 3, 5})}, {"b", floats({5})}}),
        checkpoint_of({{"a", square}, {"b", floats({5})}}), checkpoint_of({{"a", bits}, {"b", floats({5})}}),
        checkpoint_of({{"a", floats({1, 2, 3, 4})}, {"c", floats({5})}}), checkpoint_of({{"a", floats({1, 2, 3, 4})}}),
        checkpoint_of({})}) {
    CHECK(identity_of(c) != one);
  }
}

TEST_CASE("identity: there is none where a tensor cannot be read", "[report]") {
  Tensor object;
  object.dtype = make_dtype(ScalarType::object);
  CHECK(identity_of(checkpoint_of({{"a", floats({1})}, {"o", object}})) == "");
}

}  // namespace netcl::ckpt
