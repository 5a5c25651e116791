// A pickle machine that only notes what it is told: protocols 0 to 5, every opcode.
// https://github.com/python/cpython/blob/main/Lib/pickletools.py, Lib/pickle.py
//
// The result is a graph of symbols in one arena. Python's machine imports at GLOBAL and calls at
// REDUCE, so a pickle is a program; here both leave a node behind. The stack, the marks and the memo
// are vectors and a map, so depth costs memory, never the program's own stack. A length is compared
// with the bytes that are left before anything is made of it, and long byte strings are skipped: what
// remains of a gigabyte of arrays is a few kilobytes of opcodes.
#include "container/pickle_reader.h"

#include <bit>
#include <charconv>
#include <unordered_map>

#include "base/text.h"
#include "base/try.h"
#include "container/pickle_input.h"
#include "container/pickle_text.h"

namespace netcl::ckpt {

class PickleMachine {
 public:
  PickleMachine(StorageReader& reader, std::uint64_t begin, std::uint64_t end, std::uint64_t stored_bytes,
                const Limits& limits, const RawBytesAfter& raw_bytes_after)
      : in_(reader, begin, end),
        limits_(limits),
        max_values_(limits.max_values_in(stored_bytes)),
        raw_bytes_after_(raw_bytes_after) {}

  Result<void> run() {
    while (!stopped_) {
      at_ = in_.offset();
      CKPT_TRY(const std::uint8_t opcode, in_.byte());
      CKPT_CHECK(step(opcode));
      if (g_.nodes_.size() > max_values_ || stack_.size() > max_values_ || g_.cells_.size() > 2 * max_values_ ||
          marks_.size() > max_values_ || g_.tuple_items_.size() > 2 * max_values_ || memo_.size() > max_values_) {
        return fail(ErrorCode::limit_exceeded, "the pickle holds more than {} values", max_values_);
      }
      if (g_.text_.size() > limits_.max_pickle_inline_bytes) {
        return fail(ErrorCode::limit_exceeded, "the pickle holds more than {} bytes of text",
                    limits_.max_pickle_inline_bytes);
      }
    }
    g_.end_offset = in_.offset();
    return {};
  }

  std::uint64_t opcode_offset() const { return at_; }
  PickleGraph& graph() { return g_; }

 private:
  using Kind = PickleKind;

  static tl::unexpected<Error> bad(std::string_view what) { return fail(ErrorCode::corrupt, "{}", what); }

