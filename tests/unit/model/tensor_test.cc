#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/try.h"
#include "bytes.h"
#include "catch.h"
#include "model/dtype.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/tensor.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

using Shape = std::vector<std::uint64_t>;

std::vector<std::byte> pattern(std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  std::uint32_t x = 1;
  for (std::byte& b : bytes) b = static_cast<std::byte>((x = x * 1664525 + 1013904223) >> 24);
  return bytes;
}

/// A storage that is cheap to read forwards only, as a compressed one; counts the steps back.
class ForwardStorage final : public Storage {
 public:
  explicit ForwardStorage(StoragePtr inner) : inner_(std::move(inner)) {}
  int steps_back() const { return steps_back_; }
  std::uint64_t size_bytes() const override { return inner_->size_bytes(); }
  bool seekable() const override { return false; }
  const StoredForm& stored_form() const override { return inner_->stored_form(); }
  Result<std::unique_ptr<StorageReader>> open() const override {
    CKPT_TRY(auto reader, inner_->open());
    return std::unique_ptr<StorageReader>(std::make_unique<Reader>(std::move(reader), steps_back_));
  }

 private:
  class Reader final : public StorageReader {
   public:
    Reader(std::unique_ptr<StorageReader> inner, int& steps_back) : inner_(std::move(inner)), steps_back_(steps_back) {}
    Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
      steps_back_ += offset_bytes < position_;
      position_ = offset_bytes + dst.size();
      return inner_->read(offset_bytes, dst);
    }

   private:
    std::unique_ptr<StorageReader> inner_;
    int& steps_back_;
    std::uint64_t position_ = 0;
  };

  StoragePtr inner_;
  mutable int steps_back_ = 0;
};

/// What TensorReader has to give, element by element.
std::vector<std::byte> naive(const Tensor& t, const std::vector<std::byte>& bytes) {
  const std::uint64_t item = t.dtype.item_bytes;
  std::vector<std::byte> out;
  out.reserve(t.size_bytes());
  Shape index(t.shape.size(), 0);
  for (std::uint64_t n = t.num_elements(); n-- > 0;) {
    const std::uint64_t element = std::inner_product(index.begin(), index.end(), t.strides.begin(), std::uint64_t{0});
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(t.offset_bytes + element * item);
    out.insert(out.end(), at, at + static_cast<std::ptrdiff_t>(item));
    for (std::size_t d = index.size(); d-- > 0 && ++index[d] == t.shape[d];) index[d] = 0;
  }
  to_little_endian(t.dtype, out);
  return out;
}

Result<std::vector<std::byte>> read_all(const Tensor& t, std::uint64_t items_at_once,
                                        std::uint64_t max_buffered_bytes = Limits{}.max_buffered_bytes) {
  CKPT_TRY(auto reader, TensorReader::open(t, max_buffered_bytes));
  std::vector<std::byte> out(t.size_bytes());
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t n = std::min<std::uint64_t>(out.size() - at, items_at_once * t.dtype.item_bytes);
    CKPT_CHECK(reader.read(std::span(out).subspan(at, n)));
    at += n;
  }
  CHECK(reader.remaining_bytes() == 0);
  return out;
}

