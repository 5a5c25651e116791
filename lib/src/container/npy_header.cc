// The header of an npy file.
//
//   \x93 N U M P Y | major minor | header length: u16 in version 1, u32 in 2 and 3 | header | payload
//
// The header is the literal of a Python dict with the keys descr, fortran_order and shape, in Latin-1
// (versions 1 and 2) or UTF-8 (version 3), padded with spaces and ended by a newline.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// NumPy reads it with ast.literal_eval. This parser takes what NumPy writes, what Python 2 wrote (3L) and what
// the repr of NumPy 2 made of sizes (np.int64(3)), in any order and spacing; bytes, comments, arithmetic and joined
// strings, which literal_eval would take too, are refused: no writer makes them.
#include "container/npy_header.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/endian.h"
#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr int kMaxDepth = 64;               // structured dtypes nest by two levels each
constexpr std::size_t kMaxItems = 1 << 17;  // 8 MiB of literals; a field needs three

std::string latin1_to_utf8(std::string_view text) {
  std::string out;
  for (const char c : text) append_utf8(out, static_cast<std::uint8_t>(c));
  return out;
}

/// Recursive descent, bounded by kMaxDepth.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<PyLiteral> parse() {
    CKPT_TRY(PyLiteral value, literal(0));
    skip_space();
    if (at_ != text_.size()) return bad("something follows the header's dict");
    return value;
  }

 private:
  tl::unexpected<Error> bad(std::string_view what) const { return fail_at(ErrorCode::corrupt, "", at_, "{}", what); }
  tl::unexpected<Error> not_a_literal() const { return bad("the header is not a plain Python literal"); }

  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f'; }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  Result<PyLiteral> literal(int depth) {
    skip_space();
    if (depth > kMaxDepth) return bad("the header is nested too deeply");
    if (++items_ > kMaxItems)
      return fail_at(ErrorCode::limit_exceeded, "", at_, "the header holds more than {} items", kMaxItems);
    if (at_ == text_.size()) return bad("the header ends early");
    PyLiteral value;
    const char c = text_[at_];
    if (c == '{') return dict(depth);
    if (c == '(') return sequence(depth, '(', ')');
    if (c == '[') return sequence(depth, '[', ']');
    if (c == '\'' || c == '"' ||
        (c == 'u' && at_ + 1 < text_.size() && (text_[at_ + 1] == '\'' || text_[at_ + 1] == '"'))) {
      return string();
    }
    if (c >= '0' && c <= '9') return integer();
    if (take_word("np.")) return numpy_integer();
    if (take_word("True")) {
      value.kind = PyLiteral::Kind::boolean;
      value.boolean = true;
    } else if (take_word("False")) {
      value.kind = PyLiteral::Kind::boolean;
    } else if (!take_word("None")) {
      return not_a_literal();
    }
    return value;
  }

  Result<PyLiteral> integer() {
    PyLiteral value;
    value.kind = PyLiteral::Kind::integer;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value.integer);
    if (error != std::errc()) return bad("a number in the header does not fit 64 bits");
    const std::size_t digits = static_cast<std::size_t>(end - (text_.data() + at_));
    if (digits > 1 && text_[at_] == '0') return not_a_literal();
    at_ += digits;
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2
    return value;
  }

  /// int64(3), behind "np."
  Result<PyLiteral> numpy_integer() {
    for (const std::string_view type : {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
                                        "intp", "uintp", "longlong", "ulonglong"}) {
      if (!take_word(fmt::format("{}(", type))) continue;
      if (at_ == text_.size() || text_[at_] < '0' || text_[at_] > '9') return not_a_literal();
      CKPT_TRY(PyLiteral value, integer());
      if (!take(')')) return not_a_literal();
      return value;
    }
    return not_a_literal();
  }

  Result<PyLiteral> string() {
    PyLiteral value;
    value.kind = PyLiteral::Kind::string;
    if (text_[at_] == 'u') ++at_;
    const char quote = text_[at_++];
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\n') return not_a_literal();
      if (c != '\\') {
        value.text += c;
        continue;
      }
      if (at_ == text_.size()) break;
      c = text_[at_++];
      switch (c) {
        case '\\':
        case '\'':
        case '"': value.text += c; break;
        case 'n': value.text += '\n'; break;
        case 'r': value.text += '\r'; break;
        case 't': value.text += '\t'; break;
        case 'x': CKPT_CHECK(hex(2, value.text)); break;
        case 'u': CKPT_CHECK(hex(4, value.text)); break;
        case 'U': CKPT_CHECK(hex(8, value.text)); break;
        default: return not_a_literal();
      }
    }
    if (at_ == text_.size()) return bad("a string in the header does not end");
    ++at_;
    return value;
  }

  Result<void> hex(std::size_t digits, std::string& out) {
    std::uint32_t code = 0;
    if (text_.size() - at_ < digits) return not_a_literal();
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + digits, code, 16);
    if (error != std::errc() || end != text_.data() + at_ + digits || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000)) {
      return not_a_literal();
    }
    at_ += digits;
    append_utf8(out, code);
    return {};
  }

  Result<PyLiteral> sequence(int depth, char open, char close) {
    PyLiteral value;
    value.kind = open == '(' ? PyLiteral::Kind::tuple : PyLiteral::Kind::list;
    take(open);
    bool comma = true;
    while (!take(close)) {
      if (!comma) return not_a_literal();
      CKPT_TRY(PyLiteral item, literal(depth + 1));
      value.items.push_back(std::move(item));
      comma = take(',');
    }
    // (x) is x in parentheses, (x,) a tuple.
    if (open == '(' && value.items.size() == 1 && !comma) {
      PyLiteral inner = std::move(value.items[0]);
      return inner;
    }
    return value;
  }

  Result<PyLiteral> dict(int depth) {
    PyLiteral value;
    value.kind = PyLiteral::Kind::dict;
    take('{');
    bool comma = true;
    while (!take('}')) {
      if (!comma) return not_a_literal();
      CKPT_TRY(PyLiteral key, literal(depth + 1));
      if (key.kind != PyLiteral::Kind::string || !take(':')) return not_a_literal();
      CKPT_TRY(PyLiteral item, literal(depth + 1));
      value.items.push_back(std::move(key));
      value.items.push_back(std::move(item));
      comma = take(',');
    }
    return value;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t items_ = 0;
};

