#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "netcl/ckpt/error.h"

// Values that protocols 0 and 1 write as lines of text, and integers of any size.

namespace netcl::ckpt {

inline constexpr std::size_t kMaxIntegerBytes = 1024;  // conversion to decimal is quadratic
inline constexpr std::size_t kMaxIntegerDigits = 20000;

/// UTF-8 that may hold surrogates, as Python's "surrogatepass" decodes it.
bool is_wtf8(std::string_view text);

/// The digits of a line that is a decimal integer, perhaps with a sign, spaces around it and, if `may_be_long`,
/// Python 2's L behind it. Lifetime: that of `line`.
std::optional<std::string_view> parse_integer(std::string_view line, bool may_be_long);

/// The two's complement of an integer in words, the lowest first.
void negate(std::span<std::uint32_t> words);

/// Two's complement, little-endian, of at least one byte, as decimal text.
std::string to_decimal(std::string_view bytes);

/// A float as repr() writes it. Errors: corrupt, limit_exceeded.
Result<double> parse_float(std::string_view line);

/// Protocol 0 text: Latin-1 with \uXXXX and \UXXXXXXXX. Errors: corrupt.
Result<std::string> unescape_unicode(std::string_view line);

/// Python 2's repr() of a str: a character for each byte.
struct PythonString {
  std::string text;
  bool ascii = true;
};
/// Errors: corrupt.
Result<PythonString> unescape_string(std::string_view line);

}  // namespace netcl::ckpt
