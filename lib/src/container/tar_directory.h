#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/diagnostics.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// A member of a tar. The headers of long names that stand before its own are resolved.
struct TarMember {
  enum class Kind : std::uint8_t {
    file,
    folder,
    other,  ///< a link, a device, or a file with holes, whose bytes are not as they stand
  };
  std::string name;  ///< bytes as stored
  Kind kind = Kind::file;
  std::uint64_t header_offset = 0;
  std::uint64_t data_offset = 0;
  std::uint64_t size_bytes = 0;  ///< all of it is in the file
};

struct TarDirectory {
  std::vector<TarMember> members;  ///< in the order of the file; a name may occur twice, and the later one counts
  std::optional<Error> damage;     ///< why it goes no further than `members`
};

/// True for a first block that is a header whose checksum is right. A pickle of protocol 2 and later begins like none.
bool has_tar_start(std::string_view head);

/// Reads all headers: ustar, GNU's and pax's long names and sizes. Findings that still allow listing go to `problems`.
/// Errors: corrupt, truncated, where not even one member can be had; limit_exceeded; io.
Result<TarDirectory> read_tar_directory(const SourcePtr& source, const Limits& limits, Problems& problems);

}  // namespace netcl::ckpt
