// The terminal: what it can show, and what must never reach it.
#include "terminal.h"

#include <errno.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace netcl::ckpt::app {
namespace {

std::string_view environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? std::string_view() : value;
}

bool locale_is_utf8() {
  // By name: setlocale() would cost more at start-up than all of the command line does.
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = environment(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != value.npos || value.find("utf8") != value.npos || value.find("utf-8") != value.npos;
  }
  return false;
}

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t bytes = 0;  // 0 where there is no well-formed UTF-8
};

CodePoint decode(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || s.size() < n) return {};
  std::uint32_t value = lead & (0xffU >> (n + 1));
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, n};
}

/// Code points that a terminal obeys or that reorder, hide or break what is around them.
bool is_unsafe(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) ||      // C0, DEL, C1
         c == 0xad || c == 0x61c || c == 0x180e ||    // soft hyphen, Arabic letter mark, vowel separator
         (c >= 0x200b && c <= 0x200f) ||              // zero width, direction marks
         (c >= 0x2028 && c <= 0x202e) ||              // line and paragraph separator, direction overrides
         (c >= 0x2060 && c <= 0x206f) ||              // invisible operators, direction isolates
         c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb)  // byte order mark, interlinear annotation
         || (c >= 0xe0000 && c <= 0xe007f);           // tags
}

}  // namespace

Terminal detect_terminal(ColorChoice choice) {
  Terminal t;
  const bool tty = isatty(STDOUT_FILENO) == 1;
  t.unicode = locale_is_utf8();
  if (tty) {
    winsize size{};
    t.columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }
  const bool wanted = tty && environment("NO_COLOR").empty() && environment("TERM") != "dumb";
  t.color = choice == ColorChoice::always || (choice == ColorChoice::automatic && wanted);
  return t;
}

std::string escape(std::string_view text) {
  const auto is_plain = [](char c) { return c >= ' ' && c <= '~'; };
  if (std::all_of(text.begin(), text.end(), is_plain)) return std::string(text);  // nearly every name is
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = decode(text);
    const std::size_t n = c.bytes == 0 ? 1 : c.bytes;
    if (c.bytes == 0 || (n == 1 && is_unsafe(c.value))) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
    } else if (is_unsafe(c.value)) {
      out += fmt::format("\\u{{{:04x}}}", c.value);
    } else {
      out += text.substr(0, n);
    }
    text.remove_prefix(n);
  }
  return out;
}

std::string escape_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = decode(text).bytes;
    if (n == 0) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
    } else {
      out += text.substr(0, n);
    }
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t n = 0;
  for (char c : text) n += (static_cast<std::uint8_t>(c) & 0xc0) != 0x80;
  return n;
}

Output& Output::operator<<(std::string_view text) {
  constexpr std::size_t kBufferBytes = std::size_t{64} << 10;
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) flush();
  return *this;
}

bool Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty() && !closed_ && failed_errno_ == 0) {
    const ssize_t n = write(fd_, rest.data(), rest.size());
    if (n >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EPIPE) {
      closed_ = true;
    } else if (errno != EINTR) {
      failed_errno_ = errno;
    }
  }
  buffer_.clear();
  errno = failed_errno_;
  return failed_errno_ == 0;
}

}  // namespace netcl::ckpt::app
