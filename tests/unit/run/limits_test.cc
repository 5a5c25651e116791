// What a writer reports as done its own reader takes, at every limit and beyond.
#include "netcl/ckpt/limits.h"

#include <array>
#include <random>

#include "catch.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/manager.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/save.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::array kNames = {"a.npz", "a.safetensors", "a.pt", "a.pkl", "folder/"};

std::string message_of(const auto& result) { return result ? "" : result.error().to_string(); }

bool has_error(const Checkpoint& checkpoint) {
  for (const Problem& p : checkpoint.problems) {
    if (p.severity >= Severity::error) return true;
  }
  return false;
}

/// Sixteen digits each, so that the text of many is large.
Value history(std::size_t length) {
  Value::Items items;
  items.reserve(length);
  for (std::size_t i = 0; i < length; ++i) items.emplace_back(1.0 / static_cast<double>(i + 3));
  return Value::list(std::move(items));
}

std::size_t length_of(const Checkpoint& checkpoint, std::string_view key) {
  const Tree::Entry* found = checkpoint.tree.find(checkpoint.root, key);
  return found == nullptr ? 0 : checkpoint.tree.items(found->value).size();
}

Tensor small_tensor(std::vector<std::uint64_t> shape, DType dtype = make_dtype(ScalarType::float32)) {
  return tensor_of(std::vector<float>{1.5F}, std::move(dtype), std::move(shape));
}

/// A tree of a few values, each of which may be one that some format or limit does not take.
class Random {
 public:
  explicit Random(unsigned seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random_); }

  Limits limits() {
    Limits out;
    out.max_dimensions = static_cast<std::uint32_t>(1 + below(5));
    out.max_depth = static_cast<std::uint32_t>(3 + below(12));
    out.max_values = 8 + below(200);
    out.max_json_bytes = 64 + below(4000);
    out.max_safetensors_header_bytes = 128 + below(4000);
    out.max_npy_header_bytes = 64 + below(300);
    out.max_pickle_inline_bytes = 16 + below(500);
    out.max_members = 2 + below(20);
    out.max_names = 4 + below(40);
    out.max_name_bytes = 32 + below(2000);
    return out;
  }

  std::string key() {
    switch (below(12)) {
      case 0: return "\xff\xfe";
      case 1: return "$tensor";
      case 2: return "same";
      case 3: return std::string(1 + below(300), 'k');
      case 4: return "\xed\xa0\x80";  // a surrogate, which pickles hold
      case 5: return "netcl-ckpt";
      case 6: return "a.b";
      default: return "key" + std::to_string(below(1000));
    }
  }

  Value value(int depth) {
    const std::uint64_t kind = below(depth > 0 ? 12 : 8);
    switch (kind) {
      case 0: return {};
      case 1: return below(2) == 0;
      case 2: return static_cast<std::int64_t>(below(1U << 20));
      case 3: return 1.0 / static_cast<double>(1 + below(1000));
      case 4: return key();
      case 5:
      case 6: return small_tensor(std::vector<std::uint64_t>(below(7), 1));
      case 7: {
        DType dtype;
        dtype.type = ScalarType::structured;
        dtype.item_bytes = 4;
        return below(20) == 0 ? Value(small_tensor({1}, dtype)) : Value(7);  // a structure without fields
      }
      case 8:
      case 9: {
        Value::Items items;
        for (std::uint64_t i = below(8); i > 0; --i) items.push_back(value(depth - 1));
        return kind == 8 ? Value::list(std::move(items)) : Value::tuple(std::move(items));
      }
      default: return dict(depth);
    }
  }

  Value dict(int depth) {
    Value::Entries entries;
    for (std::uint64_t i = below(8); i > 0; --i) entries.emplace_back(key(), value(depth - 1));
    return Value::dict(std::move(entries));
  }

 private:
  std::mt19937 random_;
};

/// True where it was written. Then it must read back the same, under the limits that it was written under.
bool holds(const Value& state, const char* name, const Limits& limits) {
  const TemporaryFolder folder;
  const fs::path path = folder.path / name;
  Checkpoint checkpoint;
  const auto root = state.add_to(checkpoint.tree);
  REQUIRE(root);
  checkpoint.root = *root;
  checkpoint.attributes = checkpoint.tree.add_dict({});
  const std::string wanted = dump(checkpoint.tree, checkpoint.root);
  ConvertOptions options;
  options.limits = limits;
  const auto written = convert(std::move(checkpoint), path, options);
  INFO(name << ": " << message_of(written));
  if (!written) {
    CHECK_FALSE(fs::exists(path));
    CHECK(written.error().code != ErrorCode::internal);
    return false;
  }
  OpenOptions read;
  read.limits = limits;
  const auto back = open_checkpoint(path, read);
  INFO(message_of(back));
  REQUIRE(back);
  CHECK_FALSE(has_error(*back));
  CHECK(dump(back->tree, back->root) == wanted);
  return true;
}

}  // namespace

