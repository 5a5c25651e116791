// Pickle opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
// Protocol 4 without frames: a frame would need its length before the payloads that it holds, and
// readers must take unframed opcodes anyway. Of protocol 2 only what torch's own weights-only reader
// knows: https://github.com/pytorch/pytorch/blob/main/torch/_weights_only_unpickler.py
#include "container/pickle_writer.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <vector>

#include "base/endian.h"
#include "base/text.h"
#include "container/pickle_text.h"

namespace netcl::ckpt {

PickleWriter::PickleWriter(int protocol) : protocol_(protocol) {
  out_ += '\x80';
  out_ += static_cast<char>(protocol);
}

template <class T>
void PickleWriter::number(T value) {
  char bytes[sizeof value];
  store_le(bytes, value);
  out_.append(bytes, sizeof value);
}

void PickleWriter::none() { out_ += 'N'; }
void PickleWriter::boolean(bool value) { out_ += value ? '\x88' : '\x89'; }

void PickleWriter::integer(std::int64_t value) {
  if (value >= 0 && value <= 0xff) {
    out_ += 'K';
    number(static_cast<std::uint8_t>(value));
  } else if (value >= 0 && value <= 0xffff) {
    out_ += 'M';
    number(static_cast<std::uint16_t>(value));
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    out_ += 'J';
    number(static_cast<std::int32_t>(value));
  } else {
    out_ += '\x8a';  // LONG1: two's complement, little-endian
    number(std::uint8_t{8});
    number(value);
  }
}

void PickleWriter::big_integer(std::string_view decimal) {
  const bool negative = decimal.starts_with('-');
  if (negative) decimal.remove_prefix(1);
  // Base 2**32 from base 10**9, a digit group at a time: quadratic, and readers cap the digits.
  std::vector<std::uint32_t> words;
  while (!decimal.empty()) {
    const std::size_t n = std::min<std::size_t>(decimal.size(), 9);
    std::uint32_t group = 0, scale = 1;
    std::from_chars(decimal.data(), decimal.data() + n, group);
    for (std::size_t i = 0; i < n; ++i) scale *= 10;
    std::uint64_t carry = group;
    for (std::uint32_t& w : words) {
      carry += std::uint64_t{w} * scale;
      w = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    if (carry > 0) words.push_back(static_cast<std::uint32_t>(carry));
    decimal.remove_prefix(n);
  }
  words.push_back(0);  // room for the sign
  if (negative) negate(words);
  std::string bytes(words.size() * 4, '\0');
  for (std::size_t i = 0; i < words.size(); ++i) store_le(&bytes[i * 4], words[i]);
  // A last byte that only repeats the sign is left out, as Python does.
  const char sign = negative ? '\xff' : '\0';
  while (bytes.size() > 1 && bytes.back() == sign && ((bytes[bytes.size() - 2] ^ sign) & 0x80) == 0) bytes.pop_back();
  if (bytes.size() <= 0xff) {
    out_ += '\x8a';
    number(static_cast<std::uint8_t>(bytes.size()));
  } else {
    out_ += '\x8b';
    number(static_cast<std::uint32_t>(bytes.size()));
  }
  out_ += bytes;
}

void PickleWriter::real(double value) {
  out_ += 'G';  // big-endian, alone among all opcodes
  char bytes[8];
  store_le(bytes, std::bit_cast<std::uint64_t>(value));
  std::reverse(bytes, bytes + 8);
  out_.append(bytes, sizeof bytes);
}

void PickleWriter::string(std::string_view text) {
  out_ += 'X';
  number(static_cast<std::uint32_t>(text.size()));
  out_ += text;
}

void PickleWriter::bytes(std::string_view bytes) {
  if (protocol_ >= 3) {
    bytes_header(bytes.size());
    out_ += bytes;
    return;
  }
  global("_codecs", "encode");
  mark();
  std::string latin1;
  for (const char c : bytes) append_utf8(latin1, static_cast<std::uint8_t>(c));
  string(latin1);
  string("latin1");
  tuple();
  reduce();
}

void PickleWriter::bytes_header(std::uint64_t size_bytes) {
  if (size_bytes <= 0xffffffff) {
    out_ += 'B';
    number(static_cast<std::uint32_t>(size_bytes));
  } else {
    out_ += '\x8e';
    number(size_bytes);
  }
}

void PickleWriter::global(std::string_view module, std::string_view name) {
  // Python 3 reads protocol 2's globals as Python 2's names.
  if (protocol_ < 3 && module == "builtins") module = "__builtin__";
  std::string text;
  text.append(module).append("\n").append(name).append("\n");
  if (const auto known = globals_.find(text); known != globals_.end()) return get(known->second);
  out_ += 'c';
  out_ += text;
  globals_.emplace(std::move(text), put());
}

std::uint32_t PickleWriter::put() {
  if (protocol_ >= 4) {
    out_ += '\x94';  // MEMOIZE: under the next number
  } else if (next_memo_ <= 0xff) {
    out_ += 'q';
    number(static_cast<std::uint8_t>(next_memo_));
  } else {
    out_ += 'r';
    number(next_memo_);
  }
  return next_memo_++;
}

void PickleWriter::get(std::uint32_t memo) {
  if (memo <= 0xff) {
    out_ += 'h';
    number(static_cast<std::uint8_t>(memo));
  } else {
    out_ += 'j';
    number(memo);
  }
}

}  // namespace netcl::ckpt
