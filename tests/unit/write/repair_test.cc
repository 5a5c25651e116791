#include "netcl/ckpt/repair.h"

#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

/// Two tensors and a number, which an npz of ours keeps in the archive's comment.
fs::path write_checkpoint(const fs::path& path) {
  Checkpoint c = checkpoint_of(
      {{"a", tensor_of<float>({1, 2}, ScalarType::float32)}, {"b", tensor_of<float>({3, 4}, ScalarType::float32)}});
  std::vector<Tree::Entry> entries(c.tree.entries(c.root).begin(), c.tree.entries(c.root).end());
  const ValueId key = c.tree.add_string("epoch");
  entries.push_back({key, c.tree.add_integer(7)});
  c.root = c.tree.add_dict(entries);
  REQUIRE(convert(std::move(c), path));
  return path;
}

SourcePtr open(const fs::path& path) {
  auto source = open_file(path);
  REQUIRE(source);
  return *source;
}

}  // namespace

TEST_CASE("repair: values that are no arrays stay with the arrays that are whole", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = write_checkpoint(folder.path / "in.npz"), out = folder.path / "out.npz";
  std::string bytes = read_text(in);
  bytes[bytes.find(le<float>(4))] ^= 1;
  write_text(in, bytes);
  const auto report = repair(open(in), out);
  REQUIRE(report);
  CHECK(report->kept == std::vector<std::string>{"a.npy"});
  REQUIRE(report->lost.size() == 1);
  CHECK(report->lost[0].member == "b.npy");
  CHECK_FALSE(report->end_lost);
  CHECK_FALSE(report->complete());
  CHECK(verify(out)->sound());
  const auto back = open_checkpoint(out);
  REQUIRE(back);
  CHECK(dump(back->tree, back->root) == "{'a': <tensor float32 (2) 0000803f00000040>, 'epoch': 7}");
}

TEST_CASE("repair: never writes over what it reads, by whatever name", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = write_checkpoint(folder.path / "in.npz");
  fs::create_symlink(in, folder.path / "link.npz");
  fs::create_hard_link(in, folder.path / "same.npz");
  const std::string before = read_text(in);
  RepairOptions options;
  options.replace = true;
  for (const char* out : {"in.npz", "link.npz", "same.npz"}) {
    const auto report = repair(open(in), folder.path / out, options);
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::invalid_argument);
  }
  CHECK(read_text(in) == before);
}

TEST_CASE("repair: leaves nothing where it is stopped or nothing is whole", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = write_checkpoint(folder.path / "in.npz"), out = folder.path / "out.npz";
  std::atomic<bool> stop = false;
  RepairOptions options;
  options.run.cancel = &stop;
  std::atomic<bool> within = true;  // Catch's assertions are for one thread
  options.run.progress = [&](std::uint64_t done, std::uint64_t total) {
    if (done == 0 || done > total) within = false;
    stop = true;
  };
  auto report = repair(open(in), out, options);
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::cancelled);
  CHECK(stop);
  CHECK(within);
  write_text(in, read_text(in).substr(0, 100));
  report = repair(open(in), out);
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::corrupt);
  write_text(in, "no archive");
  report = repair(open(in), out);
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::unsupported);
  CHECK(folder.num_files() == 1);
}

TEST_CASE("repair: a torch pickle that still parses is kept though its CRC is wrong", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = folder.path / "in.pt", out = folder.path / "out.pt";
  REQUIRE(convert(checkpoint_of({{"layer_a", tensor_of<float>({1, 2}, ScalarType::float32)}}), in));
  std::string bytes = read_text(in);
  bytes[bytes.find("layer_a")] = 'm';
  write_text(in, bytes);
  const auto report = repair(open(in), out);
  REQUIRE(report);
  CHECK(report->lost.empty());
  REQUIRE(report->doubtful.size() == 1);
  CHECK(report->num_tensors == 1);
  CHECK_FALSE(report->complete());
  const auto back = open_checkpoint(out);
  REQUIRE(back);
  CHECK((*list_tensors(*back))[0].name == "mayer_a");
  CHECK(verify(out)->sound());
}

TEST_CASE("repair: without a pickle there is no tensor, and it is said", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = folder.path / "in.pt", out = folder.path / "out.pt";
  REQUIRE(convert(checkpoint_of({{"layer_a", tensor_of<float>({1, 2}, ScalarType::float32)}}), in));
  std::string bytes = read_text(in);
  const std::size_t at = bytes.find("layer_a");
  for (std::size_t i = at - 4; i < at + 20; ++i) bytes[i] = '\0';
  write_text(in, bytes);
  const auto report = repair(open(in), out);
  REQUIRE(report);
  CHECK(report->num_tensors == 0);
  CHECK_FALSE(report->complete());
}

TEST_CASE("repair: safetensors keep the tensors that are whole, and the format", "[write]") {
  const TemporaryFolder folder;
  const fs::path in = folder.path / "in.safetensors", out = folder.path / "out.safetensors";
  REQUIRE(convert(checkpoint_of({{"a", tensor_of<float>({1, 2}, ScalarType::float32)},
                                 {"b", tensor_of<float>({3, 4}, ScalarType::float32)}}),
                  in));
  const std::string whole = read_text(in);
  RepairOptions again;
  again.replace = true;

  write_text(in, whole + "rest");
  CHECK_FALSE(verify(in)->sound());
  CHECK(verify(in)->repairable);
  auto report = repair(open(in), out, again);
  REQUIRE(report);
  CHECK(report->complete());
  CHECK(report->format == Format::safetensors);
  CHECK(verify(out)->problems.empty());
  CHECK(verify(out)->num_tensors == 2);

  write_text(in, whole.substr(0, whole.size() - 1));
  report = repair(open(in), out, again);
  REQUIRE(report);
  CHECK(report->kept == std::vector<std::string>{"a"});
  REQUIRE(report->lost.size() == 1);
  CHECK(report->lost[0].member == "b");
  CHECK_FALSE(report->complete());
  CHECK(verify(out)->sound());

  write_text(in, whole.substr(0, whole.size() - 16));
  REQUIRE_FALSE(repair(open(in), out, again));
  write_text(in, whole.substr(0, 40));
  REQUIRE_FALSE(repair(open(in), out, again));

  // The name says what is in it.
  write_text(in, whole + "rest");
  report = repair(open(in), folder.path / "out.npz");
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::invalid_argument);
  report = repair(open(write_checkpoint(folder.path / "in.npz")), folder.path / "zip.safetensors");
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::invalid_argument);
}

}  // namespace netcl::ckpt
