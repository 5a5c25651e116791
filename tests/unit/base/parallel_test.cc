#include "base/parallel.h"

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "catch.h"

using namespace netcl::ckpt;

TEST_CASE("parallel: every index once, whatever the number of threads", "[base]") {
  for (const unsigned threads : {1U, 2U, 7U}) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{1000}}) {
      std::vector<std::atomic<int>> seen(count);
      parallel_for(threads, count, [&](std::size_t i) { ++seen[i]; });
      for (const auto& n : seen) CHECK(n == 1);
    }
  }
}

TEST_CASE("parallel: what a thread throws reaches the caller, after all have stopped", "[base]") {
  std::atomic<int> running = 0;
  const auto throwing = [&] {
    parallel_for(4, 100, [&](std::size_t i) {
      ++running;
      std::this_thread::yield();
      --running;
      if (i == 17) throw std::length_error("17");
    });
  };
  CHECK_THROWS_AS(throwing(), std::length_error);
  CHECK(running == 0);
}

TEST_CASE("parallel: a pipeline keeps the order and the bound", "[base]") {
  struct Item {
    int number = 0;
    int squared = 0;
  };
  for (const unsigned threads : {1U, 2U, 5U}) {
    std::atomic<int> under_way = 0;
    std::atomic<int> most = 0;
    int made = 0;
    std::vector<int> out;
    std::atomic<int> stored = 0;
    Pipeline<Item> pipeline;
    pipeline.next = [&]() -> std::unique_ptr<Item> {
      if (made == 500) return nullptr;
      const int now = ++under_way;
      int before = most;
      while (before < now && !most.compare_exchange_weak(before, now)) {
      }
      return std::make_unique<Item>(Item{made++, 0});
    };
    pipeline.transform = [](Item& item) {
      if (item.number % 7 == 0) std::this_thread::yield();
      item.squared = item.number * item.number;
    };
    pipeline.append = [&](Item& item) { out.push_back(item.squared); };
    pipeline.store = [&](Item& item) {
      stored += item.number;
      --under_way;
    };
    pipeline.run(threads);
    REQUIRE(out.size() == 500);
    CHECK(stored == 499 * 500 / 2);
    for (int i = 0; i < 500; ++i) CHECK(out[static_cast<std::size_t>(i)] == i * i);
    CHECK(most <= static_cast<int>(3 * threads + 1));
  }
}

TEST_CASE("parallel: each stage of a pipeline may throw", "[base]") {
  for (const int stage : {0, 1, 2, 3}) {
    int made = 0;
    Pipeline<int> pipeline;
    pipeline.next = [&] {
      if (stage == 0 && made == 20) throw std::runtime_error("next");
      return made < 100 ? std::make_unique<int>(made++) : nullptr;
    };
    pipeline.transform = [&](int& i) {
      if (stage == 1 && i == 20) throw std::runtime_error("transform");
    };
    pipeline.append = [&](int& i) {
      if (stage == 2 && i == 20) throw std::runtime_error("append");
    };
    pipeline.store = [&](int& i) {
      if (stage == 3 && i == 20) throw std::runtime_error("store");
    };
    CHECK_THROWS_AS(pipeline.run(3), std::runtime_error);
  }
}