void check_view(const char* dtype, Shape shape, Shape strides, std::uint64_t offset_bytes) {
  Tensor t;
  t.dtype = parse_type_string(dtype).value();
  t.shape = std::move(shape);
  t.strides = std::move(strides);
  t.offset_bytes = offset_bytes;
  std::uint64_t last = 0;
  for (std::size_t d = 0; d < t.shape.size(); ++d) last += t.shape[d] == 0 ? 0 : (t.shape[d] - 1) * t.strides[d];
  const auto bytes = pattern(offset_bytes + (last + 1) * t.dtype.item_bytes);
  const StoragePtr file = file_storage(memory_source(bytes, "test"), 0, bytes.size());
  const auto want = naive(t, bytes);
  for (const StoragePtr& storage : {file, StoragePtr(std::make_shared<ForwardStorage>(file))}) {
    t.storage = storage;
    for (std::uint64_t items : {std::uint64_t{7}, std::uint64_t{100'000}, std::uint64_t{1} << 40}) {
      if (items == 7 && t.num_elements() > 100'000) continue;
      CAPTURE(dtype, t.shape, t.strides, offset_bytes, storage->seekable(), items);
      const auto got = read_all(t, items);
      REQUIRE(got);
      CHECK((*got == want));
    }
  }
}

}  // namespace

TEST_CASE("tensor: strides of the two orders", "[model]") {
  CHECK(c_strides(Shape{2, 3, 4}) == Shape{12, 4, 1});
  CHECK(f_strides(Shape{2, 3, 4}) == Shape{1, 2, 6});
  CHECK(c_strides(Shape{}).empty());
  CHECK(c_strides(Shape{2, 0, 3}) == Shape{3, 3, 1});
}

TEST_CASE("tensor: contiguity ignores dimensions of one element and arrays of none", "[model]") {
  struct Row {
    Shape shape, strides;
    bool c, f;
  };
  for (const Row& row :
       {Row{{}, {}, true, false}, Row{{2, 3}, {3, 1}, true, false}, Row{{2, 3}, {1, 2}, false, true},
        Row{{2, 3}, {4, 1}, false, false}, Row{{1, 3}, {99, 1}, true, false}, Row{{0, 3}, {7, 7}, true, false},
        Row{{3, 1}, {1, 3}, true, false}, Row{{2, 2}, {0, 0}, false, false}}) {
    CAPTURE(row.shape, row.strides);
    Tensor t;
    t.shape = row.shape;
    t.strides = row.strides;
    CHECK(t.is_c_contiguous() == row.c);
    CHECK(t.is_f_contiguous() == row.f);
  }
}

TEST_CASE("tensor: every view reads as a naive loop does", "[model]") {
  for (const char* dtype : {"|u1", "<f4", ">i2", ">c16", "|S3"}) {
    check_view(dtype, {}, {}, 5);
    check_view(dtype, {0}, {1}, 0);
    check_view(dtype, {0, 3}, {3, 1}, 0);
    check_view(dtype, {11}, {1}, 3);
    check_view(dtype, {4, 5}, {5, 1}, 0);                // C order
    check_view(dtype, {4, 5}, {1, 4}, 1);                // Fortran order
    check_view(dtype, {3, 4, 5}, {1, 3, 12}, 0);         // Fortran order
    check_view(dtype, {3, 4, 5}, {5, 15, 1}, 0);         // the outer two swapped
    check_view(dtype, {2, 3, 4, 5}, {60, 1, 15, 3}, 0);  // channels last
    check_view(dtype, {7}, {3}, 2);                      // every third
    check_view(dtype, {4, 5}, {30, 2}, 0);               // a sliced block, every second
    check_view(dtype, {5, 4}, {2, 30}, 0);               // the same transposed
    check_view(dtype, {9}, {0}, 4);                      // expanded
    check_view(dtype, {3, 4}, {0, 1}, 0);
    check_view(dtype, {3, 4}, {1, 0}, 0);
    check_view(dtype, {3, 4, 2}, {0, 2, 0}, 0);
    check_view(dtype, {3, 4}, {1, 1}, 0);  // overlapping windows
    check_view(dtype, {1, 4, 1}, {77, 3, 99}, 0);
  }
}

TEST_CASE("tensor: views beyond one panel read the same", "[model]") {
  check_view("<f4", {3, 1000, 1000}, {1, 3, 3000}, 4);        // Fortran order, 12 MB
  check_view("<f4", {2, 2500, 1000}, {1, 2, 5000}, 0);        // one outer index is more than a panel
  check_view(">f4", {1500, 2000}, {1, 1500}, 8);              // transposed
  check_view("|u1", {3000, 3000}, {6001, 2}, 0);              // sliced in both
  check_view("|u1", {3, 3000, 1000}, {0, 1000, 1}, 0);        // expanded
  check_view("|u1", {1000, 3, 3, 1000}, {9000, 1, 3, 9}, 0);  // channels last
}

TEST_CASE("tensor: structured elements are put in order field by field", "[model]") {
  const auto dtype =
      make_structured(
          {{"a", "", parse_type_string(">i4").value(), 0, {}}, {"b", "", parse_type_string("|u1").value(), 0, {3}}}, 8)
          .value();
  const auto bytes = pattern(7 * 12);
  Tensor t;
  t.dtype = dtype;
  t.shape = {3, 4};
  t.strides = f_strides(t.shape);
  t.storage = file_storage(memory_source(bytes, "test"), 0, bytes.size());
  CHECK((read_all(t, 5).value() == naive(t, bytes)));
}

TEST_CASE("tensor: a view beyond its storage is an error", "[model][hostile]") {
  struct Row {
    Shape shape, strides;
    std::uint64_t offset_bytes;
  };
  for (const Row& row : {Row{{9}, {1}, 0}, Row{{2}, {1}, 7}, Row{{3}, {4}, 0}, Row{{1}, {1}, ~std::uint64_t{0}},
                         Row{{2, 2}, {1ULL << 63, 1ULL << 63}, 0}, Row{{1ULL << 62}, {1ULL << 62}, 0},
                         Row{{1ULL << 40, 1ULL << 10}, {1ULL << 40, 1}, 0}}) {
    CAPTURE(row.shape, row.strides, row.offset_bytes);
    Tensor t;
    t.dtype = make_dtype(ScalarType::uint8);
    t.shape = row.shape;
    t.strides = row.strides;
    t.offset_bytes = row.offset_bytes;
    t.storage = file_storage(source_of("abcdefgh"), 0, 8);
    const auto reader = TensorReader::open(t);
    REQUIRE_FALSE(reader);
    CHECK(reader.error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("tensor: a compressed payload in another order is read in passes", "[model]") {
  const auto bytes = pattern(30'000'000);
  Tensor t;
  t.dtype = make_dtype(ScalarType::uint8);
  t.shape = {3000, 10'000};
  t.strides = f_strides(t.shape);
  const auto storage = std::make_shared<ForwardStorage>(file_storage(memory_source(bytes, "test"), 0, bytes.size()));
  t.storage = storage;
  CHECK((read_all(t, 1 << 20, 10'000'000).value() == naive(t, bytes)));
  CHECK(storage->steps_back() <= 2);
  CHECK((read_all(t, 1 << 20, 30'000'000).value() == naive(t, bytes)));
  CHECK(storage->steps_back() <= 2);
}

TEST_CASE("tensor: an object array has no elements to read", "[model]") {
  Tensor object;
  object.dtype = make_dtype(ScalarType::object);
  CHECK(TensorReader::open(object).error().code == ErrorCode::unsupported);
}

TEST_CASE("tensor: strides that do not fit the shape are an error, not a read beyond them", "[model][hostile]") {
  Tensor t;
  t.dtype = make_dtype(ScalarType::uint8);
  t.shape = {2, 2, 2};
  t.strides = {1};
  t.storage = file_storage(source_of("abcdefgh"), 0, 8);
  CHECK(TensorReader::open(t).error().code == ErrorCode::invalid_argument);
  CHECK_FALSE(t.is_f_contiguous());
  t.shape = {std::uint64_t{1} << 40, std::uint64_t{1} << 40};
  t.strides = c_strides(t.shape);
  CHECK(TensorReader::open(t).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("tensor: a reader that was moved from, and a storage without a source, are errors", "[model]") {
  Tensor t;
  t.dtype = make_dtype(ScalarType::uint8);
  t.shape = t.strides = {1};
  t.storage = file_storage(source_of("a"), 0, 1);
  auto reader = TensorReader::open(t).value();
  TensorReader other = std::move(reader);
  std::byte byte;
  CHECK(reader.remaining_bytes() == 0);
  CHECK(reader.read({&byte, 1}).error().code == ErrorCode::invalid_argument);
  CHECK(other.read({&byte, 1}));
  t.storage = file_storage(nullptr, 0, 1);
  CHECK(TensorReader::open(t).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("tensor: typed reads give all elements, or a part of them, in C order", "[model]") {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  Tensor t = tensor_of(values, make_dtype(ScalarType::float32), {2, 3});
  CHECK(t.read<float>().value() == values);
  CHECK(t.read<float>(1, 3).value() == std::vector<float>{2, 3, 4});
  CHECK(t.read<float>(6, 0).value().empty());

  Tensor transposed = t;
  transposed.shape = {3, 2};
  transposed.strides = {1, 3};
  CHECK(transposed.read<float>().value() == std::vector<float>{1, 4, 2, 5, 3, 6});
  CHECK(transposed.read<float>(1, 4).value() == std::vector<float>{4, 2, 5, 3});

  Tensor big = tensor_of(std::vector<std::uint8_t>{0, 1, 0, 2}, make_dtype(ScalarType::uint16), {2});
  big.dtype.big_endian = true;
  CHECK(big.read<std::uint16_t>().value() == std::vector<std::uint16_t>{1, 2});
  CHECK(big.read<std::uint16_t>(1, 1).value() == std::vector<std::uint16_t>{2});

  const Tensor flags = tensor_of(std::vector<std::uint8_t>{0, 1}, make_dtype(ScalarType::boolean), {2});
  CHECK(flags.read<std::uint8_t>().value() == std::vector<std::uint8_t>{0, 1});
}

TEST_CASE("tensor: a typed read that cannot be had is an error, before memory is taken", "[model][hostile]") {
  Tensor t = tensor_of(std::vector<float>{1, 2}, ScalarType::float32);
  CHECK(t.read<double>().error().message == "its dtype is float32, not float64");
  CHECK(t.read<float>(1, 2).error().message == "it has 2 elements, not 2 from 1 on");
  CHECK(t.read<float>(~std::uint64_t{0}, 2).error().code == ErrorCode::invalid_argument);
  t.shape = {std::uint64_t{1} << 40};  // beyond its storage
  CHECK(t.read<float>().error().code == ErrorCode::corrupt);
  Tensor unreadable;
  unreadable.dtype = make_dtype(ScalarType::float32);
  unreadable.shape = {1};
  unreadable.why_unreadable = "its storage is lost";
  CHECK(unreadable.read<float>().error().message == "its storage is lost");
}
