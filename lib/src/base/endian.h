#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

static_assert(std::endian::native == std::endian::little,
              "payload bytes are handed out little-endian without a copy; a big-endian host needs one");

namespace netcl::ckpt {

/// Little-endian load of an unsigned type from unaligned bytes.
template <class T>
T load_le(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
void store_le(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

}  // namespace netcl::ckpt
