#include "netcl/ckpt/convert.h"

#include <algorithm>
#include <limits>

#include "catch.h"
#include "netcl/ckpt/open.h"
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
  c.problems.push_back({severity == Severity::unsafe ? ProblemCode::unsafe_global : ProblemCode::foreign_global,
                        severity, "data.pkl", std::nullopt, "proj.Config (not executed)", "proj.Config"});
  return c;
}

}  // namespace

TEST_CASE("convert: a value of an unknown class is left out and named, unless that is refused", "[write]") {
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

TEST_CASE("convert: a selected member that cannot be read is an error that names it", "[write]") {
  const TemporaryFolder folder;
  Checkpoint c = checkpoint_of({{"w", ones()}});
  c.format = Format::npz;
  c.problems.push_back({ProblemCode::corrupt, Severity::error, "bad.npy", std::nullopt, "no header", ""});
  ConvertOptions options;
  const auto refused = convert(c, folder.path / "out.npz", options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("'bad'") != std::string::npos);
  options.exclude = {"bad"};
  CHECK(convert(c, folder.path / "out.npz", options));
}

TEST_CASE("convert: every damaged tensor is named, not the first alone", "[write]") {
  const TemporaryFolder folder;
  ConvertOptions options;
  options.replace = true;
  REQUIRE(convert(checkpoint_of({{"first", ones()}, {"second", ones()}, {"third", ones()}}), folder.path / "in.npz",
                  options));
  std::string bytes = read_text(folder.path / "in.npz");
  const std::string one("\x00\x00\x80\x3F", 4);
  bytes[bytes.find(one)] ^= 1;
  bytes[bytes.rfind(one)] ^= 1;
  write_text(folder.path / "in.npz", bytes);
  for (const char* name : {"out.npy/", "out.pkl", "out.pt", "out.safetensors"}) {
    INFO(name);
    const auto refused = convert(folder.path / "in.npz", folder.path / name, options);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("'first'") != std::string::npos);
    CHECK(refused.error().message.find("'second'") == std::string::npos);
    CHECK(refused.error().message.find("'third'") != std::string::npos);
  }
}

TEST_CASE("convert: each kind of value reads back from each format as what was written, or is refused by name",
          "[write]") {
  const TemporaryFolder folder;
  Checkpoint c = checkpoint_of({{"w", ones()}});
  Tree& t = c.tree;
  const ValueId parts[] = {t.add_integer(1), t.add_real(2.5), t.add_string("x")};
  const Tree::Entry entry[] = {{t.add_integer(4), t.add_none()}};
  const ValueId values[] = {t.add_none(),
                            t.add_boolean(true),
                            t.add_integer(-7),
                            t.add_big_integer("1208925819614629174706176"),
                            t.add_real(std::numeric_limits<double>::quiet_NaN()),
                            t.add_complex(0, 1),
                            t.add_string("caf\xC3\xA9 \xED\xA0\x80"),
                            t.add_bytes(std::string_view("\0\xFF", 2)),
                            t.add_tensor(tensor_of(std::vector<float>{}, ScalarType::float32)),
                            t.add_scalar(tensor_of(std::vector<double>{2.5}, make_dtype(ScalarType::float64), {})),
                            t.add_name("builtins.dict"),
                            t.add_sequence(ValueKind::list, parts),
                            t.add_sequence(ValueKind::tuple, parts),
                            t.add_sequence(ValueKind::set, parts),
                            t.add_sequence(ValueKind::frozenset, parts),
                            t.add_dict(entry)};
  const auto own = t.entries(c.root);
  std::vector<Tree::Entry> entries(own.begin(), own.end());
  entries.push_back({t.add_string("v"), 0});
  ConvertOptions options;
  options.replace = options.verify = true;
  for (const ValueId value : values) {
    entries.back().value = value;
    c.root = t.add_dict(entries);
    for (const char* name : {"out.npz", "out.pkl", "out.pt", "out.safetensors", "out/"}) {
      INFO(name << ", " << dump(t, value));
      const auto report = convert(c, folder.path / name, options);
      if (report) continue;
      CHECK(report.error().code == ErrorCode::unsupported);
      CHECK(report.error().message.find("read") == std::string::npos);
    }
  }
}

TEST_CASE("convert: a part becomes the whole, and safetensors says its format", "[write]") {
  const TemporaryFolder folder;
  const auto out = folder.path / "out.safetensors";
  ConvertOptions options;
  options.root = "state_dict";
  options.verify = true;  // which passes over the word that was added
  REQUIRE(convert(checkpoint_of({{"state_dict.fc.w", ones()}, {"ema.w", ones()}}), out, options));
  const auto back = open_checkpoint(out);
  REQUIRE(back);
  CHECK(back->tree.find(back->root, "fc.w") != nullptr);
  CHECK(back->tree.entries(back->root).size() == 1);
  CHECK(dump(back->tree, back->attributes) == "{'format': 'pt'}");
  options.root = "model";
  options.replace = true;
  CHECK_FALSE(convert(checkpoint_of({{"w", ones()}}), out, options));
}

TEST_CASE("convert: an overflow counts once, however often the writer reads", "[write]") {
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
