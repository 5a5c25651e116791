// Random trees through plan_pickle and plan_torch, and home again.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <random>

#include "catch.h"
#include "format/write_plan.h"
#include "model/dtype.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

constexpr std::array kEveryDType = {"|b1",       "|i1", "|u1", "<i2",           ">i2",      "<i4", "<i8",
                                    ">i8",       "<f2", "<f4", ">f4",           "<f8",      "<c8", ">c16",
                                    "<u2",       "<u4", ">u8", "<f16",          "|S3",      "<U2", "<M8[s]",
                                    ">m8[25us]", "|V5", ">V2", "float8_e4m3fn", "complex32"};
constexpr std::size_t kTorchDTypes = 14;  // of these, the first

/// Makes values at random; the same seed makes the same.
class Random {
 public:
  Random(unsigned seed, bool torch, Checkpoint& out) : random_(seed), torch_(torch), out_(out), tree_(out.tree) {}

  void fill() {
    out_.format = torch_ && below(2) == 0 ? Format::torch : Format::pickle;
    out_.root = dict(4);
    out_.attributes = tree_.add_dict({});
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }
  std::uint64_t bits() { return (std::uint64_t{random_()} << 32) | random_(); }

  ValueId value(int depth) {
    if (!leaves_.empty() && below(8) == 0) return leaves_[below(leaves_.size())];  // shared
    if (depth > 0 && below(3) == 0) return below(2) == 0 ? dict(depth - 1) : sequence(depth - 1);
    leaves_.push_back(leaf());
    return leaves_.back();
  }

  ValueId leaf() {
    switch (below(12)) {
      case 0: return tree_.add_none();
      case 1: return tree_.add_boolean(below(2) == 0);
      case 2: return tree_.add_integer(std::bit_cast<std::int64_t>(bits()) >> below(64));
      case 3: return tree_.add_big_integer(fmt::format("{}{}{}", below(2) == 0 ? "" : "-", bits() | 1, bits()));
      case 4: return tree_.add_real(std::bit_cast<double>(bits()));
      case 5: return tree_.add_complex(0.5 * static_cast<double>(below(9)), -1.0);
      case 6: return tree_.add_string(text());
      case 7: return tree_.add_bytes(std::string(below(300), static_cast<char>(below(256))));
      case 8: return tree_.add_name(torch_ || below(2) == 0 ? "torch.float16" : "builtins.float");
      case 9: return torch_ ? tree_.add_none() : tree_.add_scalar(tensor({}));
      default: {
        std::vector<std::uint64_t> shape(below(4));
        for (auto& d : shape) d = below(4);
        return tree_.add_tensor(tensor(std::move(shape)));
      }
    }
  }

  std::string text() {
    constexpr std::array kPieces = {"a", ".", "é", "重", "\xf0\x9f\x98\x80", "\xed\xb2\x80", "\n", "\"", "weight"};
    std::string out;
    for (std::size_t i = below(6); i > 0; --i) out += kPieces[below(kPieces.size())];
    return out;
  }

  Tensor tensor(std::vector<std::uint64_t> shape) {
    const DType dtype = *parse_type_string(kEveryDType[below(torch_ ? kTorchDTypes : kEveryDType.size())]);
    std::uint64_t elements = 1;
    for (const std::uint64_t d : shape) elements *= d;
    const std::size_t step = 1 + below(2), offset = below(3);
    std::vector<std::byte> bytes((offset + step * elements) * dtype.item_bytes);
    for (auto& b : bytes) b = static_cast<std::byte>(random_());
    Tensor t;
    t.dtype = dtype;
    t.strides = below(2) == 0 ? c_strides(shape) : f_strides(shape);
    for (auto& s : t.strides) s *= step;
    t.shape = std::move(shape);
    t.offset_bytes = offset * dtype.item_bytes;
    t.storage = storage_of(bytes);
    return t;
  }

  ValueId sequence(int depth) {
    constexpr std::array kKinds = {ValueKind::list, ValueKind::tuple, ValueKind::set, ValueKind::frozenset};
    const ValueKind kind = kKinds[below(torch_ ? 3 : 4)];
    const bool hashed = kind == ValueKind::set || kind == ValueKind::frozenset;
    std::vector<ValueId> items(below(5));
    for (auto& i : items) i = hashed ? tree_.add_string(text()) : value(depth);
    return tree_.add_sequence(kind, items);
  }

  ValueId dict(int depth) {
    std::vector<Tree::Entry> entries(below(6));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      entries[i].key = below(4) == 0 ? tree_.add_integer(static_cast<std::int64_t>(i))
                                     : tree_.add_string(fmt::format("{}{}", text(), i));
      entries[i].value = value(depth);
    }
    return tree_.add_dict(entries);
  }

  std::mt19937 random_;
  bool torch_;
  Checkpoint& out_;
  Tree& tree_;
  std::vector<ValueId> leaves_;
};

}  // namespace

TEST_CASE("pickled round trip: random trees come back bit by bit", "[format]") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const bool torch = seed % 2 == 0;
    Checkpoint before;
    Random(seed, torch, before).fill();
    const auto plan = torch ? plan_torch(before, {}) : plan_pickle(before);
    INFO(fmt::format("seed {}: {}", seed, plan ? std::string() : plan.error().to_string()));
    REQUIRE(plan);
    const Checkpoint after = read_back(*plan);
    CHECK(dump(after.tree, after.root) == dump(before.tree, before.root));
  }
}
