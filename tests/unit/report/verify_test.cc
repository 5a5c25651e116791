#include "netcl/ckpt/verify.h"

#include "catch.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/netcl.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/save.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

/// A file on a disk with a bad sector at one of its bytes.
class BadDisk final : public ByteSource {
 public:
  BadDisk(const std::string& bytes, std::size_t bad)
      : whole_(memory_source({std::as_bytes(std::span(bytes)).begin(), std::as_bytes(std::span(bytes)).end()}, "disk")),
        bad_(bad) {}
  std::uint64_t size_bytes() const override { return whole_->size_bytes(); }
  const std::string& name() const override { return whole_->name(); }
  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    if (offset_bytes > bad_ || offset_bytes + dst.size() <= bad_) return whole_->read_at(offset_bytes, dst);
    Error e;
    e.code = ErrorCode::io;
    e.message = "Input/output error";
    return tl::make_unexpected(std::move(e));
  }

 private:
  SourcePtr whole_;
  std::size_t bad_;
};

}  // namespace

TEST_CASE("verify: an I/O error is no finding, wherever it strikes", "[report]") {
  const TemporaryFolder folder;
  std::vector<float> values(1000, 1.5F);
  Value::Items items(20'000, Value("a long text so that the structure becomes a member"));
  const Value state =
      Value::dict({{"w", host_target(values, {values.size()})}, {"texts", Value::list(std::move(items))}});
  for (const char* name : {"a.npz", "a.pt", "a.safetensors", "a.pkl"}) {
    INFO(name);
    REQUIRE(save_state(state, folder.path / name));
    const std::string bytes = read_text(folder.path / name);
    for (std::size_t i = 0; i < 40; ++i) {
      const auto disk = std::make_shared<BadDisk>(bytes, bytes.size() * i / 40);
      const auto report = verify(disk, folder.path / name);
      if (report) {
        CHECK(report->sound());  // the byte lies where nobody reads
      } else {
        CHECK(report.error().code == ErrorCode::io);
      }
    }
  }
}

TEST_CASE("verify: an I/O error in a payload is no finding, and inspect says so", "[report]") {
  const TemporaryFolder folder;
  std::vector<float> values(100'000, 1.5F);
  REQUIRE(save_params(std::vector<Parameter>{{"w", host_target(values, {values.size()})}}, folder.path / "a.npz"));
  const std::string bytes = read_text(folder.path / "a.npz");
  const auto disk = std::make_shared<BadDisk>(bytes, bytes.size() / 2);
  const auto verified = verify(disk, "a.npz");
  REQUIRE_FALSE(verified);
  CHECK(verified.error().code == ErrorCode::io);
  CHECK(verified.error().member == "w.npy");
  const auto opened = open_checkpoint(disk, "a.npz");
  REQUIRE(opened);
  InspectOptions options;
  options.hash = true;
  const auto inspected = inspect(*opened, options);
  REQUIRE(inspected);
  REQUIRE(inspected->problems.size() == 1);
  CHECK(inspected->problems[0].code == ProblemCode::io);
}

TEST_CASE("verify: many files at once are reported in their order, each once", "[report]") {
  const TemporaryFolder folder;
  std::vector<std::string> paths;
  for (int i = 0; i < 60; ++i) {
    std::vector<float> values(static_cast<std::size_t>(i % 7 == 0 ? 1 << 16 : 4), 1.5F);
    paths.push_back((folder.path / (std::to_string(i) + ".npz")).string());
    if (i % 11 == 3) continue;  // missing
    const std::vector<Parameter> parameters = {{"w", host_target(values, {values.size()})}};
    REQUIRE(save_params(parameters, paths.back()));
    if (i % 11 == 5) {
      std::string bytes = read_text(paths.back());
      bytes[bytes.find(std::string("\0\0\xc0\x3f", 4))] ^= 1;  // 1.5
      write_text(paths.back(), bytes);
    }
  }
  for (const unsigned jobs : {1U, 4U, 100U}) {
    VerifyOptions options;
    options.run.jobs = jobs;
    std::size_t next = 0;
    const auto all = verify_all(paths, options, [&](const std::string& path, Result<VerifyReport> report) {
      REQUIRE(path == paths.at(next));
      REQUIRE(report.has_value() == (next % 11 != 3));
      if (report) REQUIRE(report->sound() == (next % 11 != 5));
      ++next;
    });
    REQUIRE(all);
    CHECK(next == paths.size());
  }
  CHECK(verify_all({}, {}, [](const std::string&, const Result<VerifyReport>&) { FAIL("there is no file"); }));
  const std::string nowhere[] = {"/nowhere/a.npz", "/nowhere/b.npz"};
  const auto thrown = verify_all(nowhere, {}, [](const std::string&, const Result<VerifyReport>&) { throw 1; });
  REQUIRE_FALSE(thrown);
  CHECK(thrown.error().code == ErrorCode::internal);
}

}  // namespace netcl::ckpt
