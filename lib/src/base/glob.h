#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace netcl::ckpt {

/// Shell-style match of all of `text`: `*` any run of bytes, dots and slashes too, `?` one character,
/// `[a-z]` and `[!a-z]` one of a set, `\` takes the next byte as it is. A `[` without its `]` is itself.
/// Time is at most |pattern| × |text|, whatever they hold.
bool glob_match(std::string_view pattern, std::string_view text);

/// True if one of `patterns` matches.
bool matches_any(std::span<const std::string> patterns, std::string_view text);

/// Which dotted names are meant: those that an include pattern matches, all if there is none, and no exclude pattern.
/// Lifetime: borrows the patterns.
struct NameFilter {
  const std::vector<std::string>& include;
  const std::vector<std::string>& exclude;

  bool selects(std::string_view name) const {
    return (include.empty() || matches_any(include, name)) && !matches_any(exclude, name);
  }
  bool selects_all() const { return include.empty() && exclude.empty(); }
};

}  // namespace netcl::ckpt
