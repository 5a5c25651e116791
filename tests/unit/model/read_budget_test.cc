#include "model/read_budget.h"

#include "bytes.h"
#include "catch.h"

using namespace netcl::ckpt;

TEST_CASE("read_budget: what repeats the same bytes is bounded", "[model][hostile]") {
  constexpr std::uint64_t kMega = std::uint64_t{1} << 20;
  const auto storage = file_storage(source_of("abcd"), 0, 4 * kMega);
  ReadBudget budget(5 * kMega);
  CHECK(budget.take(*storage, 64 * kMega));
  CHECK(budget.take(*storage, 1024 * kMega));
  const auto more = budget.take(*storage, 1);
  REQUIRE_FALSE(more);
  CHECK(more.error().code == ErrorCode::limit_exceeded);
  CHECK_FALSE(ReadBudget(5 * kMega).take(*storage, ~std::uint64_t{0}));
}

TEST_CASE("read_budget: honest files are below it", "[model]") {
  constexpr std::uint64_t kGiga = std::uint64_t{1} << 30;
  std::vector<StoragePtr> storages;
  for (int i = 0; i < 100; ++i) storages.push_back(file_storage(source_of("abcd"), 0, kGiga));
  ReadBudget large(100 * kGiga), memory(0);
  for (const StoragePtr& storage : storages) {
    CHECK(large.take(*storage, kGiga));
    CHECK(large.take(*storage, kGiga));  // tied
    CHECK(memory.take(*storage, kGiga));
  }
}

TEST_CASE("read_budget: members that overlap allow no more than the file", "[model][hostile]") {
  constexpr std::uint64_t kMega = std::uint64_t{1} << 20;
  ReadBudget budget(kMega);
  std::vector<StoragePtr> members;
  std::uint64_t taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    members.push_back(file_storage(source_of("abcd"), 0, kMega));
    if (!budget.take(*members.back(), kMega)) break;
    taken += kMega;
  }
  CHECK(taken < 1100 * kMega);
}
