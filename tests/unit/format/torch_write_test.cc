#include <fmt/format.h>

#include <array>

#include "catch.h"
#include "format/write_plan.h"
#include "model/dtype.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

WritePlan planned(const Checkpoint& checkpoint, bool compact = false) {
  LayoutOptions options;
  options.compact = compact;
  auto plan = plan_torch(checkpoint, options);
  INFO((plan ? std::string() : plan.error().to_string()));
  REQUIRE(plan);
  return std::move(*plan);
}

/// Elements 0, 1, 2 … of int16, seen as `shape` from element `offset` on.
Tensor view_of(const StoragePtr& storage, std::vector<std::uint64_t> shape, std::vector<std::uint64_t> strides,
               std::uint64_t offset = 0) {
  Tensor t;
  t.dtype = make_dtype(ScalarType::int16);
  t.shape = std::move(shape);
  t.strides = std::move(strides);
  t.offset_bytes = 2 * offset;
  t.storage = storage;
  return t;
}

StoragePtr counting(std::int16_t count, bool big_endian = false) {
  std::vector<std::byte> bytes;
  for (std::int16_t i = 0; i < count; ++i) {
    bytes.push_back(std::byte(big_endian ? 0 : i));
    bytes.push_back(std::byte(big_endian ? i : 0));
  }
  return storage_of(bytes);
}

const Tensor& tensor_at(const Checkpoint& c, std::string_view name) {
  const auto* entry = c.tree.find(c.root, name);
  REQUIRE(entry != nullptr);
  return c.tree.tensor(entry->value);
}

std::vector<std::uint64_t> storage_sizes(const WritePlan& plan) {
  std::vector<std::uint64_t> out;
  for (const WritePart& p : plan.parts) {
    if (p.payload) out.push_back(p.payload->size_bytes());
  }
  return out;
}

using Sizes = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("torch_write: the archive of one tensor, byte by byte", "[format]") {
  const WritePlan plan = planned(checkpoint_of({{"w", view_of(counting(6), {2, 3}, {3, 1})}}));
  CHECK(plan.zip);
  REQUIRE(plan.parts.size() == 4);
  CHECK(plan.parts[0].name == "archive/data.pkl");
  using namespace std::string_literals;
  CHECK(plan.parts[0].head ==
        "\x80\2}q\0(X\1\0\0\0wq\1"
        "ctorch._utils\n_rebuild_tensor_v2\nq\2(("
        "X\7\0\0\0storagectorch\nShortStorage\nq\3X\1\0\0\0"
        "0X\3\0\0\0cpuK\6tQK\0(K\2K\3t(K\3K\1t\x89"
        "ccollections\nOrderedDict\nq\4(tRtRq\5u."s);
  CHECK(plan.parts[1].name == "archive/byteorder");
  CHECK(plan.parts[1].head == "little");
  CHECK(plan.parts[2].name == "archive/data/0");
  CHECK(plan.parts[2].size_bytes() == 12);
  CHECK(plan.parts[3].name == "archive/version");
  CHECK(plan.parts[3].head == "3\n");
}

