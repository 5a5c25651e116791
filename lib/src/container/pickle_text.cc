// Values as lines of text: what repr() of Python wrote.
#include "container/pickle_text.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

tl::unexpected<Error> bad_text(std::string_view what) { return fail(ErrorCode::corrupt, "{}", what); }

bool is_decimal(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::string_view(" \t\r\v\f").find(text.front()) != text.npos) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r\v\f").find(text.back()) != text.npos) text.remove_suffix(1);
  return text;
}

}  // namespace

bool is_wtf8(std::string_view text) {
  if (is_utf8(text)) return true;
  std::string masked(text);
  for (std::size_t i = 0; i + 2 < masked.size(); ++i) {
    const auto b = [&](std::size_t k) { return static_cast<std::uint8_t>(masked[i + k]); };
    if (b(0) == 0xed && b(1) >= 0xa0 && b(1) <= 0xbf && (b(2) & 0xc0) == 0x80)
      masked[i] = masked[i + 1] = masked[i + 2] = '?';
  }
  return is_utf8(masked);
}

std::optional<std::string_view> parse_integer(std::string_view line, bool may_be_long) {
  std::string_view text = trim(line);
  if (may_be_long && text.ends_with('L')) text.remove_suffix(1);
  return is_decimal(text) ? std::optional(text) : std::nullopt;
}

void negate(std::span<std::uint32_t> words) {
  std::uint64_t carry = 1;
  for (std::uint32_t& w : words) {
    carry += static_cast<std::uint32_t>(~w);
    w = static_cast<std::uint32_t>(carry);
    carry >>= 32;
  }
}

std::string to_decimal(std::string_view bytes) {
  std::vector<std::uint32_t> words((bytes.size() + 3) / 4);
  const bool negative = (static_cast<std::uint8_t>(bytes.back()) & 0x80) != 0;
  for (std::size_t i = 0; i < words.size() * 4; ++i) {
    const std::uint32_t b = i < bytes.size() ? static_cast<std::uint8_t>(bytes[i]) : negative ? 0xffU : 0U;
    words[i / 4] |= b << (8 * (i % 4));
  }
  if (negative) negate(words);
  std::string digits;  // backwards
  while (!words.empty()) {
    std::uint64_t rest = 0;
    for (std::size_t i = words.size(); i-- > 0;) {
      rest = (rest << 32) | words[i];
      words[i] = static_cast<std::uint32_t>(rest / 1'000'000'000);
      rest %= 1'000'000'000;
    }
    while (!words.empty() && words.back() == 0) words.pop_back();
    for (int i = 0; i < 9; ++i, rest /= 10) digits += static_cast<char>('0' + rest % 10);
  }
  while (digits.size() > 1 && digits.back() == '0') digits.pop_back();
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

Result<double> parse_float(std::string_view line) {
  std::string_view text = trim(line);
  constexpr std::size_t kLongest = 4096;
  if (text.size() > kLongest) return fail(ErrorCode::limit_exceeded, "a float of {} characters", text.size());
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool range = error == std::errc::result_out_of_range;  // Python rounds to 0 or inf
  if ((error != std::errc() && !range) || end != text.data() + text.size()) return bad_text("a float is not one");
  if (range) value = std::strtod(std::string(text).c_str(), nullptr);
  return value;
}
Result<std::string> unescape_unicode(std::string_view line) {
  std::string out;
  bool even = true;  // the number of backslashes just before: only an odd one makes an escape
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool slash = line[i] == '\\';
    const bool escape = slash && even && i + 1 < line.size() && (line[i + 1] == 'u' || line[i + 1] == 'U');
    even = !slash || !even;
    if (!escape) {
      append_utf8(out, static_cast<std::uint8_t>(line[i]));
      continue;
    }
    const std::size_t digits = line[i + 1] == 'u' ? 4 : 8;
    std::uint32_t code = 0;
    if (line.size() - i - 2 < digits) return bad_text("a text has a broken escape");
    const char* first = line.data() + i + 2;
    const auto [end, error] = std::from_chars(first, first + digits, code, 16);
    if (error != std::errc() || end != first + digits || code > 0x10ffff) return bad_text("a text has a broken escape");
    append_utf8(out, code);
    i += 1 + digits;
    even = true;
  }
  return out;
}
Result<PythonString> unescape_string(std::string_view line) {
  const std::string_view text = trim(line);
  if (text.size() < 2 || text.front() != text.back() || (text.front() != '\'' && text.front() != '"'))
    return bad_text("a string is not quoted");
  std::string out;
  bool ascii = true;
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    std::uint32_t code = static_cast<std::uint8_t>(text[i]);
    if (text[i] == '\\') {
      if (i + 2 >= text.size()) return bad_text("a string has a broken escape");
      const char c = text[++i];
      constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
      if (const auto known = kFrom.find(c); known != kFrom.npos) {
        code = static_cast<std::uint8_t>(kTo[known]);
      } else if (c == 'x') {
        const char* first = text.data() + i + 1;
        if (i + 3 >= text.size()) return bad_text("a string has a broken escape");
        const auto [end, error] = std::from_chars(first, first + 2, code, 16);
        if (error != std::errc() || end != first + 2) return bad_text("a string has a broken escape");
        i += 2;
      } else if (c >= '0' && c <= '7') {
        code = 0;
        std::size_t n = 0;
        for (; n < 3 && i + n + 1 < text.size() && text[i + n] >= '0' && text[i + n] <= '7'; ++n)
          code = code * 8 + static_cast<std::uint32_t>(text[i + n] - '0');
        i += n - 1;
        code &= 0xff;
      } else {
        append_utf8(out, '\\');
        code = static_cast<std::uint8_t>(c);
      }
    }
    ascii &= code < 0x80;
    append_utf8(out, code);
  }
  return PythonString{std::move(out), ascii};
}

}  // namespace netcl::ckpt
