#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// One entry of a safetensors header, as it is written there.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  ///< "F32", "BF16", …
  std::vector<std::uint64_t> shape;
  std::uint64_t begin_bytes = 0;  ///< in the data, which begins at SafetensorsHeader::data_offset
  std::uint64_t end_bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::uint64_t data_offset = 0;  ///< in the file
};

/// True where a file begins with a header length that is plausible, and an object.
bool has_safetensors_start(std::string_view head);

/// Reads the header alone; nothing is said of where the data lies. Entries are in the header's order.
/// Errors: truncated, corrupt, limit_exceeded, io; `member` is the tensor's name where it is at fault.
Result<SafetensorsHeader> parse_safetensors_header(const ByteSource& source, const Limits& limits);

/// The same, and proves that the entries' ranges tile the rest of the file: no hole, no
/// overlap, nothing behind the last; entries are in the order of their data. What the dtypes and shapes mean is left to
/// the caller. Errors: truncated, corrupt, limit_exceeded, io; `member` is the tensor's name where it is at fault.
Result<SafetensorsHeader> read_safetensors_header(const ByteSource& source, const Limits& limits);

}  // namespace netcl::ckpt
