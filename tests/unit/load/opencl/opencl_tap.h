#pragma once

#include <atomic>
#include <functional>
#include <tuple>
#include <type_traits>

#include "load/opencl/opencl.h"

// A tap on the table of OpenCL functions: counts references and mappings, and fails one call.

namespace netcl::ckpt {

struct TapCounts {
  std::atomic<long> objects = 0;   ///< created and retained, less released
  std::atomic<long> mappings = 0;  ///< less unmapped
  std::atomic<long> svm = 0;
  std::atomic<long> writes = 0, copies = 0, maps = 0;
  std::atomic<long> until_failure = -1;  ///< calls that succeed before one fails; negative: none does

  bool fails() { return until_failure >= 0 && until_failure-- == 0; }
};

inline TapCounts& tap_counts() {
  static TapCounts counts;
  return counts;
}

namespace tap {

template <auto Member>
struct Entry;

/// Member functions pointers' targets: R (*)(Args...).
template <class R, class... Args, R (*OpenCl::*Member)(Args...)>
struct Entry<Member> {
  static inline R (*original)(Args...) = nullptr;
  static inline void (*on_success)() = nullptr;

  static R call(Args... args) {
    if (!std::is_void_v<R> && tap_counts().fails()) {
      if constexpr (std::is_same_v<R, cl_int>) {
        return CL_OUT_OF_RESOURCES;
      } else if constexpr (!std::is_void_v<R>) {
        auto last = std::get<sizeof...(Args) - 1>(std::tie(args...));
        if constexpr (std::is_same_v<decltype(last), cl_int*>) *last = CL_OUT_OF_RESOURCES;
        return nullptr;
      }
    }
    if constexpr (std::is_void_v<R>) {
      original(args...);
      on_success();
    } else {
      R result = original(args...);
      bool good = true;
      if constexpr (std::is_same_v<R, cl_int>) {
        good = result == CL_SUCCESS;
      } else {
        good = result != nullptr;
      }
      if (good) on_success();
      // Events are objects too; every function that makes one takes its place last.
      if constexpr (sizeof...(Args) > 0) {
        auto last = std::get<sizeof...(Args) - 1>(std::tie(args...));
        if constexpr (std::is_same_v<decltype(last), cl_event*>) {
          if (good && last != nullptr) ++tap_counts().objects;
        }
      }
      return result;
    }
  }
  static void install(void (*then)()) {
    OpenCl& table = opencl();
    if (table.*Member == nullptr || table.*Member == &call) return;
    original = table.*Member;
    on_success = then;
    table.*Member = &call;
  }
};

/// Releases and unmaps are counted; that they fail is nothing to recover from.
template <auto Member>
struct Release;
template <class... Args, cl_int (*OpenCl::*Member)(Args...)>
struct Release<Member> {
  static inline cl_int (*original)(Args...) = nullptr;
  static inline std::atomic<long>* count = nullptr;
  static cl_int call(Args... args) {
    --*count;
    return original(args...);
  }
  static void install(std::atomic<long>& counter) {
    OpenCl& table = opencl();
    if (table.*Member == &call) return;
    original = table.*Member;
    count = &counter;
    table.*Member = &call;
  }
};

}  // namespace tap

/// Installs the tap; once for the process.
inline void install_tap() {
  const auto object = [] { ++tap_counts().objects; };
  const auto nothing = [] {};
  using C = OpenCl;
  tap::Entry<&C::create_context>::install(object);
  tap::Entry<&C::retain_context>::install(object);
  tap::Entry<&C::create_command_queue>::install(object);
  tap::Entry<&C::retain_command_queue>::install(object);
  tap::Entry<&C::create_buffer>::install(object);
  tap::Entry<&C::retain_mem_object>::install(object);
  tap::Entry<&C::get_command_queue_info>::install(nothing);
  tap::Entry<&C::get_mem_object_info>::install(nothing);
  tap::Entry<&C::enqueue_read_buffer>::install(nothing);
  tap::Entry<&C::enqueue_write_buffer>::install([] { ++tap_counts().writes; });
  tap::Entry<&C::enqueue_copy_buffer>::install([] { ++tap_counts().copies; });
  tap::Entry<&C::enqueue_fill_buffer>::install(nothing);
  tap::Entry<&C::enqueue_map_buffer>::install([] {
    ++tap_counts().mappings;
    ++tap_counts().maps;
  });
  tap::Entry<&C::enqueue_svm_memcpy>::install(nothing);
  tap::Entry<&C::enqueue_svm_map>::install([] { ++tap_counts().mappings; });
  tap::Entry<&C::svm_alloc>::install([] { ++tap_counts().svm; });
  tap::Entry<&C::svm_free>::install([] { --tap_counts().svm; });
  tap::Entry<&C::wait_for_events>::install(nothing);
  tap::Entry<&C::flush>::install(nothing);
  tap::Release<&C::release_context>::install(tap_counts().objects);
  tap::Release<&C::release_command_queue>::install(tap_counts().objects);
  tap::Release<&C::release_mem_object>::install(tap_counts().objects);
  tap::Release<&C::release_event>::install(tap_counts().objects);
  tap::Release<&C::enqueue_unmap_mem_object>::install(tap_counts().mappings);
  tap::Release<&C::enqueue_svm_unmap>::install(tap_counts().mappings);
}

}  // namespace netcl::ckpt
