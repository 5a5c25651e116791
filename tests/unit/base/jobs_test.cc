#include "base/jobs.h"

#include <mutex>

#include "catch.h"

using namespace netcl::ckpt;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

}  // namespace

TEST_CASE("jobs: the costliest first, equal ones in order, each once", "[base]") {
  const std::vector<std::uint64_t> costs = {kMiB, 3 * kMiB, 2 * kMiB, 3 * kMiB, 0};
  std::vector<std::size_t> order;
  REQUIRE(run_jobs({.jobs = 1}, costs, [&] { return [&](std::size_t i) { order.push_back(i); }; }));
  CHECK(order == std::vector<std::size_t>{1, 3, 2, 0, 4});

  std::mutex mutex;
  std::vector<int> done(costs.size());
  REQUIRE(run_jobs({.jobs = 4}, costs, [&] {
    return [&](std::size_t i) {
      const std::lock_guard held(mutex);
      ++done[i];
    };
  }));
  CHECK(done == std::vector<int>(costs.size(), 1));
}

TEST_CASE("jobs: progress says all bytes at the end, and nothing is called once it is cancelled", "[base]") {
  const std::vector<std::uint64_t> costs(10, kMiB);
  std::atomic<bool> stop = false;
  std::uint64_t last = 0;
  std::size_t calls = 0;
  Run run;
  run.jobs = 1;
  run.progress = [&](std::uint64_t done, std::uint64_t total) {
    CHECK(total == 10 * kMiB);
    last = done;
  };
  const auto make_worker = [&] {
    return [&](std::size_t) {
      if (++calls == 3) stop = true;
    };
  };
  REQUIRE(run_jobs(run, costs, make_worker));
  CHECK(last == 10 * kMiB);

  stop = false;
  calls = 0;
  run.cancel = &stop;
  const auto stopped = run_jobs(run, costs, make_worker);
  REQUIRE(!stopped);
  CHECK(stopped.error().code == ErrorCode::cancelled);
  CHECK(calls == 3);
}