TEST_CASE("torch_write: every dtype of torch's comes back, scalars as tensors", "[format]") {
  Checkpoint before;
  std::vector<Tree::Entry> entries;
  for (const ScalarType type :
       {ScalarType::boolean,       ScalarType::int8,        ScalarType::int16,           ScalarType::int32,
        ScalarType::int64,         ScalarType::uint8,       ScalarType::float16,         ScalarType::bfloat16,
        ScalarType::float32,       ScalarType::float64,     ScalarType::complex64,       ScalarType::complex128,
        ScalarType::uint16,        ScalarType::uint32,      ScalarType::uint64,          ScalarType::complex32,
        ScalarType::float8_e4m3fn, ScalarType::float8_e5m2, ScalarType::float8_e4m3fnuz, ScalarType::float8_e5m2fnuz,
        ScalarType::float8_e8m0fnu}) {
    const DType dtype = make_dtype(type);
    std::vector<std::uint8_t> bytes(6 * dtype.item_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(255 - 7 * i);  // NaN too
    for (const std::vector<std::uint64_t>& shape : {Sizes{2, 3}, Sizes{}, Sizes{0}, Sizes{2, 0}}) {
      const ValueId key = before.tree.add_string(fmt::format("{} {}", dtype.name(), fmt::join(shape, "x")));
      entries.push_back({key, before.tree.add_tensor(tensor_of(bytes, dtype, shape))});
    }
  }
  before.root = before.tree.add_dict(entries);
  before.attributes = before.tree.add_dict({});
  for (const bool compact : {false, true}) {
    for (const Format format : {Format::npz, Format::torch}) {
      before.format = format;
      const Checkpoint after = read_back(planned(before, compact));
      CHECK(after.format == Format::torch);
      CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
    }
  }
  Checkpoint scalar;
  scalar.root = scalar.tree.add_scalar(tensor_of(std::vector<double>{2.5}, make_dtype(ScalarType::float64), {}));
  scalar.attributes = scalar.tree.add_dict({});
  const Checkpoint after = read_back(planned(scalar));
  CHECK(dump(after.tree, after.root) == "<tensor float64 () 0000000000000440>");
}

TEST_CASE("torch_write: a dtype that torch 2.0 lacks comes with its name, and only that", "[format]") {
  const std::vector<std::uint16_t> values = {1, 0xffff};
  const WritePlan plan =
      planned(checkpoint_of({{"w", tensor_of(values, ScalarType::uint16)}, {"old", view_of(counting(2), {2}, {1})}}));
  using namespace std::string_literals;
  CHECK(plan.parts[0].head ==
        "\x80\2}q\0(X\1\0\0\0wq\1"
        "ctorch._utils\n_rebuild_tensor_v3\nq\2(("
        "X\7\0\0\0storagectorch.storage\nUntypedStorage\nq\3X\1\0\0\0"
        "0X\3\0\0\0cpuK\4tQK\0(K\2t(K\1t\x89"
        "ccollections\nOrderedDict\nq\4(tRctorch\nuint16\nq\5tRq\6"
        "X\3\0\0\0oldq\7"
        "ctorch._utils\n_rebuild_tensor_v2\nq\10(("
        "X\7\0\0\0storagectorch\nShortStorage\nq\11X\1\0\0\0"
        "1X\3\0\0\0cpuK\2tQK\0(K\2t(K\1t\x89"
        "h\4(tRtRq\nu."s);
  CHECK(dump(read_back(plan).tree, read_back(plan).root) ==
        "{'w': <tensor uint16 (2) 0100ffff>, 'old': <tensor int16 (2) 00000100>}");
}

TEST_CASE("torch_write: uint32 views of one storage stay views, big-endian too", "[format]") {
  for (const bool big_endian : {false, true}) {
    Tensor all = tensor_of(std::vector<std::uint32_t>{1, 2, 3, 4, 0x80000005, 6}, ScalarType::uint32);
    all.dtype.big_endian = big_endian;
    Tensor column = all;
    column.shape = {3};
    column.strides = {2};
    column.offset_bytes = 4;
    Checkpoint before = checkpoint_of({{"all", all}, {"column", column}});
    before.format = Format::torch;
    const WritePlan plan = planned(before);
    CHECK(storage_sizes(plan) == Sizes{24});
    const Checkpoint after = read_back(plan);
    CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
    CHECK(tensor_at(after, "column").storage == tensor_at(after, "all").storage);
    CHECK(tensor_at(after, "column").strides == Sizes{2});
  }
}

TEST_CASE("torch_write: values that are no tensors come back", "[format]") {
  Checkpoint before;
  Tree& t = before.tree;
  const ValueId all[] = {t.add_none(),
                         t.add_boolean(true),
                         t.add_integer(-70000),
                         t.add_big_integer("123456789012345678901234567890"),
                         t.add_real(0.1),
                         t.add_complex(1, -2),
                         t.add_string("\xED\xB2\x80 π"),
                         t.add_bytes(std::string_view("\0\xff", 2)),
                         t.add_name("torch.float32"),
                         t.add_name("torch.device"),
                         t.add_sequence(ValueKind::tuple, {}),
                         t.add_sequence(ValueKind::set, std::array{t.add_integer(1)})};
  before.root = t.add_sequence(ValueKind::list, all);
  before.attributes = t.add_dict({});
  const Checkpoint after = read_back(planned(before));
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
}

TEST_CASE("torch_write: tensors of a torch file go on sharing storages", "[format]") {
  for (const bool big_endian : {false, true}) {
    INFO(big_endian);
    const StoragePtr storage = counting(12, big_endian);
    Checkpoint before = checkpoint_of({{"all", view_of(storage, {12}, {1})},
                                       {"tied", view_of(storage, {12}, {1})},
                                       {"tail", view_of(storage, {2, 2}, {2, 1}, 8)},
                                       {"transposed", view_of(storage, {3, 4}, {1, 3})},
                                       {"column", view_of(storage, {4}, {3}, 2)},
                                       {"expanded", view_of(storage, {5, 1}, {0, 1}, 7)},
                                       {"empty", view_of(storage, {0}, {1}, 0)},
                                       {"other", view_of(counting(1, big_endian), {1}, {1})}});
    for (const Tree::Entry& e : before.tree.entries(before.root))
      const_cast<Tensor&>(before.tree.tensor(e.value)).dtype.big_endian = big_endian;
    before.format = Format::torch;
    const WritePlan plan = planned(before);
    CHECK(storage_sizes(plan) == Sizes{24, 2});
    const Checkpoint after = read_back(plan);
    CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
    const Tensor& all = tensor_at(after, "all");
    for (const char* name : {"tied", "tail", "transposed", "column", "expanded"}) {
      INFO(name);
      CHECK(tensor_at(after, name).storage == all.storage);
      CHECK(tensor_at(after, name).strides == tensor_at(before, name).strides);
      CHECK(tensor_at(after, name).offset_bytes == tensor_at(before, name).offset_bytes);
    }
  }
}

TEST_CASE("torch_write: compact keeps what is used, and ties of the very same elements", "[format]") {
  const StoragePtr storage = counting(12);
  Checkpoint before = checkpoint_of({{"tail", view_of(storage, {2, 2}, {2, 1}, 8)},
                                     {"tied", view_of(storage, {2, 2}, {2, 1}, 8)},
                                     {"column", view_of(storage, {4}, {3}, 2)},
                                     {"transposed", view_of(storage, {3, 4}, {1, 3})}});
  before.format = Format::torch;
  const WritePlan plan = planned(before, true);
  CHECK(storage_sizes(plan) == Sizes{8, 8, 24});
  const Checkpoint after = read_back(plan);
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  CHECK(tensor_at(after, "tail").storage == tensor_at(after, "tied").storage);
  CHECK(tensor_at(after, "column").strides == Sizes{1});
  CHECK(tensor_at(after, "transposed").strides == Sizes{1, 3});
}

TEST_CASE("torch_write: a tensor of another format brings its own range of the file", "[format]") {
  const StoragePtr file = counting(100);
  const Checkpoint before = checkpoint_of({{"c", view_of(file, {2, 3}, {3, 1}, 50)},
                                           {"fortran", view_of(file, {2, 3}, {1, 2}, 60)},
                                           {"strided", view_of(file, {3}, {2}, 70)},
                                           {"one", view_of(file, {1, 1}, {1, 1}, 99)}});
  const WritePlan plan = planned(before);
  CHECK(storage_sizes(plan) == Sizes{12, 12, 6, 2});
  const Checkpoint after = read_back(plan);
  CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  CHECK(tensor_at(after, "fortran").strides == Sizes{1, 2});
  CHECK(tensor_at(after, "strided").strides == Sizes{1});
}

TEST_CASE("torch_write: big-endian arrays are turned round, Fortran order too", "[format]") {
  Tensor c = view_of(counting(6, true), {2, 3}, {3, 1}), fortran = view_of(counting(6, true), {2, 3}, {1, 2});
  c.dtype.big_endian = fortran.dtype.big_endian = true;
  const Checkpoint after = read_back(planned(checkpoint_of({{"c", c}, {"fortran", fortran}})));
  CHECK(dump(after.tree, after.root) ==
        "{'c': <tensor int16 (2, 3) 000001000200030004000500>, "
        "'fortran': <tensor int16 (2, 3) 000002000400010003000500>}");
}

TEST_CASE("torch_write: a storage that ends in half an element is cut", "[format]") {
  Checkpoint before = checkpoint_of({{"w", view_of(storage_of(std::array<std::byte, 7>{}), {2}, {1}, 1)}});
  before.format = Format::torch;
  const WritePlan plan = planned(before);
  CHECK(storage_sizes(plan) == Sizes{6});
  CHECK(dump(read_back(plan).tree, read_back(plan).root) == "{'w': <tensor int16 (2) 00000000>}");
}

TEST_CASE("torch_write: refuses by name what torch cannot hold or would not load", "[format]") {
  using Make = ValueId (*)(Tree&);
  const struct {
    std::string message;
    Make make;
  } kCases[] = {
      {"float128",
       [](Tree& t) { return t.add_tensor(tensor_of(std::vector<long double>{1}, ScalarType::longdouble)); }},
      {"bytes16",
       [](Tree& t) {
         return t.add_tensor(tensor_of(std::vector<char>{'a', 'b'}, *parse_type_string("|S2"), {1}));
       }},
      {"object",
       [](Tree& t) {
         Tensor objects;
         objects.dtype = make_dtype(ScalarType::object);
         return t.add_tensor(objects);
       }},
      {"frozenset", [](Tree& t) { return t.add_sequence(ValueKind::frozenset, {}); }},
      {"builtins.int", [](Tree& t) { return t.add_name("builtins.int"); }},
      {"numpy.dtype", [](Tree& t) { return t.add_name("numpy.dtype('<f4')"); }},
      {"700 digits", [](Tree& t) { return t.add_big_integer(std::string(700, '9')); }},
  };
  for (const auto& c : kCases) {
    INFO(c.message);
    Checkpoint checkpoint;
    const Tree::Entry entry[] = {{checkpoint.tree.add_string("bad"), c.make(checkpoint.tree)}};
    checkpoint.root = checkpoint.tree.add_dict(entry);
    checkpoint.attributes = checkpoint.tree.add_dict({});
    const auto plan = plan_torch(checkpoint, {});
    REQUIRE_FALSE(plan);
    CHECK(plan.error().code == ErrorCode::unsupported);
    CHECK(plan.error().message.find(c.message) != std::string::npos);
    CHECK(plan.error().member == "bad");
  }
}
