#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace netcl::ckpt {

enum class Severity : std::uint8_t {
  note,     ///< Worth knowing; the file is sound.
  warning,  ///< Odd or lossy; readers may disagree. `verify` still calls the file sound.
  error,    ///< The file is not what its format demands. `verify` exits 1.
  unsafe,   ///< Loading it elsewhere may run code. `verify` exits 1; writers refuse.
};

/// "note", "warning", "error", "unsafe". Lifetime: static storage.
const char* to_string(Severity severity);

/// One finding about a file that could nevertheless be read.
struct Problem {
  /// Stable kebab-case word ("zip-overlap", "unsafe-global"); netcl-ckpt-verify(1) lists them all.
  std::string code;
  Severity severity = Severity::error;
  std::string where;  ///< Member or tensor; "" for the file itself.
  std::optional<std::uint64_t> offset_bytes;
  std::string message;
  std::string global;  ///< For "unsafe-global" and "foreign-global": `module.name`; "" otherwise.
};

using Problems = std::vector<Problem>;

}  // namespace netcl::ckpt
