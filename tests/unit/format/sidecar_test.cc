#include <filesystem>
#include <fstream>

#include "catch.h"
#include "format/readers.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

/// A checkpoint with arrays of these shapes and, once read, the sidecar of `npz` in `folder`.
Checkpoint with_sidecar(const std::filesystem::path& npz, const std::vector<std::vector<std::uint64_t>>& shapes) {
  Checkpoint c;
  c.attributes = c.tree.add_dict({});
  std::vector<Tree::Entry> arrays;
  for (const auto& shape : shapes) {
    Tensor t;
    t.dtype = make_dtype(ScalarType::float32);
    t.shape = shape;
    t.strides = c_strides(shape);
    const ValueId name = c.tree.add_string("p" + std::to_string(arrays.size()));
    arrays.push_back({name, c.tree.add_tensor(t)});
  }
  c.root = c.tree.add_dict(arrays);
  read_sidecar(npz, OpenOptions{}, c);
  return c;
}

std::string codes(const Checkpoint& c) {
  std::string out;
  for (const Problem& p : c.problems) out += std::string(out.empty() ? "" : " ") + to_string(p.code);
  return out;
}

}  // namespace

TEST_CASE("sidecar: config and optim_state become attributes", "[format]") {
  TemporaryFolder folder;
  folder.write("iter.json", R"({"optim_state": {"t": 8, "moments": [[[1.0, 2.0], [3.0, NaN]]]}, "config": {"lr": 1}})");
  const auto c = with_sidecar(folder / "iter.npz", {{2}, {3, 3}});
  CHECK(codes(c).empty());
  REQUIRE(c.tree.entries(c.attributes).size() == 2);
  const auto* config = c.tree.find(c.attributes, "config");
  REQUIRE(config != nullptr);
  CHECK(c.tree.integer(c.tree.find(config->value, "lr")->value) == 1);
}

TEST_CASE("sidecar: none is nothing", "[format]") {
  TemporaryFolder folder;
  std::filesystem::create_directory(folder / "folder.json");
  for (const char* name : {"iter.npz", "folder.npz", "iter", "iter.netcl"}) {
    CAPTURE(name);
    const auto c = with_sidecar(folder / name, {});
    CHECK(codes(c).empty());
    CHECK(c.tree.entries(c.attributes).empty());
  }
}

TEST_CASE("sidecar: what a sidecar can be, and what is said of it", "[format][hostile]") {
  struct Row {
    std::string text, codes;
    Severity severity;
    std::optional<std::uint64_t> offset_bytes;
  };
  const Row rows[] = {
      {R"({"optim_state": {"t": 8, "moments": [[)", "torn-pair", Severity::error, 38},
      {"", "torn-pair", Severity::error, 0},
      {std::string(512, '\0'), "torn-pair", Severity::error, 0},
      {R"({"config": {"lr": 1}} x)", "torn-pair", Severity::error, 22},
      {R"({"config": {}, "config": {}})", "torn-pair", Severity::error, 23},
      {"[1, 2]", "foreign-sidecar", Severity::warning, {}},
      {R"({"epochs": 3})", "foreign-sidecar", Severity::warning, {}},
      {std::string(300'000, '['), "sidecar-unread", Severity::warning, 200'001},
      {R"({"config": {}})", "", {}, {}},
      {R"({"type": "Sequential", "layers": []})", "", {}, {}},
      // Arrays beside it: one of (2,) and one of (3, 1).
      {R"({"optim_state": {"velocity": [[1, 2], [[1], [2], [3]]]}})", "", {}, {}},
      {R"({"optim_state": {"velocity": [[[1], [2], [3]]]}})", "", {}, {}},
      {R"({"optim_state": {"velocity": []}})", "", {}, {}},
      {R"({"optim_state": {"velocity": [[1, 2], [1, 2]]}})", "sidecar-mismatch", Severity::error, {}},
      {R"({"optim_state": {"moments": [[[1, 2, 3], [1, 2, 3]]]}})", "sidecar-mismatch", Severity::error, {}},
      {R"({"optim_state": {"shadow": [[[1, 2, 3]]]}})", "sidecar-mismatch", Severity::error, {}},
      {R"({"optim_state": {"moments": ["array"], "velocity": [[9]]}})", "", {}, {}},
      {R"({"optim_state": {"moments": [[]]}})", "", {}, {}},
      {R"({"optim_state": []})", "", {}, {}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text.substr(0, 60));
    TemporaryFolder folder;
    folder.write("a.json", row.text);
    const auto c = with_sidecar(folder / "a.npz", {{2}, {3, 1}});
    REQUIRE(codes(c) == row.codes);
    if (c.problems.empty()) continue;
    CHECK(to_string(c.problems[0].severity) == std::string(to_string(row.severity)));
    CHECK(c.problems[0].offset_bytes == row.offset_bytes);
    CHECK(c.problems[0].where == "a.json");
    CHECK(c.problems[0].message.find("a.") != std::string::npos);
  }
}

TEST_CASE("sidecar: the name that netcl shortens counts only where it is plausible", "[format]") {
  struct Row {
    const char *present, *text;
    bool other_npz, found;
  };
  const char* const netcl = R"({"optim_state": {}, "config": {"lr": 1}})";
  for (const Row& row : {Row{"run.v2.json", netcl, true, true}, Row{"run.json", netcl, false, true},
                         Row{"run.json", netcl, true, false}, Row{"run.json", R"({"config": {}})", false, false},
                         Row{"run.json", "", false, false}, Row{"v2.json", netcl, false, false}}) {
    CAPTURE(row.present, row.text, row.other_npz);
    TemporaryFolder folder;
    folder.write(row.present, row.text);
    if (row.other_npz) folder.write("run.npz", "");
    const auto c = with_sidecar(folder / "run.v2.npz", {});
    CHECK((c.tree.find(c.attributes, "config") != nullptr) == row.found);
    CHECK(codes(c) == (row.found && row.present == std::string("run.json") ? "shared-sidecar" : ""));
  }
}
