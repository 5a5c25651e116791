#include "netcl/ckpt/convert.h"

#include <algorithm>

#include "catch.h"
#include "netcl/ckpt/format.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

Tensor ones() { return tensor_of(std::vector<float>{1, 1}, ScalarType::float32); }

/// {'w': tensor, 'args': an object of an unknown class}, with the problem that a reader reports for it.
Checkpoint with_object(Severity severity) {
  Checkpoint c = checkpoint_of({{"w", ones()}});
  const auto own = c.tree.entries(c.root);
  std::vector<Tree::Entry> entries(own.begin(), own.end());
  const ValueId key = c.tree.add_string("args");
  entries.push_back({key, c.tree.add_opaque("proj.Config", {})});
  c.root = c.tree.add_dict(entries);
  c.problems.push_back({severity == Severity::unsafe ? "unsafe-global" : "foreign-global", severity, "data.pkl",
                        std::nullopt, "proj.Config (not executed)", "proj.Config"});
  return c;
}

}  // namespace

TEST_CASE("convert: a value of an unknown class is left out and named, unless that is refused", "[ops]") {
  const TemporaryFolder folder;
  const auto out = folder.path / "out.npz";
  ConvertOptions options;
  options.replace = true;
  const auto report = convert(with_object(Severity::error), out, options);
  REQUIRE(report);
  REQUIRE(report->left_out.size() == 1);
  CHECK(report->left_out[0].name == "args");
  CHECK(report->left_out[0].what == "proj.Config");
  CHECK(report->num_tensors == 1);
  CHECK_FALSE(convert(with_object(Severity::unsafe), out, options));
  options.drop_unsafe = true;
  CHECK(convert(with_object(Severity::unsafe), out, options));
  options.strict = true;
  CHECK_FALSE(convert(with_object(Severity::error), out, options));
}

TEST_CASE("convert: a selected member that cannot be read is an error that names it", "[ops]") {
  const TemporaryFolder folder;
  Checkpoint c = checkpoint_of({{"w", ones()}});
  c.format = Format::npz;
  c.problems.push_back({"corrupt", Severity::error, "bad.npy", std::nullopt, "no header", ""});
  ConvertOptions options;
  const auto refused = convert(c, folder.path / "out.npz", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("'bad'") != std::string::npos);
  options.exclude = {"bad"};
  CHECK(convert(c, folder.path / "out.npz", options));
}

TEST_CASE("convert: a part becomes the whole, and safetensors says its format", "[ops]") {
  const TemporaryFolder folder;
  const auto out = folder.path / "out.safetensors";
  ConvertOptions options;
  options.root = "state_dict";
  options.verify = true;  // which passes over the word that was added
  REQUIRE(convert(checkpoint_of({{"state_dict.fc.w", ones()}, {"ema.w", ones()}}), out, options));
  const auto back = read_checkpoint(out);
  REQUIRE(back);
  CHECK(back->tree.find(back->root, "fc.w") != nullptr);
  CHECK(back->tree.entries(back->root).size() == 1);
  CHECK(dump(back->tree, back->attributes) == "{'format': 'pt'}");
  options.root = "model";
  options.replace = true;
  CHECK_FALSE(convert(checkpoint_of({{"w", ones()}}), out, options));
}

TEST_CASE("convert: an overflow counts once, however often the writer reads", "[ops]") {
  const TemporaryFolder folder;
  std::vector<float> values(700'000);
  std::fill(values.begin() + 523'000, values.begin() + 524'000, 1e6F);
  ConvertOptions options;
  options.dtype = ScalarType::float16;
  options.compression = CompressionChoice::best;
  const auto report =
      convert(checkpoint_of({{"w", tensor_of(values, ScalarType::float32)}}), folder.path / "o.npz", options);
  REQUIRE(report);
  CHECK(report->overflows == 1000);
}

}  // namespace netcl::ckpt
