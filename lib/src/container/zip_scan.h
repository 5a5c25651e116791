#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "container/zip_directory.h"
#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// A member that was found by its own records.
struct ScannedMember {
  ZipMember member;
  std::uint64_t data_offset = 0;  ///< of the stored bytes
  std::string fault;              ///< why it is lost; "" where its data was read through and its CRC holds
  bool wrong_checksum = false;    ///< lost for its CRC alone: all of its data is there and decodes
};

struct ZipScan {
  std::vector<ScannedMember> members;  ///< in the order of the file, no name twice among those that are not lost
  Problems problems;                   ///< where records of a member that is whole contradict each other
  /// Of the end record that reaches the end of the file; nothing where the file has lost its end.
  std::optional<std::string> comment;
};

/// Finds the members of a damaged or truncated archive: by their local headers, by what is left of the directory, and
/// by data descriptors. Every one that is not called lost was decoded, and its CRC holds. Reads the file once to find
/// the records, and the data of members once more, a few times at the most where records contradict each other.
/// `advance` is called with bytes of work since the last call; what it returns ends the scan where it is an error.
/// Errors: io, limit_exceeded, advance's.
Result<ZipScan> scan_zip(const SourcePtr& source, const Limits& limits,
                         const std::function<Result<void>(std::uint64_t)>& advance);

}  // namespace netcl::ckpt