  // ---- stack ----
  std::size_t fence() const { return marks_.empty() ? 0 : marks_.back(); }
  Result<PickleId> pop() {
    if (stack_.size() <= fence()) return bad("the pickle takes from an empty stack");
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Result<PickleId> top() {
    if (stack_.size() <= fence()) return bad("the pickle looks at an empty stack");
    return stack_.back();
  }
  Result<std::vector<PickleId>> pop_to_mark() {
    if (marks_.empty()) return bad("the pickle has no mark here");
    std::vector<PickleId> out(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }

  // ---- nodes ----
  PickleId node(Kind kind, std::uint64_t data = 0, std::uint32_t count = 0) {
    g_.nodes_.push_back({kind, count, data});
    return static_cast<PickleId>(g_.nodes_.size() - 1);
  }
  Result<void> push(PickleId id) {
    stack_.push_back(id);
    return {};
  }
  Result<void> push_integer(std::int64_t v) { return push(node(Kind::integer, static_cast<std::uint64_t>(v))); }
  Result<void> push_text(Kind kind, std::string_view text) {
    const std::uint64_t at = g_.text_.size();
    if (text.size() > 0xffffffff) return fail(ErrorCode::limit_exceeded, "a text of {} bytes", text.size());
    g_.text_ += text;
    return push(node(kind, at, static_cast<std::uint32_t>(text.size())));
  }
  Result<void> push_tuple(Kind kind, std::span<const PickleId> items) {
    const std::uint64_t at = g_.tuple_items_.size();
    g_.tuple_items_.insert(g_.tuple_items_.end(), items.begin(), items.end());
    return push(node(kind, at, static_cast<std::uint32_t>(items.size())));
  }
  Result<void> push_growing(Kind kind) {
    g_.chains_.emplace_back();
    return push(node(kind, g_.chains_.size() - 1));
  }
  Result<void> push_range(std::uint64_t size_bytes, bool python2 = false) {
    const std::uint64_t begin = in_.offset();
    CKPT_CHECK(in_.skip(size_bytes));
    g_.ranges_.push_back({begin, size_bytes});
    return push(node(Kind::bytes, g_.ranges_.size() - 1, python2 ? 1 : 0));
  }
  Result<void> push_unicode(std::uint64_t size_bytes) {
    std::string text;
    CKPT_CHECK(in_.text(size_bytes, text));
    if (!is_wtf8(text)) return bad("a text is not UTF-8");
    return push_text(Kind::string, text);
  }
  /// Python 2's str: text where it is short ASCII (a key), else bytes.
  Result<void> push_byte_string(std::uint64_t size_bytes) {
    constexpr std::uint64_t kLongestKey = 1024;
    if (size_bytes > kLongestKey) return push_range(size_bytes, true);
    const std::uint64_t begin = in_.offset();
    std::string text;
    CKPT_CHECK(in_.text(size_bytes, text));
    if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) >= 0; }))
      return push_text(Kind::string, text);
    g_.ranges_.push_back({begin, size_bytes});
    return push(node(Kind::bytes, g_.ranges_.size() - 1, 1));
  }
  Result<void> push_global(std::string module, std::string name) {
    const std::string key = module + '\n' + name;
    const auto [it, fresh] = global_index_.emplace(key, g_.globals.size());
    if (fresh) g_.globals.push_back({std::move(module), std::move(name), at_});
    return push(node(Kind::global, it->second));
  }
  Result<void> push_call(PickleId callable, PickleId args, PickleId kwargs = kNoPickle) {
    const Kind kind = g_.kind(callable);
    // torch's legacy files name a module's class by a persistent id.
    if (kind != Kind::global && kind != Kind::call && kind != Kind::persistent)
      return bad("the pickle calls something that cannot be called");
    const Kind given = g_.kind(args);
    if (given != Kind::tuple && given != Kind::call) return bad("the pickle calls with something other than a tuple");
    if (kwargs != kNoPickle && g_.kind(kwargs) != Kind::dict && g_.kind(kwargs) != Kind::call)
      return bad("the pickle calls with keywords that are no dict");
    std::uint32_t origin = kNoPickle;
    if (kind == Kind::global) {
      origin = static_cast<std::uint32_t>(g_.nodes_[callable].data);
      g_.globals[origin].called = true;
    } else if (kind == Kind::call) {
      origin = g_.call(callable).origin;
      if (origin != kNoPickle) g_.globals[origin].result_called = true;
    }
    g_.calls_.push_back({{callable, origin, args, kwargs, kNoPickle}, {}, {}});
    return push(node(Kind::call, g_.calls_.size() - 1));
  }

  // ---- opcodes ----
  Result<void> append(PickleId target, std::span<const PickleId> items) {
    if (g_.kind(target) == Kind::list) {
      for (const PickleId i : items) g_.append(g_.chains_[g_.nodes_[target].data], i);
    } else if (g_.kind(target) == Kind::call) {
      for (const PickleId i : items) g_.append(g_.calls_[g_.nodes_[target].data].items, i);
    } else {
      return bad("the pickle appends to something that is no list");
    }
    return {};
  }
  Result<void> set_items(PickleId target, std::span<const PickleId> pairs) {
    if (pairs.size() % 2 != 0) return bad("the pickle sets a key without a value");
    if (g_.kind(target) == Kind::dict) {
      for (const PickleId i : pairs) g_.append(g_.chains_[g_.nodes_[target].data], i);
    } else if (g_.kind(target) == Kind::call) {
      for (const PickleId i : pairs) g_.append(g_.calls_[g_.nodes_[target].data].pairs, i);
    } else {
      return bad("the pickle sets items of something that is no dict");
    }
    return {};
  }
  Result<void> add_items(PickleId target, std::span<const PickleId> items) {
    if (g_.kind(target) == Kind::set) {
      for (const PickleId i : items) g_.append(g_.chains_[g_.nodes_[target].data], i);
    } else if (g_.kind(target) == Kind::call) {
      for (const PickleId i : items) g_.append(g_.calls_[g_.nodes_[target].data].items, i);
    } else {
      return bad("the pickle adds to something that is no set");
    }
    return {};
  }
  Result<void> build(PickleId state) {
    CKPT_TRY(const PickleId target, top());
    if (g_.kind(target) == Kind::call) {
      PickleId& known = g_.calls_[g_.nodes_[target].data].call.state;
      if (known != kNoPickle) {
        // A second state: both count, so that neither hides what it names.
        const PickleId both[] = {known, state};
        CKPT_CHECK(push_tuple(Kind::tuple, both));
        state = stack_.back();
        stack_.pop_back();
      }
      g_.calls_[g_.nodes_[target].data].call.state = state;
      if (!raw_bytes_after_) return {};
      CKPT_TRY(const std::optional<std::uint64_t> raw_bytes, raw_bytes_after_(g_, target, in_.offset()));
      if (!raw_bytes) return {};
      CKPT_CHECK(push_range(*raw_bytes));
      g_.calls_[g_.nodes_[target].data].call.raw = stack_.back();
      stack_.pop_back();
      return {};
    }
    if (g_.kind(target) == Kind::global) return {};  // a class's own attributes: nothing that is kept
    return bad("the pickle gives a state to something that takes none");
  }

  Result<void> put(std::uint64_t index) {
    CKPT_TRY(const PickleId id, top());
    memo_[index] = id;
    return {};
  }
  Result<void> get(std::uint64_t index) {
    const auto it = memo_.find(index);
    if (it == memo_.end()) return bad("the pickle reads a memo slot that was never set");
    return push(it->second);
  }
  Result<std::uint64_t> memo_index() {
    CKPT_TRY(const std::string line, in_.line());
    const auto digits = parse_integer(line, false);
    std::uint64_t index = 0;
    if (!digits) return bad("a memo slot is no number");
    const auto [end, error] = std::from_chars(digits->data(), digits->data() + digits->size(), index);
    if (error != std::errc() || end != digits->data() + digits->size()) return bad("a memo slot is no number");
    return index;
  }

  Result<void> push_decimal(std::string_view text) {
    if (text.starts_with('+')) text.remove_prefix(1);
    std::int64_t small = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), small);
    if (error == std::errc() && end == text.data() + text.size()) return push_integer(small);
    if (text.size() > kMaxIntegerDigits) return fail(ErrorCode::limit_exceeded, "an integer of {} digits", text.size());
    return push_text(Kind::big_integer, text);
  }
  Result<void> text_integer(bool may_be_long) {
    CKPT_TRY(const std::string line, in_.line());
    if (!may_be_long && (line == "00" || line == "01")) return push(node(Kind::boolean, line == "01"));
    const auto digits = parse_integer(line, may_be_long);
    return digits ? push_decimal(*digits) : bad("an integer is not one");
  }
  Result<void> binary_long(std::int64_t size_bytes) {
    if (size_bytes < 0) return bad("an integer has a negative length");
    CKPT_CHECK(in_.need(static_cast<std::uint64_t>(size_bytes)));
    if (size_bytes > static_cast<std::int64_t>(kMaxIntegerBytes))
      return fail(ErrorCode::limit_exceeded, "an integer of {} bytes", size_bytes);
    std::string bytes;
    CKPT_CHECK(in_.text(static_cast<std::uint64_t>(size_bytes), bytes));
    if (bytes.empty()) return push_integer(0);
    return push_decimal(to_decimal(bytes));
  }
  Result<void> text_float() {
    CKPT_TRY(const std::string line, in_.line());
    CKPT_TRY(const double value, parse_float(line));
    return push(node(Kind::real, std::bit_cast<std::uint64_t>(value)));
  }
  Result<void> binary_float() {
    CKPT_TRY(std::uint64_t bits, in_.number<std::uint64_t>());
    return push(node(Kind::real, __builtin_bswap64(bits)));
  }

  Result<void> text_unicode() {
    CKPT_TRY(const std::string line, in_.line());
    CKPT_TRY(const std::string text, unescape_unicode(line));
    return push_text(Kind::string, text);
  }
  Result<void> text_string() {
    CKPT_TRY(const std::string line, in_.line());
    CKPT_TRY(const PythonString string, unescape_string(line));
    return push_text(string.ascii ? Kind::string : Kind::byte_string, string.text);
  }

  Result<std::pair<std::string, std::string>> global_lines() {
    CKPT_TRY(std::string module, in_.line());
    CKPT_TRY(std::string name, in_.line());
    if (!is_wtf8(module) || !is_wtf8(name)) return bad("a global's name is not UTF-8");
    return std::pair(std::move(module), std::move(name));
  }

  Result<void> stack_global() {
    CKPT_TRY(const PickleId name, pop());
    CKPT_TRY(const PickleId module, pop());
    if (g_.kind(module) != Kind::string || g_.kind(name) != Kind::string) {
      return bad("a global is named by something that is no text");
    }
    return push_global(std::string(g_.text(module)), std::string(g_.text(name)));
  }

  Result<void> tuple_of(std::size_t n) {
    if (stack_.size() - fence() < n) return bad("the pickle takes from an empty stack");
    const std::vector<PickleId> items(stack_.end() - static_cast<std::ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return push_tuple(Kind::tuple, items);
  }

  Result<void> step(std::uint8_t opcode);

  PickleInput in_;
  const Limits& limits_;
  const std::uint64_t max_values_;
  const RawBytesAfter& raw_bytes_after_;
  PickleGraph g_;
  std::uint64_t at_ = 0;  // the opcode's offset
  bool stopped_ = false;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;  // stack sizes
  std::unordered_map<std::uint64_t, PickleId> memo_;
  std::unordered_map<std::string, std::size_t> global_index_;
};

