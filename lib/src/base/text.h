#pragma once

#include <string>
#include <string_view>

namespace netcl::ckpt {

/// True where `text` is well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text);

/// `text` with each byte that is not part of well-formed UTF-8 written as "\xNN", for places that
/// must hold valid Unicode (JSON, dotted names). Well-formed text comes back unchanged.
std::string to_valid_utf8(std::string_view text);

}  // namespace netcl::ckpt
