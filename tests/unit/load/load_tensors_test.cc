#include <cstring>

#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/load.h"
#include "netcl/ckpt/open.h"
#include "sample.h"
#include "write/write_file.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::byte> counting(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 131 + i / 251 + seed);
  return bytes;
}

Tensor bytes_tensor(const std::vector<std::byte>& bytes) {
  return tensor_of(bytes, make_dtype(ScalarType::uint8), {bytes.size()});
}

/// Writes the tensors as an npz at `path`.
void write_npz(const std::filesystem::path& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
               CompressionChoice compression) {
  const WritePlan plan = plan_npz(checkpoint_of(tensors), {compression}).value();
  OutputFile out = OutputFile::create(path, true).value();
  const std::uint64_t size = write_file(plan, out, {}).value();
  REQUIRE(out.commit(size));
}

Tensor tensor_named(const Checkpoint& c, const std::string& name) {
  const auto tensors = list_tensors(c).value();
  for (const NamedTensor& t : tensors) {
    if (t.name == name) return c.tree.tensor(t.value);
  }
  FAIL("no tensor " + name);
  return {};
}

TensorLoad into(const Tensor& from, std::vector<std::byte>& to, std::string name) {
  return {from, {make_dtype(from.dtype.type), from.shape, std::span(to)}, std::move(name)};
}

}  // namespace

TEST_CASE("load_tensors: stored, deflated and empty members arrive in host memory", "[load]") {
  const TemporaryFolder folder;
  const auto large = counting(9'000'000), small = counting(37, 5);
  for (const auto compression : {CompressionChoice::none, CompressionChoice::fast}) {
    write_npz(folder / "a.npz",
              {{"large", bytes_tensor(large)}, {"small", bytes_tensor(small)}, {"empty", bytes_tensor({})}},
              compression);
    const Checkpoint c = open_checkpoint(folder / "a.npz").value();
    for (const unsigned jobs : {1U, 3U}) {
      std::vector<std::byte> a(large.size()), a2(large.size()), b(small.size()), e;
      const std::vector<TensorLoad> loads = {
          into(tensor_named(c, "large"), a, "large"), into(tensor_named(c, "small"), b, "small"),
          into(tensor_named(c, "empty"), e, "empty"), into(tensor_named(c, "large"), a2, "again")};
      Run options;
      options.jobs = jobs;
      REQUIRE(load_tensors(loads, options));
      CHECK(a == large);
      CHECK(a2 == large);
      CHECK(b == small);
    }
  }
}

TEST_CASE("load_tensors: views, other orders and big-endian numbers are laid out as targets want them", "[load]") {
  const std::vector<std::uint16_t> values = {0x0102, 0x0304, 0x0506, 0x0708, 0x090a, 0x0b0c};
  Tensor whole = tensor_of(values, make_dtype(ScalarType::uint16), {2, 3});
  Tensor row = whole, transposed = whole, swapped = whole;
  row.shape = {3};
  row.strides = {1};
  row.offset_bytes = 6;
  transposed.shape = {3, 2};
  transposed.strides = {1, 3};
  swapped.dtype.big_endian = true;
  std::vector<std::byte> a(6), b(12), c(12);
  REQUIRE(load_tensors(std::vector{into(row, a, "row"), into(transposed, b, "t"), into(swapped, c, "s")}));
  CHECK(a == elements_of(row));
  CHECK(b == elements_of(transposed));
  CHECK(c == elements_of(swapped));
}

TEST_CASE("load_tensors: a target of another shape, dtype or size is refused by name", "[load]") {
  const Tensor t = tensor_of(std::vector<float>{1, 2, 3, 4}, ScalarType::float32);
  std::vector<std::byte> memory(16, std::byte{9});
  const auto untouched = memory;
  TensorLoad shape = into(t, memory, "w"), dtype = shape, size = shape;
  shape.to.shape = {2, 2};
  dtype.to.dtype = make_dtype(ScalarType::int32);
  size.to.memory = std::span(memory).first(12);
  for (const TensorLoad& bad : {shape, dtype, size}) {
    const auto done = load_tensors({{bad}});
    REQUIRE_FALSE(done);
    CHECK(done.error().code == ErrorCode::invalid_argument);
    CHECK(done.error().member == "w");
  }
  CHECK(memory == untouched);
}

TEST_CASE("load_tensors: a damaged member leaves every target as it was", "[load][hostile]") {
  const TemporaryFolder folder;
  const auto good = counting(5'000'000), bad = counting(5'000'000, 7);
  for (const auto compression : {CompressionChoice::none, CompressionChoice::fast}) {
    write_npz(folder / "a.npz", {{"good", bytes_tensor(good)}, {"bad", bytes_tensor(bad)}}, compression);
    std::string file = read_text(folder / "a.npz");
    const std::size_t at = file.size() - file.size() / 8;
    file[at] = static_cast<char>(file[at] ^ 1);
    write_text(folder / "a.npz", file);
    const Checkpoint c = open_checkpoint(folder / "a.npz").value();
    std::vector<std::byte> a(good.size(), std::byte{1}), b(bad.size(), std::byte{2});
    const auto before_a = a, before_b = b;
    const auto done =
        load_tensors(std::vector{into(tensor_named(c, "good"), a, "good"), into(tensor_named(c, "bad"), b, "bad")});
    REQUIRE_FALSE(done);
    CHECK(done.error().member.starts_with("bad"));
    CHECK(a == before_a);
    CHECK(b == before_b);
  }
}

TEST_CASE("view_of: what lies in a target's memory is a tensor that can be saved", "[load]") {
  std::vector<std::byte> memory = counting(24);
  const TensorTarget target{make_dtype(ScalarType::float32), {2, 3}, std::span(memory)};
  CHECK(elements_of(view_of(target).value()) == memory);
  CHECK_FALSE(view_of({make_dtype(ScalarType::float32), {2, 4}, std::span(memory)}));
}
