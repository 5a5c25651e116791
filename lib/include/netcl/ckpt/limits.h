#pragma once

#include <algorithm>
#include <cstdint>

namespace netcl::ckpt {

/// Every cap on what a file may make this library do. The defaults let through every real checkpoint
/// that we know and keep the peak memory of a hostile one below 256 MB.
struct Limits {
  /// npy header. NumPy writes under 64 KiB; thousands of structured fields reach 1 MiB.
  std::uint64_t max_npy_header_bytes = std::uint64_t{4} << 20;
  /// safetensors header; the cap is the format's own.
  std::uint64_t max_safetensors_header_bytes = 100'000'000;
  /// A JSON document (sidecar, `.netcl` metadata, torch's). netcl writes optimizer state as JSON
  /// numbers, so sidecars of small models reach tens of megabytes.
  std::uint64_t max_json_bytes = std::uint64_t{256} << 20;
  /// A pickle's text, which is kept in memory: keys, and the arrays of protocols 0 to 2, which are text
  /// there; and the texts and byte strings of a msgpack. Bounded by the file's size too. Array payloads of later
  /// protocols, and of msgpack, do not count.
  std::uint64_t max_pickle_inline_bytes = std::uint64_t{1} << 30;
  /// Zip members in one archive: directory memory is about 150 bytes each.
  std::uint64_t max_members = 4'000'000;
  /// Dimensions of an array. NumPy 2 allows 64, NumPy 1 32.
  std::uint32_t max_dimensions = 64;
  /// Nesting of a structured dtype, bounded because dtypes are walked by recursion.
  std::uint32_t max_dtype_depth = 32;
  /// Nesting of containers in a JSON document, a pickle or a msgpack. The parsers do not recurse.
  std::uint32_t max_depth = 200'000;
  /// Values in one checkpoint's tree (containers, keys and leaves). A document that takes more than twice as many bytes
  /// in the file may hold more: see max_values_in().
  std::uint64_t max_values = 2'000'000;
  /// Names that one walk over the tree may produce; shared containers are named once for each path.
  std::uint64_t max_names = 1'000'000;
  /// Bytes of all those names together.
  std::uint64_t max_name_bytes = std::uint64_t{64} << 20;
  /// A tensor's logical bytes over its storage's bytes. torch's expand() gives stride 0, so a file of
  /// a few bytes can describe petabytes; real expanded tensors stay far below this factor.
  std::uint64_t max_expansion = std::uint64_t{1} << 16;
  /// What reading one compressed payload in another order may keep in memory. A payload of N times
  /// that is decompressed N times.
  std::uint64_t max_buffered_bytes = std::uint64_t{64} << 20;
  /// What a compressed file (.gz, .xz, .zst …) may unpack to, into a temporary file: so much, and so many times its
  /// size. Nearly all of a real checkpoint is numbers that hardly shrink.
  std::uint64_t max_unpacked_bytes = std::uint64_t{256} << 20;
  std::uint64_t max_unpack_ratio = 64;

  /// The most that max_values_in() gives, however large the file: twice as many have 32-bit ids.
  std::uint64_t max_values_of_large = std::uint64_t{1} << 29;

  /// How many values a pickle, a msgpack or a JSON document may hold of which the file has so many bytes. In lists of
  /// numbers, of which an honest file may have millions, each takes two bytes or more.
  std::uint64_t max_values_in(std::uint64_t stored_bytes) const {
    return std::max(max_values, std::min(stored_bytes / 2, max_values_of_large));
  }
};

}  // namespace netcl::ckpt
