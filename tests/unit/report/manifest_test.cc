#include "netcl/ckpt/manifest.h"

#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/convert.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

void write_checkpoint(const fs::path& path, std::vector<float> a, std::vector<float> b, bool compress = false) {
  ConvertOptions options;
  options.replace = true;
  if (compress) options.compression = CompressionChoice::fast;
  REQUIRE(convert(
      checkpoint_of({{"a", tensor_of<float>(a, ScalarType::float32)}, {"b", tensor_of<float>(b, ScalarType::float32)}}),
      path, options));
}

Manifest create(const fs::path& folder) {
  auto manifest = create_manifest({folder}, folder);
  INFO((manifest ? "" : manifest.error().to_string()));
  REQUIRE(manifest);
  return std::move(*manifest);
}

/// "path: tensor: message" of each finding.
std::vector<std::string> check(const Manifest& manifest, const fs::path& folder) {
  const auto report = check_manifest(manifest, folder);
  REQUIRE(report);
  std::vector<std::string> out;
  for (const ManifestFinding& f : report->findings) out.push_back(f.path + ": " + f.tensor + ": " + f.message);
  return out;
}

void flip(const fs::path& path, std::string_view where) {
  std::string bytes = read_text(path);
  const auto at = bytes.find(where);
  REQUIRE(at != bytes.npos);
  bytes[at] ^= 1;
  write_text(path, bytes);
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("manifest: names the damaged tensor", "[report]") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path / "m.npz", {1, 2}, {3, 4});
  write_checkpoint(folder.path / "m.safetensors", {1, 2}, {3, 4});
  write_text(folder.path / "notes.txt", "hello");
  write_text(folder.path / ".hidden", "x");
  const Manifest manifest = create(folder.path);
  REQUIRE(manifest.files.size() == 3);
  CHECK(manifest.files[0].identity == manifest.files[1].identity);
  CHECK(manifest.files[2].format == "");
  CHECK(check(manifest, folder.path) == Lines{});

  flip(folder.path / "m.npz", le<float>(4));          // a CRC tells
  flip(folder.path / "m.safetensors", le<float>(2));  // nothing else would
  write_text(folder.path / "notes.txt", "hallo");
  const Lines found = check(manifest, folder.path);
  REQUIRE(found.size() == 3);
  CHECK(found[0].starts_with("m.npz: b: it is damaged: CRC-32"));
  CHECK(found[1] == "m.safetensors: a: its values changed");
  CHECK(found[2] == "notes.txt: : its bytes changed");
}

TEST_CASE("manifest: tells a repacked file from a changed one", "[report]") {
  const TemporaryFolder folder;
  const fs::path path = folder.path / "m.npz";
  write_checkpoint(path, std::vector<float>(1000), {3, 4});
  const Manifest manifest = create(folder.path);
  write_checkpoint(path, std::vector<float>(1000), {3, 4}, true);
  REQUIRE(check(manifest, folder.path).size() == 1);
  CHECK(check(manifest, folder.path)[0].ends_with("; all tensors are the same"));
  write_checkpoint(path, std::vector<float>(999), {3, 4});
  CHECK(check(manifest, folder.path) == Lines{"m.npz: a: its dtype or shape changed"});
  write_text(path, read_text(path).substr(0, 100));
  REQUIRE(check(manifest, folder.path).size() == 1);
  CHECK(
      check(manifest, folder.path)[0].starts_with("m.npz: : it cannot be opened any more: the zip has no end record"));
  fs::remove(path);
  CHECK(check(manifest, folder.path) == Lines{"m.npz: : it is missing"});
}

TEST_CASE("manifest: comes back from its JSON", "[report]") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path / "a \"b\"\n.npz", {1}, {});
  const Manifest manifest = create(folder.path);
  const std::string text = to_json(manifest);
  write_text(folder.path / "x.manifest.json", text);
  const auto again = read_manifest(folder.path / "x.manifest.json");
  REQUIRE(again);
  CHECK(to_json(*again) == text);
  CHECK(create(folder.path).files.size() == 1);  // manifests are not in manifests
}

TEST_CASE("manifest: of a checkpoint with a tensor that has no hash comes back, too", "[report]") {
  const TemporaryFolder folder;
  constexpr std::string_view kArrayOfAnUnknownClass =
      "\x80\x02}(X\x01\0\0\0wcnumpy.core.multiarray\n_reconstruct\n"
      "cnumpy\nnfarray\nK\0\x85U\x01"
      "b\x87Ru."sv;
  write_text(folder.path / "m.pkl", kArrayOfAnUnknownClass);
  const Manifest manifest = create(folder.path);
  REQUIRE(manifest.files.size() == 1);
  REQUIRE(manifest.files[0].tensors.size() == 1);
  CHECK(manifest.files[0].identity == "");
  write_text(folder.path / "all.manifest.json", to_json(manifest));
  CHECK(read_manifest(folder.path / "all.manifest.json"));
}

TEST_CASE("manifest: does not vouch for what is damaged already", "[report]") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path / "m.npz", {1, 2}, {3, 4});
  flip(folder.path / "m.npz", le<float>(4));
  const auto manifest = create_manifest({folder.path}, folder.path);
  REQUIRE_FALSE(manifest);
  CHECK(manifest.error().code == ErrorCode::corrupt);
  CHECK(manifest.error().member == "b.npy");
  CHECK(create_manifest({folder.path / "m.npz"}, folder.path / "below").error().code == ErrorCode::invalid_argument);
  CHECK(create_manifest({folder.path / "none"}, folder.path).error().code == ErrorCode::io);
}

TEST_CASE("manifest: no text stops the reader, and none leads out of its folder", "[report][hostile]") {
  const TemporaryFolder folder;
  write_checkpoint(folder.path / "m.npz", {1, 2}, {3, 4});
  const std::string text = to_json(create(folder.path));
  const fs::path path = folder.path / "x.manifest.json";
  for (std::size_t i = 0; i < text.size(); ++i) {
    write_text(path, text.substr(0, i));
    REQUIRE((!read_manifest(path) || i + 1 == text.size()));  // all but the line's end
    std::string flipped = text;
    flipped[i] ^= 4;
    write_text(path, flipped);
    const auto manifest = read_manifest(path);
    if (!manifest) continue;
    const auto report = check_manifest(*manifest, folder.path);
    REQUIRE(report);
    // The file's own entry comes before those of its tensors, which count where the file's hash does not hold.
    const bool of_the_file = i > text.find("\"path\"") && i < text.find("\"format\"");
    INFO("byte " << i << ": " << flipped);
    CHECK((!report->findings.empty() || !of_the_file));
  }
  for (const char* name : {"", "/etc/passwd", "../x", "a/../../x", "a/.."}) {
    CAPTURE(name);
    std::string moved = text;
    moved.replace(moved.find("m.npz"), 5, name);
    write_text(path, moved);
    CHECK(read_manifest(path).error().code == ErrorCode::corrupt);
  }
}

}  // namespace netcl::ckpt
