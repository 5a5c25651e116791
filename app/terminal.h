#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace netcl::ckpt::app {

enum class ColorChoice { automatic, always, never };  // as --color's words stand

/// What standard output can show.
struct Terminal {
  bool color = false;
  bool unicode = false;     ///< the locale is UTF-8: block characters and "×" may be used
  std::size_t columns = 0;  ///< 0 where it is no terminal
};

/// Colour by choice; else on a terminal, unless NO_COLOR is set or TERM is "dumb".
Terminal detect_terminal(ColorChoice choice);

/// Text from a file, safe for a terminal and on one line: control characters (C0, DEL, C1), line
/// breaks, marks that change the direction of writing and bytes that are not UTF-8 become \xNN or
/// \u{NNNN}. Everything that a file can choose goes through here before it is printed.
std::string escape(std::string_view text);

/// `text` with each byte that is not UTF-8 as \xNN, for JSON; valid text comes back unchanged.
std::string escape_invalid(std::string_view text);

/// Columns that `text`, already escaped, takes: one for each code point.
std::size_t display_width(std::string_view text);

/// Standard output, buffered. A reader that has gone away (`| head`) is no failure: the rest is
/// dropped silently.
class Output {
 public:
  explicit Output(int fd = 1) : fd_(fd) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  Output& operator<<(std::string_view text);
  /// False where a write failed for another reason than a closed pipe; `errno` has it.
  bool flush();
  /// Nobody reads any longer.
  bool closed() const { return closed_; }

 private:
  int fd_;
  bool closed_ = false;
  int failed_errno_ = 0;
  std::string buffer_;
};

}  // namespace netcl::ckpt::app
