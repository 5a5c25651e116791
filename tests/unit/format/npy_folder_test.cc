#include "format/npy_folder.h"

#include "catch.h"
#include "netcl/ckpt/convert.h"
#include "sample.h"

using namespace netcl::ckpt;

TEST_CASE("npy_folder: file names are the tensors' names, and lead back to them", "[format]") {
  struct Case {
    std::string_view name;
    const char* file;
  };
  const std::vector<Case> cases = {
      {"model.0.weight", "model.0.weight.npy"},
      {"1:weight", "1:weight.npy"},
      {"größe", "größe.npy"},
      {"", "%.npy"},
      {"%", "%25.npy"},
      {"a/b", "a%2Fb.npy"},
      {"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.npy"},
      {".hidden", "%2Ehidden.npy"},
      {"a b\n\x1b[31m", "a%20b%0A%1B[31m.npy"},
  };
  for (const Case& c : cases) {
    CHECK(npy_file_name(c.name) == c.file);
    CHECK(npy_tensor_name(c.file) == c.name);
  }
  for (const char* stranger : {"a.txt", "npy", "a%2.npy", "a%.npy", "a%zz.npy", "a%2f.npy", "__netcl_ckpt__.json"})
    CHECK_FALSE(npy_tensor_name(stranger));
}

TEST_CASE("npy_folder: written by convert, read as one checkpoint, replaced only where it is one", "[format]") {
  const TemporaryFolder folder;
  const auto place = folder.path / "state";
  auto state = [] {
    return checkpoint_of({{"z", tensor_of<float>({1, 2}, ScalarType::float32)},
                          {"a/b", tensor_of<std::uint8_t>({7}, ScalarType::uint8)}});
  };
  ConvertOptions options;
  options.verify = true;
  const auto report = convert(state(), place / "", options);
  REQUIRE(report);
  CHECK(report->format == Format::npy_folder);
  CHECK(std::filesystem::exists(place / "a%2Fb.npy"));
  CHECK(folder.num_files() == 1);  // no temporary is left

  const auto back = open_checkpoint(place);
  REQUIRE(back);
  CHECK(back->problems.empty());
  CHECK(dump(back->tree, back->root) == dump(state().tree, state().root));

  CHECK_FALSE(convert(state(), place, options));
  options.replace = true;
  CHECK(convert(state(), place, options));
  std::filesystem::create_directory(folder.path / "other");
  write_text(folder.path / "other/x", "precious");
  CHECK_FALSE(convert(state(), folder.path / "other", options));
  CHECK(read_text(folder.path / "other/x") == "precious");
}

TEST_CASE("npy_folder: damage to one file is that file's problem", "[format][hostile]") {
  const TemporaryFolder folder;
  const auto place = folder.path / "state";
  const auto state = checkpoint_of(
      {{"a", tensor_of<float>({1, 2}, ScalarType::float32)}, {"b", tensor_of<float>({3}, ScalarType::float32)}});
  REQUIRE(convert(state, place / "", {}));
  const std::string whole = read_text(place / "a.npy");
  for (const std::size_t size : {std::size_t{0}, std::size_t{9}, std::size_t{60}, whole.size() - 1}) {
    write_text(place / "a.npy", whole.substr(0, size));
    const auto back = open_checkpoint(place);
    REQUIRE(back);
    CHECK_FALSE(back->problems.empty());
    CHECK(list_tensors(*back)->size() == 1);
  }
  write_text(place / "__netcl_ckpt__.json", "{\"netcl-ckpt\":1");
  const auto back = open_checkpoint(place);
  REQUIRE(back);
  CHECK(back->problems.back().code == ProblemCode::bad_structure);
}
