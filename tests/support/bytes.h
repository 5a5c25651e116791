#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "netcl/ckpt/source.h"

// Hostile files are written as text recipes; these turn them into sources.

namespace netcl::ckpt {

inline SourcePtr source_of(std::string_view bytes) {
  const auto span = std::as_bytes(std::span(bytes));
  return memory_source({span.begin(), span.end()}, "test");
}

/// `value` as the little-endian bytes of its type: le<std::uint64_t>(16).
template <class T>
std::string le(T value) {
  std::string out(sizeof value, '\0');
  store_le(out.data(), value);
  return out;
}

}  // namespace netcl::ckpt
