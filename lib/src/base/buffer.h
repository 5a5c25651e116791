#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace netcl::ckpt {

/// An allocator that leaves new elements uninitialised: a buffer that a read fills next need not be
/// zeroed first, which at memory speed costs as much as the read.
template <class T>
struct UninitializedAllocator : std::allocator<T> {
  template <class U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };
  template <class U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <class U, class... Args>
  void construct(U* p, Args&&... args) {
    std::construct_at(p, std::forward<Args>(args)...);
  }
};

using Buffer = std::vector<std::byte, UninitializedAllocator<std::byte>>;

/// `num_bytes` for the calling thread to work in. Valid until the thread's next call.
inline std::span<std::byte> thread_buffer(std::size_t num_bytes) {
  thread_local Buffer buffer;
  if (buffer.size() < num_bytes) buffer.resize(num_bytes);
  return std::span(buffer).first(num_bytes);
}

}  // namespace netcl::ckpt