/// The one value of `key`; the dict has no other keys than these three.
Result<PyLiteral> take_key(PyLiteral& dict, std::string_view key) {
  std::optional<PyLiteral> found;
  for (std::size_t i = 0; i < dict.items.size(); i += 2) {
    if (dict.items[i].text != key) continue;
    if (found) return fail_at(ErrorCode::corrupt, "", std::nullopt, "the header has the key '{}' twice", key);
    found = std::move(dict.items[i + 1]);
  }
  if (!found) return fail_at(ErrorCode::corrupt, "", std::nullopt, "the header has no '{}'", key);
  return *std::move(found);
}

}  // namespace

bool has_npy_magic(std::span<const std::byte> head) {
  return head.size() >= kMagic.size() && std::memcmp(head.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<std::uint64_t> npy_header_bytes(std::span<const std::byte> preamble, const Limits& limits) {
  if (!has_npy_magic(preamble)) return fail_at(ErrorCode::corrupt, "", 0, "this is no npy data: the magic is missing");
  if (preamble.size() < kNpyPreambleBytes)
    return fail_at(ErrorCode::truncated, "", preamble.size(), "the npy header is cut short");
  const auto major = static_cast<unsigned>(preamble[6]);
  const auto minor = static_cast<unsigned>(preamble[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return fail_at(ErrorCode::corrupt, "", 6, "npy version {}.{} does not exist; 1.0, 2.0 and 3.0 do", major, minor);
  }
  const std::uint64_t length =
      major == 1 ? load_le<std::uint16_t>(preamble.data() + 8) : load_le<std::uint32_t>(preamble.data() + 8);
  if (length > limits.max_npy_header_bytes) {
    return fail_at(ErrorCode::limit_exceeded, "", 8, "the npy header claims {} bytes, more than {}", length,
                   limits.max_npy_header_bytes);
  }
  return length + (major == 1 ? 10 : 12);
}

Result<NpyHeader> parse_npy_header(std::span<const std::byte> header, const Limits& limits) {
  NpyHeader out;
  out.major_version = static_cast<std::uint8_t>(header[6]);
  out.header_bytes = header.size();
  const std::size_t prefix = out.major_version == 1 ? 10 : 12;
  const auto body = header.subspan(prefix);
  const std::string_view raw(reinterpret_cast<const char*>(body.data()), body.size());
  if (out.major_version == 3 && !is_utf8(raw))
    return fail_at(ErrorCode::corrupt, "", prefix, "the header is not UTF-8");
  const std::string text = out.major_version == 3 || is_ascii(raw) ? std::string(raw) : latin1_to_utf8(raw);

  auto parsed = Parser(text).parse();
  if (!parsed) {
    if (parsed.error().offset_bytes) *parsed.error().offset_bytes += prefix;
    return tl::make_unexpected(std::move(parsed.error()));
  }
  PyLiteral& dict = *parsed;
  if (dict.kind != PyLiteral::Kind::dict) return fail_at(ErrorCode::corrupt, "", prefix, "the header is not a dict");
  CKPT_TRY(out.descr, take_key(dict, "descr"));
  CKPT_TRY(const PyLiteral order, take_key(dict, "fortran_order"));
  CKPT_TRY(const PyLiteral shape, take_key(dict, "shape"));
  if (dict.items.size() != 6)
    return fail_at(ErrorCode::corrupt, "", prefix, "the header has keys that NumPy does not know");
  if (order.kind != PyLiteral::Kind::boolean)
    return fail_at(ErrorCode::corrupt, "", prefix, "fortran_order is neither True nor False");
  out.fortran_order = order.boolean;
  if (shape.kind != PyLiteral::Kind::tuple) return fail_at(ErrorCode::corrupt, "", prefix, "the shape is not a tuple");
  if (shape.items.size() > limits.max_dimensions) {
    return fail_at(ErrorCode::limit_exceeded, "", prefix, "{} dimensions, more than {}", shape.items.size(),
                   limits.max_dimensions);
  }
  for (const PyLiteral& d : shape.items) {
    if (d.kind != PyLiteral::Kind::integer)
      return fail_at(ErrorCode::corrupt, "", prefix, "the shape holds something other than sizes");
    out.shape.push_back(d.integer);
  }
  return out;
}

}  // namespace netcl::ckpt
