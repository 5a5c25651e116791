#include "catch.h"
#include "netcl/ckpt.h"
#include "sample.h"

using namespace netcl::ckpt;

TEST_CASE("reports: each that takes time tells how far it is, and ends once it is cancelled", "[report]") {
  const TemporaryFolder folder;
  const std::vector<float> values(1 << 20, 1.5F), others(1 << 20, 2.5F);
  const auto a = folder / "a.npz", b = folder / "b.npz";
  REQUIRE(save_state({{"u", values}, {"v", values}}, a));
  REQUIRE(save_state({{"u", others}, {"v", others}}, b));
  const Checkpoint one = open_checkpoint(a).value(), two = open_checkpoint(b).value();

  const std::atomic<bool> stop = true;
  std::uint64_t done_bytes = 0, total_bytes = 0;
  Run stopped, watched;
  stopped.cancel = &stop;
  watched.jobs = 1;
  watched.progress = [&](std::uint64_t done, std::uint64_t total) {
    done_bytes = std::max(done_bytes, done);
    total_bytes = total;
  };
  const auto check = [&](const char* what, const auto& call) {
    INFO(what);
    const auto refused = call(stopped);
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::cancelled);
    done_bytes = total_bytes = 0;
    CHECK(call(watched));
    CHECK(total_bytes > 0);
    CHECK(done_bytes == total_bytes);
  };
  check("verify", [&](const Run& run) {
    VerifyOptions options;
    options.run = run;
    return verify(a, options);
  });
  check("diff", [&](const Run& run) {
    DiffOptions options;
    options.run = run;
    return diff(one, two, options);
  });
  check("inspect", [&](const Run& run) {
    InspectOptions options;
    options.hash = true;
    options.run = run;
    return inspect(one, options);
  });
  check("create_manifest", [&](const Run& run) {
    ManifestOptions options;
    options.run = run;
    return create_manifest({{a}}, folder.path, options);
  });
  const Manifest manifest = create_manifest({{a}}, folder.path).value();
  check("check_manifest", [&](const Run& run) {
    ManifestOptions options;
    options.run = run;
    return check_manifest(manifest, folder.path, options);
  });
}
