#include "netcl/ckpt/loaders.h"

#include "archive.h"
#include "catch.h"
#include "netcl/ckpt/save.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

/// What the loaders say against a file: "" if nothing.
std::string answer(const std::filesystem::path& path, std::string_view loaders) {
  VerifyOptions options;
  auto parsed = parse_loaders(loaders);
  REQUIRE(parsed);
  options.loaders = *parsed;
  const auto report = verify(path, options);
  REQUIRE(report);
  std::string out;
  for (const Problem& p : report->problems) {
    if (p.code == ProblemCode::not_for_loader) out += (out.empty() ? "" : "\n") + p.message;
  }
  CHECK(report->sound() == out.empty());
  return out;
}

std::string torch_zip(const std::string& pickle) {
  return zip_of({{"a/data.pkl", pickle, {}}, {"a/version", "3\n", {}}});
}

}  // namespace

TEST_CASE("parse_loaders: names, versions, and what is none", "[report]") {
  const auto loaders = parse_loaders("torch,numpy=1.26,torch=2.6.1,torch");
  REQUIRE(loaders);
  REQUIRE(loaders->size() == 3);  // the last is there already
  CHECK(to_string((*loaders)[0]) == "torch 2.11");
  CHECK(to_string((*loaders)[1]) == "numpy 1.26");
  CHECK(to_string((*loaders)[2]) == "torch 2.6");
  for (const char* text : {"", "torch,", "tensorflow", "torch=", "torch=new", "torch=2.x", "torch 2.6"}) {
    INFO(text);
    const auto refused = parse_loaders(text);
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::invalid_argument);
  }
  CHECK(parse_loaders("tensorflow").error().message ==
        "'tensorflow' is no loader that is known here: torch, numpy, safetensors, transformers, netcl are");
}

TEST_CASE("verify: each loader takes its own format", "[report]") {
  const TemporaryFolder folder;
  std::vector<float> values(6, 1.5F);
  const Value state = Value::dict({{"w", host_target(values, {values.size()})}});
  for (const char* name : {"a.npz", "a.pt", "a.safetensors"}) REQUIRE(save_state(state, folder / name));
  CHECK(answer(folder / "a.npz", "numpy,netcl,numpy=1.10") == "");
  CHECK(answer(folder / "a.npz", "torch").starts_with("torch 2.11: file in archive is not in a subdirectory: "));
  CHECK(answer(folder / "a.pt", "torch,torch=1.13,transformers,netcl") == "");
  CHECK(answer(folder / "a.pt", "torch=1.3") == "torch 1.3: it knows no zip archives, which came with 1.4");
  CHECK(answer(folder / "a.pt", "numpy,safetensors") ==
        "numpy 2.5: no arrays: it gives the archive's members as bytes\n"
        "safetensors 0.8: Error while deserializing header: header too large");
  CHECK(answer(folder / "a.safetensors", "safetensors") == "");
  CHECK(answer(folder / "a.safetensors", "numpy=1.10") == "numpy 1.10: Failed to interpret the file as a pickle");
}

TEST_CASE("verify: weights_only counts from torch 2.6 on", "[report]") {
  const TemporaryFolder folder;
  // A dict of the name itself, which is never called.
  const auto named =
      folder.write("named.pt", torch_zip("\x80\x02}X\x01" + std::string("\0\0\0", 3) + "kcnumpy\ndtype\ns."));
  CHECK(answer(named, "torch=2.5") == "");
  CHECK(answer(named, "torch=2.6") ==
        "torch 2.6: weights_only refuses numpy.dtype: it is not an allowed global by default");
  const auto framed = folder.write("framed.pt", torch_zip("\x80\x04}."));
  CHECK(answer(framed, "torch") == "");  // PROTO alone is no reason
  const auto newer = folder.write("newer.pt", torch_zip("\x80\x04]\x94."));
  CHECK(answer(newer, "torch") == "torch 2.11: weights_only: Unsupported operand 148, of a pickle of protocol 4 or 5");
  const auto dtype =
      folder.write("dtype.pt", torch_zip("\x80\x02}X\x01" + std::string("\0\0\0", 3) + "kctorch\nfloat8_e5m2\ns."));
  CHECK(answer(dtype, "torch=2.1,torch=2.11") == "");
  CHECK(answer(dtype, "torch=2.0") == "torch 2.0: it has no torch.float8_e5m2, which came with 2.1");
}

}  // namespace netcl::ckpt
