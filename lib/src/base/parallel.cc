// Threads for one piece of work, made for it and gone with it. oneTBB did this first: loading it and the
// C++ library that it needs took a quarter of the time that `inspect` takes in all, its limit on threads
// is one for the whole process, which a library must not set, and ThreadSanitizer cannot see into it.
// What is needed of it, blocks of a megabyte handed out in order, costs the same either way.
#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace netcl::ckpt {

unsigned thread_count(unsigned jobs) { return jobs > 0 ? jobs : std::max(1U, std::thread::hardware_concurrency()); }

void run_on_threads(unsigned threads, const std::function<void()>& work) {
  std::mutex mutex;
  std::exception_ptr failure;
  const auto guarded_work = [&] {
    try {
      work();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(threads);
    try {
      while (others.size() + 1 < threads) others.emplace_back(guarded_work);
    } catch (const std::system_error&) {
      // A limit on threads: those that there are do it all.
    }
    guarded_work();
  }
  if (failure) std::rethrow_exception(failure);
}

void parallel_for(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  run_on_threads(static_cast<unsigned>(std::min<std::size_t>(threads, count)), [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  });
}

}  // namespace netcl::ckpt
