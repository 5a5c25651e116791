// JSON text (RFC 8259) as events, by nlohmann-json's SAX parser: it keeps its own stack, so nesting
// costs a bit a level and never the thread's stack.
//
// What it leaves to its callers is made up for here:
//   - it takes a NUL byte for the end of the text and skips a byte order mark: both are refused first;
//   - it does not look at repeated keys: those of the open objects are kept and sorted when one ends;
//   - events have no place: the iterator that it reads through counts;
//   - it knows no NaN or Infinity. Where the caller wants them, they are respelled in a copy of the
//     text as numbers of the same length ("0e0"), so that offsets stay true, and given their value
//     back when the number's event comes.
// Rejected: nlohmann's DOM, which is destroyed by recursion in some versions, drops repeated keys
// and turns integers beyond 64 bits into doubles.
#include "container/json_reader.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// A literal that Python writes and JSON does not know.
struct NonFinite {
  std::size_t offset_bytes;
  double value;
};

struct NonFiniteLiteral {
  std::string_view text;
  std::string_view number;  // of the same length
  double value;
};
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array kNonFiniteLiterals = {
    NonFiniteLiteral{"NaN", "0e0", std::numeric_limits<double>::quiet_NaN()},
    NonFiniteLiteral{"Infinity", "0e000000", kInfinity},
    NonFiniteLiteral{"-Infinity", "-0e000000", -kInfinity},
};

/// Respells the literals in `text` that stand alone, outside strings; lists where they were.
std::vector<NonFinite> respell_non_finite(std::string& text) {
  std::vector<NonFinite> found;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_string) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '"') {
        in_string = false;
      }
      continue;
    }
    if (text[i] == '"') in_string = true;
    if (text[i] != 'N' && text[i] != 'I' && text[i] != '-') continue;
    for (const NonFiniteLiteral& literal : kNonFiniteLiterals) {
      const std::size_t end = i + literal.text.size();
      if (!std::string_view(text).substr(i).starts_with(literal.text)) continue;
      // Glued to other characters it would become part of their number: "1NaN" is not 10e0.
      const bool begins = i == 0 || std::string_view("[,: \t\r\n").find(text[i - 1]) != std::string_view::npos;
      const bool ends = end == text.size() || std::string_view(",]} \t\r\n").find(text[end]) != std::string_view::npos;
      if (!begins || !ends) break;
      text.replace(i, literal.text.size(), literal.number);
      found.push_back({i, literal.value});
      i = end - 1;
      break;
    }
  }
  return found;
}

/// Walks the text for the parser, and tells how far it has got.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

/// nlohmann's events, checked and passed on.
class Events {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  Events(std::string_view text, std::vector<NonFinite> non_finite, const JsonOptions& options, JsonHandler& handler)
      : text_(text), at_(text.data()), non_finite_(std::move(non_finite)), options_(options), handler_(handler) {}

  CountingIterator begin() { return {text_.data(), &at_}; }
  CountingIterator end() { return {text_.data() + text_.size(), &at_}; }
  Result<void>& result() { return result_; }

  bool null() { return pass(handler_.null()); }
  bool boolean(bool value) { return pass(handler_.boolean(value)); }
  bool number_integer(number_integer_t value) { return pass(handler_.integer(value)); }
  bool number_unsigned(number_unsigned_t value) {
    if (value <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      return pass(handler_.integer(static_cast<std::int64_t>(value)));
    }
    return pass(handler_.big_integer(std::to_string(value)));
  }
  bool number_float(number_float_t value, const string_t& spelling) {
    if (next_non_finite_ < non_finite_.size() && non_finite_[next_non_finite_].offset_bytes < position()) {
      return pass(handler_.real(non_finite_[next_non_finite_++].value));
    }
    // Integers that do not fit 64 bits come here too.
    if (spelling.find_first_of(".eE") == string_t::npos) return pass(handler_.big_integer(spelling));
    return pass(handler_.real(value));
  }
  bool string(string_t& text) { return pass(handler_.string(text)); }
  bool binary(binary_t&) { return false; }  // of the binary encodings only

