#include "netcl/ckpt/verify.h"

#include "catch.h"
#include "netcl/ckpt/save.h"
#include "sample.h"

namespace netcl::ckpt {

TEST_CASE("verify: many files at once are reported in their order, each once", "[ops]") {
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
    options.jobs = jobs;
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