Result<void> PickleMachine::step(std::uint8_t opcode) {
  switch (opcode) {
    case 0x80: {  // PROTO
      CKPT_TRY(const std::uint8_t version, in_.byte());
      if (version > 5) return fail(ErrorCode::corrupt, "pickle protocol {} does not exist; 0 to 5 do", version);
      return {};
    }
    case 0x95: {  // FRAME
      CKPT_TRY(const std::uint64_t size, in_.number<std::uint64_t>());
      return in_.need(size);
    }
    case '.': {
      CKPT_TRY(g_.root, pop());
      stopped_ = true;
      return {};
    }
    // Stack and memo.
    case '(': marks_.push_back(stack_.size()); return {};
    case '0':
      if (!marks_.empty() && stack_.size() == marks_.back()) {
        marks_.pop_back();
        return {};
      }
      CKPT_CHECK(pop());
      return {};
    case '1': CKPT_CHECK(pop_to_mark()); return {};
    case '2': {
      CKPT_TRY(const PickleId id, top());
      return push(id);
    }
    case 'p': {
      CKPT_TRY(const std::uint64_t index, memo_index());
      return put(index);
    }
    case 'q': {
      CKPT_TRY(const std::uint8_t index, in_.byte());
      return put(index);
    }
    case 'r': {
      CKPT_TRY(const std::uint32_t index, in_.number<std::uint32_t>());
      return put(index);
    }
    case 0x94: return put(memo_.size());
    case 'g': {
      CKPT_TRY(const std::uint64_t index, memo_index());
      return get(index);
    }
    case 'h': {
      CKPT_TRY(const std::uint8_t index, in_.byte());
      return get(index);
    }
    case 'j': {
      CKPT_TRY(const std::uint32_t index, in_.number<std::uint32_t>());
      return get(index);
    }
    // Scalars.
    case 'N': return push(node(Kind::none));
    case 0x88: return push(node(Kind::boolean, 1));
    case 0x89: return push(node(Kind::boolean, 0));
    case 'I': return text_integer(false);
    case 'L': return text_integer(true);
    case 'J': {
      CKPT_TRY(const std::int32_t v, in_.number<std::int32_t>());
      return push_integer(v);
    }
    case 'K': {
      CKPT_TRY(const std::uint8_t v, in_.byte());
      return push_integer(v);
    }
    case 'M': {
      CKPT_TRY(const std::uint16_t v, in_.number<std::uint16_t>());
      return push_integer(v);
    }
    case 0x8a: {
      CKPT_TRY(const std::uint8_t size, in_.byte());
      return binary_long(size);
    }
    case 0x8b: {
      CKPT_TRY(const std::int32_t size, in_.number<std::int32_t>());
      return binary_long(size);
    }
    case 'F': return text_float();
    case 'G': return binary_float();
    // Text and bytes.
    case 'V': return text_unicode();
    case 'S': return text_string();
    case 'X': {
      CKPT_TRY(const std::uint32_t size, in_.number<std::uint32_t>());
      return push_unicode(size);
    }
    case 0x8c: {
      CKPT_TRY(const std::uint8_t size, in_.byte());
      return push_unicode(size);
    }
    case 0x8d: {
      CKPT_TRY(const std::uint64_t size, in_.number<std::uint64_t>());
      return push_unicode(size);
    }
    case 'U': {
      CKPT_TRY(const std::uint8_t size, in_.byte());
      return push_byte_string(size);
    }
    case 'T': {
      CKPT_TRY(const std::int32_t size, in_.number<std::int32_t>());
      if (size < 0) return bad("a string has a negative length");
      return push_byte_string(static_cast<std::uint64_t>(size));
    }
    case 'C': {
      CKPT_TRY(const std::uint8_t size, in_.byte());
      return push_range(size);
    }
    case 'B': {
      CKPT_TRY(const std::uint32_t size, in_.number<std::uint32_t>());
      return push_range(size);
    }
    case 0x8e:    // BINBYTES8
    case 0x96: {  // BYTEARRAY8
      CKPT_TRY(const std::uint64_t size, in_.number<std::uint64_t>());
      return push_range(size);
    }
    case 0x97: return bad("the pickle wants a buffer that is kept outside of it");
    case 0x98:
      CKPT_CHECK(top());
      return {};  // READONLY_BUFFER
    // Containers.
    case ')': return push_tuple(Kind::tuple, {});
    case 't': {
      CKPT_TRY(const auto items, pop_to_mark());
      return push_tuple(Kind::tuple, items);
    }
    case 0x85: return tuple_of(1);
    case 0x86: return tuple_of(2);
    case 0x87: return tuple_of(3);
    case ']': return push_growing(Kind::list);
    case '}': return push_growing(Kind::dict);
    case 0x8f: return push_growing(Kind::set);
    case 'l': {
      CKPT_TRY(const auto items, pop_to_mark());
      CKPT_CHECK(push_growing(Kind::list));
      return append(stack_.back(), items);
    }
    case 'd': {
      CKPT_TRY(const auto pairs, pop_to_mark());
      CKPT_CHECK(push_growing(Kind::dict));
      return set_items(stack_.back(), pairs);
    }
    case 0x91: {
      CKPT_TRY(const auto items, pop_to_mark());
      return push_tuple(Kind::frozenset, items);
    }
    case 'a': {
      CKPT_TRY(const PickleId item, pop());
      CKPT_TRY(const PickleId target, top());
      return append(target, std::span(&item, 1));
    }
    case 'e': {
      CKPT_TRY(const auto items, pop_to_mark());
      CKPT_TRY(const PickleId target, top());
      return append(target, items);
    }
    case 's': {
      CKPT_TRY(const PickleId value, pop());
      CKPT_TRY(const PickleId key, pop());
      CKPT_TRY(const PickleId target, top());
      const PickleId pair[] = {key, value};
      return set_items(target, pair);
    }
    case 'u': {
      CKPT_TRY(const auto pairs, pop_to_mark());
      CKPT_TRY(const PickleId target, top());
      return set_items(target, pairs);
    }
    case 0x90: {
      CKPT_TRY(const auto items, pop_to_mark());
      CKPT_TRY(const PickleId target, top());
      return add_items(target, items);
    }
    // What would run code.
    case 'c': {
      CKPT_TRY(auto names, global_lines());
      return push_global(std::move(names.first), std::move(names.second));
    }
    case 0x93: return stack_global();
    case 'R':
    case 0x81: {  // REDUCE, NEWOBJ
      CKPT_TRY(const PickleId args, pop());
      CKPT_TRY(const PickleId callable, pop());
      return push_call(callable, args);
    }
    case 0x92: {  // NEWOBJ_EX
      CKPT_TRY(const PickleId kwargs, pop());
      CKPT_TRY(const PickleId args, pop());
      CKPT_TRY(const PickleId callable, pop());
      return push_call(callable, args, kwargs);
    }
    case 'i': {
      CKPT_TRY(auto names, global_lines());
      CKPT_TRY(const auto items, pop_to_mark());
      CKPT_CHECK(push_global(std::move(names.first), std::move(names.second)));
      CKPT_TRY(const PickleId callable, pop());
      CKPT_CHECK(push_tuple(Kind::tuple, items));
      CKPT_TRY(const PickleId args, pop());
      return push_call(callable, args);
    }
    case 'o': {
      CKPT_TRY(const auto items, pop_to_mark());
      if (items.empty()) return bad("the pickle makes an object of no class");
      CKPT_CHECK(push_tuple(Kind::tuple, std::span(items).subspan(1)));
      CKPT_TRY(const PickleId args, pop());
      return push_call(items[0], args);
    }
    case 'b': {
      CKPT_TRY(const PickleId state, pop());
      return build(state);
    }
    case 'P': {
      CKPT_TRY(const std::string line, in_.line());
      CKPT_CHECK(push_text(Kind::string, to_valid_utf8(line)));
      CKPT_TRY(const PickleId id, pop());
      return push(node(Kind::persistent, id));
    }
    case 'Q': {
      CKPT_TRY(const PickleId id, pop());
      return push(node(Kind::persistent, id));
    }
    case 0x82:
    case 0x83:
    case 0x84: return bad("the pickle uses a registered extension, which only its own program has");
    default: return fail(ErrorCode::corrupt, "byte 0x{:02x} is no pickle opcode", opcode);
  }
}

Result<PickleGraph> read_pickle_graph(const Storage& storage, std::uint64_t offset_bytes, const Limits& limits,
                                      std::vector<PickleGlobal>* globals_before_error,
                                      const RawBytesAfter& raw_bytes_after) {
  CKPT_TRY(const auto reader, storage.open());
  // What inflates to it proves nothing.
  const StoredForm& form = storage.stored_form();
  const bool inflated = form.compression != Compression::none;
  const std::uint64_t stored_bytes = inflated ? form.stored_bytes : storage.size_bytes() - offset_bytes;
  PickleMachine machine(*reader, offset_bytes, storage.size_bytes(), stored_bytes, limits, raw_bytes_after);
  if (auto done = machine.run(); !done) {
    if (!done.error().offset_bytes) done.error().offset_bytes = machine.opcode_offset();
    if (globals_before_error != nullptr) *globals_before_error = std::move(machine.graph().globals);
    return tl::make_unexpected(std::move(done.error()));
  }
  return std::move(machine.graph());
}

}  // namespace netcl::ckpt
