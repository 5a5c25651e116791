#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace netcl::ckpt {

/// True where `text` is 7-bit ASCII, as nearly every name is.
bool is_ascii(std::string_view text);

/// True where `text` is well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text);

/// `text` with each byte that is not part of well-formed UTF-8 written as "\xNN", for places that
/// must hold valid Unicode (JSON, dotted names). Well-formed text comes back unchanged.
std::string to_valid_utf8(std::string_view text);

/// Appends the code point in UTF-8; what is none (above U+10FFFF) as U+FFFD, a surrogate as three bytes.
void append_utf8(std::string& out, std::uint32_t code_point);

/// The characters of a NumPy text (dtype U), UCS-4 little-endian, without the NULs that pad it.
std::string ucs4_to_utf8(std::span<const std::byte> characters);

/// The other way. `text` is well-formed UTF-8.
std::vector<std::byte> utf8_to_ucs4(std::string_view text);

/// `text` as a JSON string, quotes included. `text` is valid UTF-8.
std::string json_string(std::string_view text);

}  // namespace netcl::ckpt
