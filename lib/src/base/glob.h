#pragma once

#include <string_view>

namespace netcl::ckpt {

/// Shell-style match of all of `text`: `*` any run of bytes, dots and slashes too, `?` one character,
/// `[a-z]` and `[!a-z]` one of a set, `\` takes the next byte as it is. A `[` without its `]` is itself.
/// Time is at most |pattern| × |text|, whatever they hold.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace netcl::ckpt
