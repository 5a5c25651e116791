// Glob patterns. On a mismatch only the last `*` needs to be tried again: an earlier one could not
// find more than it has already found, so there is no exponential pattern.
#include "base/glob.h"

#include <algorithm>

#include <cstdint>

namespace netcl::ckpt {
namespace {

bool continues(char c) { return (static_cast<std::uint8_t>(c) & 0xC0) == 0x80; }

/// Matches one pattern item other than `*` at the start of `text`, and takes both off.
bool take_one(std::string_view& pattern, std::string_view& text) {
  if (text.empty()) return false;
  const char c = text[0];
  if (pattern[0] == '?') {
    std::size_t n = 1;
    while (n < text.size() && continues(text[n])) ++n;
    pattern.remove_prefix(1);
    text.remove_prefix(n);
    return true;
  }
  if (pattern[0] == '[') {
    const bool negated = pattern.size() > 1 && (pattern[1] == '!' || pattern[1] == '^');
    const std::size_t first = negated ? 2 : 1;
    const std::size_t end = pattern.find(']', first + 1);  // "[]a]" has "]" in its set
    if (end != std::string_view::npos) {
      const std::string_view set = pattern.substr(first, end - first);
      bool found = false;
      for (std::size_t i = 0; i < set.size(); ++i) {
        const bool range = i + 2 < set.size() && set[i + 1] == '-';
        found |= range ? set[i] <= c && c <= set[i + 2] : set[i] == c;
        if (range) i += 2;
      }
      if (found == negated) return false;
      pattern.remove_prefix(end + 1);
      text.remove_prefix(1);
      return true;
    }
  }
  const std::size_t escape = pattern[0] == '\\' && pattern.size() > 1 ? 1 : 0;
  if (pattern[escape] != c) return false;
  pattern.remove_prefix(escape + 1);
  text.remove_prefix(1);
  return true;
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text) {
  bool starred = false;
  std::string_view retry_pattern, retry_text;
  while (!text.empty() || !pattern.empty()) {
    if (!pattern.empty() && pattern[0] == '*') {
      pattern.remove_prefix(1);
      starred = true;
      retry_pattern = pattern;
      retry_text = text;
    } else if (pattern.empty() || !take_one(pattern, text)) {
      if (!starred || retry_text.empty()) return false;
      retry_text.remove_prefix(1);
      pattern = retry_pattern;
      text = retry_text;
    }
  }
  return true;
}

bool matches_any(std::span<const std::string> patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return glob_match(pattern, text); });
}

}  // namespace netcl::ckpt
