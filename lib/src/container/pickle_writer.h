#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace netcl::ckpt {

/// Emits pickle opcodes, protocol 2 (torch's) or 4. Knows opcodes, not what they build; the caller
/// keeps the stack in order.
class PickleWriter {
 public:
  explicit PickleWriter(int protocol);

  void none();
  void boolean(bool value);
  void integer(std::int64_t value);
  /// Decimal text of any length, "-" first where negative.
  void big_integer(std::string_view decimal);
  void real(double value);
  void string(std::string_view text);  ///< UTF-8, surrogates as three bytes; under 4 GiB
  /// Protocol 4: BINBYTES. Protocol 2 has no bytes; it calls _codecs.encode, as Python does.
  void bytes(std::string_view bytes);
  /// The opcode and length of `size_bytes` bytes that the caller puts right behind. Protocol 4.
  void bytes_header(std::uint64_t size_bytes);
  /// A class or function by its name in Python 3; neither part holds a line feed. Mentioned again, it
  /// comes from the memo.
  void global(std::string_view module, std::string_view name);

  void mark() { out_ += '('; }
  void tuple() { out_ += 't'; }  ///< of what lies above the mark
  void empty_list() { out_ += ']'; }
  void appends() { out_ += 'e'; }
  void empty_dict() { out_ += '}'; }
  void set_items() { out_ += 'u'; }
  void reduce() { out_ += 'R'; }
  void build() { out_ += 'b'; }
  void persistent_id() { out_ += 'Q'; }
  void stop() { out_ += '.'; }

  /// Remembers the top of the stack; the number is for get().
  std::uint32_t put();
  void get(std::uint32_t memo);

  /// What has been emitted since the last call.
  std::string take() { return std::exchange(out_, {}); }

 private:
  template <class T>
  void number(T value);

  int protocol_;
  std::string out_;
  std::uint32_t next_memo_ = 0;
  std::unordered_map<std::string, std::uint32_t> globals_;  // their places in the memo
};

}  // namespace netcl::ckpt