TEST_CASE("limits: whatever is saved is restored, at every limit and beyond", "[run]") {
  int written = 0, refused = 0;
  for (unsigned seed = 0; seed < 600; ++seed) {
    Random random(seed);
    INFO("seed " << seed);
    const Limits limits = seed % 3 == 0 ? Limits() : random.limits();
    const Value state = random.dict(1 + static_cast<int>(random.below(5)));
    (holds(state, kNames[seed % kNames.size()], limits) ? written : refused)++;
  }
  CHECK(written > 100);
  CHECK(refused > 100);
}

TEST_CASE("limits: a file's own size speaks for the values in it", "[run]") {
  const TemporaryFolder folder;
  Checkpoint state;
  const auto root =
      Value::dict(
          {{"loss", history(1'300'000)}, {"epoch", 7}, {"sampler", Value::tuple({1, 2})}, {"w", small_tensor({1})}})
          .add_to(state.tree);
  REQUIRE(root);
  state.root = *root;
  state.attributes = state.tree.add_dict({});
  fs::path from = folder.path / "state.pkl";
  REQUIRE(convert(std::move(state), from));
  for (const char* name : {"a.npz", "a.safetensors", "a.pkl"}) {
    INFO(name);
    ConvertOptions options;
    options.verify = true;
    const auto done = convert(from, folder.path / name, options);
    INFO(message_of(done));
    REQUIRE(done);
    from = folder.path / name;
    const auto back = open_checkpoint(from);
    REQUIRE(back);
    CHECK(length_of(*back, "loss") == 1'300'000);
    CHECK(length_of(*back, "sampler") == 2);
    CHECK(back->tree.find(back->root, "epoch") != nullptr);
  }
}

TEST_CASE("limits: more than two million small numbers, compressed too", "[run]") {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "state.npz";
  SaveOptions options;
  options.compression = CompressionChoice::best;
  REQUIRE(save_state(Value::dict({{"seen", Value::list(Value::Items(2'300'000, Value(1)))}}), path, options));
  const auto back = open_checkpoint(path);
  REQUIRE(back);
  CHECK_FALSE(has_error(*back));
  CHECK(length_of(*back, "seen") == 2'300'000);
}

TEST_CASE("limits: what deflates to nothing does not speak for many values", "[run]") {
  Limits limits;
  CHECK(limits.max_values_in(0) == limits.max_values);
  CHECK(limits.max_values_in(10'000'000) == 5'000'000);
  CHECK(limits.max_values_in(~std::uint64_t{0}) < (std::uint64_t{1} << 30));
}

TEST_CASE("limits: a run whose history grows can always be restored", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 1;
  options.retention.keep_last = 2;
  auto manager = CheckpointManager::open(folder.path, options);
  REQUIRE(manager);
  for (const std::uint64_t step : {1, 2, 3}) {
    const std::size_t length = 220'000 * step;  // the third is over 8 MiB of JSON
    const auto saved = manager->maybe_save(step, 0, Value::dict({{"loss_history", history(length)}}));
    INFO(message_of(saved));
    REQUIRE(saved);
    const auto back = manager->restore_latest();
    INFO(message_of(back));
    REQUIRE(back);
    REQUIRE(*back);
    CHECK((*back)->info.step == step);
    CHECK(length_of((*back)->checkpoint, "loss_history") == length);
  }
}

TEST_CASE("limits: a name that is not Unicode comes back as it was", "[run]") {
  for (const char* name : {"a.npz", "a.safetensors", "folder/"})
    CHECK(holds(Value::dict({{"\xff", small_tensor({1})}}), name, Limits()));
}

TEST_CASE("limits: what cannot be read back is refused by name, and the old file stays", "[run]") {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "a.npz";
  REQUIRE(save_state(Value::dict({{"w", small_tensor({1})}}), path));
  const std::string before = read_text(path);
  const auto refused = [&](const Value& state) {
    const auto saved = save_state(state, path);
    CHECK_FALSE(saved);
    CHECK(read_text(path) == before);
    return message_of(saved);
  };
  CHECK(refused(Value::dict({{"deep", small_tensor(std::vector<std::uint64_t>(65, 1))}})).find("deep") !=
        std::string::npos);
  CHECK(refused(Value::dict({{"w", small_tensor({1})}, {"w", small_tensor({1})}}))
            .find("two tensors would get this name") != std::string::npos);
  DType without_fields;
  without_fields.type = ScalarType::structured;
  without_fields.item_bytes = 4;
  CHECK(refused(Value::dict({{"record", small_tensor({1}, without_fields)}})).find("record") != std::string::npos);
}

}  // namespace netcl::ckpt
