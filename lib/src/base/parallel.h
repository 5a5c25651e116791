#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>

namespace netcl::ckpt {

/// The number of threads that `jobs` asks for: itself, or one for each core this process may use where it is 0.
unsigned thread_count(unsigned jobs);

/// Runs `work` on `threads` threads at a time, the calling one among them, and returns when each has
/// returned. Where the system gives fewer threads, fewer run it. What one throws is thrown again here.
void run_on_threads(unsigned threads, const std::function<void()>& work);

/// Calls work(0) … work(count - 1), handed out strictly in this order, on up to `threads` threads.
void parallel_for(unsigned threads, std::size_t count, const std::function<void(std::size_t)>& work);

/// Four stages: `next` makes items in order until it gives a null pointer, `transform` works on several
/// at once, `append` takes them in order again, `store` takes several at once in any order. At most three
/// items for each thread are under way, which bounds the memory whatever the stages' speeds.
template <typename Item>
class Pipeline {
 public:
  using ItemPtr = std::unique_ptr<Item>;
  std::function<ItemPtr()> next;
  std::function<void(Item&)> transform;
  std::function<void(Item&)> append;
  std::function<void(Item&)> store;

  /// What a stage throws stops the pipeline and is thrown again here.
  void run(unsigned threads) {
    max_under_way_ = std::size_t{2} * threads;
    run_on_threads(threads, [this] { work(); });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Slot {
    ItemPtr item;
    bool ready = false;
  };

  void work() {
    std::unique_lock lock(mutex_);
    while (!failure_ && !(ended_ && slots_.empty() && !appending_)) {
      // What is done leaves first: it frees memory, and the file is written while the rest is computed.
      if (!appending_ && !slots_.empty() && slots_.front().ready) {
        const ItemPtr item = std::move(slots_.front().item);
        slots_.pop_front();
        appending_ = true;
        unlocked(lock, [&] { append(*item); });
        appending_ = false;
        changed_.notify_one();
        unlocked(lock, [&] { store(*item); });
      } else if (!ended_ && !producing_ && slots_.size() < max_under_way_) {
        producing_ = true;
        ItemPtr item;
        unlocked(lock, [&] { item = next(); });
        producing_ = false;
        ended_ = item == nullptr;
        if (item) {
          Slot& slot = slots_.emplace_back(Slot{std::move(item), false});  // a deque's ends move no other element
          changed_.notify_one();
          unlocked(lock, [&] { transform(*slot.item); });
          slot.ready = true;
        }
      } else {
        changed_.wait(lock);
        continue;
      }
      changed_.notify_all();
    }
  }

  template <typename Stage>
  void unlocked(std::unique_lock<std::mutex>& lock, const Stage& stage) {
    lock.unlock();
    std::exception_ptr thrown;
    try {
      stage();
    } catch (...) {
      thrown = std::current_exception();
    }
    lock.lock();
    if (thrown && !failure_) failure_ = thrown;
  }

  std::size_t max_under_way_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Slot> slots_;  // in order
  bool producing_ = false, appending_ = false, ended_ = false;
  std::exception_ptr failure_;
};

}  // namespace netcl::ckpt