  bool start_object(std::size_t) {
    if (!descend()) return false;
    objects_.push_back({keys_.size(), key_text_.size()});
    return pass(handler_.begin_object());
  }
  bool key(string_t& text) {
    keys_.push_back({key_text_.size(), text.size(), position()});
    key_text_ += text;
    return pass(handler_.key(text));
  }
  bool end_object() {
    const Object object = objects_.back();
    objects_.pop_back();
    --depth_;
    if (!check_keys(object.first_key)) return false;
    keys_.resize(object.first_key);
    key_text_.resize(object.first_byte);
    return pass(handler_.end_object());
  }
  bool start_array(std::size_t) { return descend() && pass(handler_.begin_array()); }
  bool end_array() {
    --depth_;
    return pass(handler_.end_array());
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) {
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) {
      result_ = fail_at(ErrorCode::limit_exceeded, "", this->position(), "a number is beyond a double's range");
    } else if (position > text_.size()) {
      result_ = fail_at(ErrorCode::truncated, "", text_.size(), "the JSON text ends early");
    } else {
      const std::size_t at = position == 0 ? 0 : position - 1;
      result_ = fail_at(ErrorCode::corrupt, "", at, "this is not JSON{}",
                        static_cast<unsigned char>(text_[at]) >= 0x80 ? " in UTF-8" : "");
    }
    return false;
  }

 private:
  struct Key {
    std::size_t first_byte, num_bytes;  // in key_text_
    std::uint64_t offset_bytes;         // in the document, of its end
  };
  struct Object {
    std::size_t first_key, first_byte;
  };

  std::uint64_t position() const { return static_cast<std::uint64_t>(at_ - text_.data()); }

  bool pass(Result<void> outcome) {
    if (outcome) return true;
    result_ = std::move(outcome);
    if (!result_.error().offset_bytes) result_.error().offset_bytes = position();
    return false;
  }

  bool descend() {
    if (depth_ >= options_.max_depth) {
      result_ = fail_at(ErrorCode::limit_exceeded, "", position(), "the JSON is nested deeper than {} levels",
                        options_.max_depth);
      return false;
    }
    ++depth_;
    return true;
  }

  bool check_keys(std::size_t first) {
    const auto text = [&](const Key& k) { return std::string_view(key_text_).substr(k.first_byte, k.num_bytes); };
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(first);
    std::sort(begin, keys_.end(), [&](const Key& a, const Key& b) {
      const int order = text(a).compare(text(b));
      return order != 0 ? order < 0 : a.offset_bytes < b.offset_bytes;
    });
    const auto twice =
        std::adjacent_find(begin, keys_.end(), [&](const Key& a, const Key& b) { return text(a) == text(b); });
    if (twice == keys_.end()) return true;
    result_ = fail_at(ErrorCode::corrupt, "", (twice + 1)->offset_bytes, "the key '{}' is there twice",
                      text(*twice).substr(0, 100));
    return false;
  }

  std::string_view text_;
  const char* at_;
  std::vector<NonFinite> non_finite_;
  std::size_t next_non_finite_ = 0;
  const JsonOptions& options_;
  JsonHandler& handler_;
  Result<void> result_;
  std::uint32_t depth_ = 0;
  std::vector<Object> objects_;
  std::vector<Key> keys_;
  std::string key_text_;
};

}  // namespace

Result<void> read_json(std::string_view text, const JsonOptions& options, JsonHandler& handler) {
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return fail_at(ErrorCode::corrupt, "", nul, "this is not JSON: a NUL byte");
  }
  if (text.starts_with("\xEF\xBB\xBF"))
    return fail_at(ErrorCode::corrupt, "", 0, "a byte order mark precedes the JSON");
  std::string respelled;
  std::vector<NonFinite> non_finite;
  if (options.allow_nan && (text.find("NaN") != text.npos || text.find("Infinity") != text.npos)) {
    respelled = text;
    non_finite = respell_non_finite(respelled);
    text = respelled;
  }
  Events events(text, std::move(non_finite), options, handler);
  nlohmann::json::sax_parse(events.begin(), events.end(), &events);
  return std::move(events.result());
}

}  // namespace netcl::ckpt
