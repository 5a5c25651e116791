#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"

namespace netcl::ckpt {

/// A Python literal as npy headers hold them. Text is UTF-8.
struct PyLiteral {
  enum class Kind : std::uint8_t { none, boolean, integer, string, tuple, list, dict } kind = Kind::none;
  bool boolean = false;
  std::uint64_t integer = 0;     ///< integers here are sizes: a sign or more than 64 bits is an error
  std::string text;              ///< of a string
  std::vector<PyLiteral> items;  ///< of a tuple or list; of a dict key, value, key, value …
};

struct NpyHeader {
  std::uint8_t major_version = 1;
  PyLiteral descr;  ///< a type string, or a list of fields
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
  std::uint64_t header_bytes = 0;  ///< where the payload begins
};

/// The bytes that tell how long the header is: magic, version, length.
inline constexpr std::size_t kNpyPreambleBytes = 12;

/// True where `head` begins with an npy file's magic.
bool has_npy_magic(std::span<const std::byte> head);

/// How many bytes come before the payload, from the file's first kNpyPreambleBytes.
/// Errors: truncated, corrupt (magic), unsupported (version), limit_exceeded.
Result<std::uint64_t> npy_header_bytes(std::span<const std::byte> preamble, const Limits& limits);

/// Parses a whole header, npy_header_bytes() long. Nothing in it is evaluated.
/// Errors: corrupt, limit_exceeded; offset_bytes counts from the file's start.
Result<NpyHeader> parse_npy_header(std::span<const std::byte> header, const Limits& limits);

}  // namespace netcl::ckpt
