// The structure document: see the header for its form. Both directions walk with a stack of their own.
#include "format/structure.h"

#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "base/try.h"
#include "format/readers.h"
#include "model/dtype.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::optional<std::string> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned char byte = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (error != std::errc() || end != hex.data() + i + 2) return std::nullopt;
    out += static_cast<char>(byte);
  }
  return out;
}

const char* special_real(double v) { return std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity"; }

std::string finite_real(double v) {
  std::string out = fmt::format("{}", v);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

/// An npz has no name for these.
bool lacks_descr(ScalarType type) { return !known_to_numpy(type) && type != ScalarType::bfloat16; }

/// Writes a tree as JSON, typed (the structure) or plain (the sidecar).
class JsonWriter {
 public:
  JsonWriter(const Tree& tree, bool typed, bool name_dtypes) : tree_(tree), typed_(typed), name_dtypes_(name_dtypes) {}

  Result<std::string> write(ValueId root) {
    open_.resize(tree_.size());
    written_.resize(tree_.size());
    CKPT_CHECK(begin(root));
    while (!stack_.empty()) {
      Frame& top = stack_.back();
      if (top.next == num_children(tree_, top.id)) {
        out_ += top.close;
        open_[top.id] = false;
        stack_.pop_back();
        continue;
      }
      const std::size_t i = top.next++;
      if (i > 0) out_ += ',';
      const ValueId next = child(tree_, top.id, i);
      if (tree_.kind(top.id) == ValueKind::dict) {
        const ValueId key = tree_.entries(top.id)[i].key;
        if (top.pairs) {
          out_ += '[';
          CKPT_CHECK(counted(key, [&] { return leaf(key); }));
          out_ += ',';
          pending_close_ = true;
        } else {
          CKPT_CHECK(counted(key, [&]() -> Result<void> {
            out_ += json_string(typed_ ? std::string(tree_.text(key)) : key_text(tree_, key));
            return {};
          }));
          out_ += ':';
        }
      }
      CKPT_CHECK(counted(next, [&] { return begin(next); }));
    }
    return std::move(out_);
  }

 private:
  struct Frame {
    ValueId id;
    std::size_t next;
    std::string close;
    bool pairs;  // a dict written as [[key, value]…]
  };

  /// JSON says a shared value again at each place. What that adds is bounded, so that 300 bytes of lists that hold
  /// each other twice are refused rather than written for ever.
  template <class Write>
  Result<void> counted(ValueId id, Write write) {
    constexpr std::uint64_t kMaxRepeatedBytes = std::uint64_t{16} << 20;
    const std::size_t before = out_.size();
    CKPT_CHECK(write());
    if (written_[id]) repeated_bytes_ += out_.size() - before;
    written_[id] = true;
    if (repeated_bytes_ <= kMaxRepeatedBytes) return {};
    return fail(ErrorCode::limit_exceeded,
                "shared values would be written more than {} MB over again; a pickle can share",
                kMaxRepeatedBytes >> 20);
  }

  /// Writes a leaf, or opens a container. Inside "$dict" the pair's bracket closes after the value.
  Result<void> begin(ValueId id) {
    const std::string after = std::exchange(pending_close_, false) ? "]" : "";
    switch (tree_.kind(id)) {
      case ValueKind::list: return open(id, "[", "]" + after, false);
      case ValueKind::tuple: return sequence(id, "$tuple", after);
      case ValueKind::set: return sequence(id, "$set", after);
      case ValueKind::frozenset: return sequence(id, "$frozenset", after);
      case ValueKind::dict: {
        if (!typed_ || plain_keys(id)) return open(id, "{", "}" + after, false);
        return open(id, "{\"$dict\":[", "]}" + after, true);
      }
      default:
        CKPT_CHECK(leaf(id));
        out_ += after;
        return {};
    }
  }

  Result<void> sequence(ValueId id, std::string_view word, const std::string& after) {
    if (!typed_) return open(id, "[", "]" + after, false);
    return open(id, fmt::format("{{\"{}\":[", word), "]}" + after, false);
  }

  Result<void> open(ValueId id, std::string_view text, std::string close, bool pairs) {
    if (open_[id]) return fail(ErrorCode::unsupported, "a container holds itself, which only a pickle can say");
    open_[id] = true;
    out_ += text;
    stack_.push_back({id, 0, std::move(close), pairs});
    return {};
  }

  /// A JSON object can say them: texts, each once.
  bool plain_keys(ValueId dict) const {
    const auto entries = tree_.entries(dict);
    std::unordered_set<std::string_view> seen;
    seen.reserve(entries.size());
    for (const Tree::Entry& e : entries) {
      if (tree_.kind(e.key) != ValueKind::string) return false;
      const std::string_view text = tree_.text(e.key);
      if (text.starts_with('$') || !is_utf8(text) || !seen.insert(text).second) return false;
    }
    return true;
  }

  Result<void> leaf(ValueId id) {
    const ValueKind kind = tree_.kind(id);
    switch (kind) {
      case ValueKind::none: out_ += "null"; return {};
      case ValueKind::boolean: out_ += tree_.boolean(id) ? "true" : "false"; return {};
      case ValueKind::integer: out_ += fmt::format("{}", tree_.integer(id)); return {};
      case ValueKind::big_integer: out_ += tree_.text(id); return {};
      case ValueKind::real: {
        const double v = tree_.real(id);
        if (std::isfinite(v)) {
          out_ += finite_real(v);
        } else {
          out_ += typed_ ? fmt::format("{{\"$real\":\"{}\"}}", special_real(v)) : special_real(v);
        }
        return {};
      }
      case ValueKind::string:
        if (is_utf8(tree_.text(id))) {
          out_ += json_string(tree_.text(id));
          return {};
        }
        break;
      default: break;
    }
    if (!typed_) return fail(ErrorCode::unsupported, "JSON cannot hold this value; --embed-sidecar can");
    switch (kind) {
      case ValueKind::string: out_ += fmt::format("{{\"$str\":\"{}\"}}", to_hex(tree_.text(id))); return {};
      case ValueKind::bytes: out_ += fmt::format("{{\"$bytes\":\"{}\"}}", to_hex(tree_.text(id))); return {};
      case ValueKind::complex:
        out_ += fmt::format("{{\"$complex\":[{},{}]}}", real_text(tree_.real(id)), real_text(tree_.imaginary(id)));
        return {};
      case ValueKind::name: out_ += fmt::format("{{\"$name\":{}}}", json_string(tree_.text(id))); return {};
      case ValueKind::tensor: {
        const DType& dtype = tree_.tensor(id).dtype;
        const bool named = name_dtypes_ && lacks_descr(dtype.type);
        out_ += fmt::format("{{\"$tensor\":\"{}\"}}", named ? dtype.name() : "");
        return {};
      }
      case ValueKind::scalar: return scalar(tree_.tensor(id));
      case ValueKind::opaque:
        return fail(ErrorCode::unsafe, "it calls {}, which is never executed; strip or exclude that part",
                    tree_.text(id));
      default: return fail(ErrorCode::unsupported, "a dict has a container as key, which this format cannot hold");
    }
  }

  static std::string real_text(double v) {
    return std::isfinite(v) ? finite_real(v) : fmt::format("{{\"$real\":\"{}\"}}", special_real(v));
  }

  Result<void> scalar(const Tensor& tensor) {
    std::string bytes(tensor.size_bytes(), '\0');
    CKPT_TRY(auto reader, TensorReader::open(tensor));
    CKPT_CHECK(reader.read(std::as_writable_bytes(std::span(bytes))));
    out_ += fmt::format("{{\"$scalar\":[{},\"{}\"]}}", json_string(to_valid_utf8(little_endian(tensor.dtype).descr())),
                        to_hex(bytes));
    return {};
  }

  const Tree& tree_;
  bool typed_;
  bool name_dtypes_;
  std::string out_;
  std::vector<Frame> stack_;
  std::vector<bool> open_;
  std::vector<bool> written_;  // once or more
  std::uint64_t repeated_bytes_ = 0;
  bool pending_close_ = false;
};

/// True where the root is a dict from names, each a Unicode text, to tensors and nothing else.
bool is_flat(const Checkpoint& checkpoint, bool name_dtypes) {
  const Tree& tree = checkpoint.tree;
  if (tree.kind(checkpoint.root) == ValueKind::tensor) {
    return !name_dtypes || !lacks_descr(tree.tensor(checkpoint.root).dtype.type);
  }
  if (tree.kind(checkpoint.root) != ValueKind::dict) return false;
  for (const Tree::Entry& e : tree.entries(checkpoint.root)) {
    if (tree.kind(e.key) != ValueKind::string || !is_utf8(tree.text(e.key))) return false;
    if (tree.kind(e.value) != ValueKind::tensor) return false;
    if (name_dtypes && lacks_descr(tree.tensor(e.value).dtype.type)) return false;
  }
  return true;
}

/// Turns a parsed document back into values of the checkpoint's tree.
class Decoder {
 public:
  Decoder(const Tree& json, const Limits& limits, Checkpoint& checkpoint)
      : json_(json), limits_(limits), checkpoint_(checkpoint) {
    for (const Tree::Entry& e : checkpoint.tree.entries(checkpoint.root)) {
      if (checkpoint.tree.kind(e.key) == ValueKind::string) unused_.emplace(checkpoint.tree.text(e.key), e);
    }
  }

  /// Values for which the document has no tensor any more are left out with their keys.
  Result<ValueId> decode(ValueId root) {
    struct Frame {
      ValueId id;        // of the JSON value
      ValueId elements;  // where the children are: the same, or the list inside {"$tuple": […]}
      ValueKind kind;
      bool pairs;
      std::size_t next = 0;
      std::size_t name_bytes = 0;
      std::vector<ValueId> keys, values;
    };
    std::vector<Frame> stack;
    std::string name;
    std::optional<ValueId> done;  // the value just finished, for the frame below
    auto start = [&](ValueId id) -> Result<void> {
      const ValueKind kind = json_.kind(id);
      if (kind == ValueKind::list) {
        stack.push_back({id, id, ValueKind::list, false, 0, name.size(), {}, {}});
        return {};
      }
      if (kind != ValueKind::dict) {
        done = copy_leaf(id);
        return {};
      }
      const auto entries = json_.entries(id);
      const std::string_view word = entries.size() == 1 ? json_.text(entries[0].key) : std::string_view();
      if (!word.starts_with('$')) {
        stack.push_back({id, id, ValueKind::dict, false, 0, name.size(), {}, {}});
        return {};
      }
      const ValueId inner = entries[0].value;
      if (word == "$dict" || word == "$tuple" || word == "$set" || word == "$frozenset") {
        if (json_.kind(inner) != ValueKind::list) return bad();
        const ValueKind made = word == "$dict"    ? ValueKind::dict
                               : word == "$tuple" ? ValueKind::tuple
                               : word == "$set"   ? ValueKind::set
                                                  : ValueKind::frozenset;
        stack.push_back({id, inner, made, word == "$dict", 0, name.size(), {}, {}});
        return {};
      }
      return special(word, inner, name, done);
    };

    CKPT_CHECK(start(root));
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.next > 0) {  // back from a child; without a value its tensor is gone from the file
        if (done) {
          top.values.push_back(*done);
        } else if (top.kind == ValueKind::dict) {
          top.keys.pop_back();
        } else {
          top.values.push_back(tree().add_none());
        }
      }
      done.reset();
      if (top.next == num_children(json_, top.elements)) {
        finish(top.kind, top.keys, top.values, done);
        name.resize(top.name_bytes);
        stack.pop_back();
        if (stack.empty()) return *done;
        continue;
      }
      const std::size_t i = top.next++;
      ValueId next = child(json_, top.elements, i);
      name.resize(top.name_bytes);
      if (stack.size() > 1) name += '.';
      if (top.kind == ValueKind::dict) {
        ValueId key;
        if (top.pairs) {
          if (json_.kind(next) != ValueKind::list || json_.items(next).size() != 2) return bad();
          const auto pair = json_.items(next);
          CKPT_TRY(key, decode_key(pair[0]));
          next = pair[1];
        } else {
          key = tree().add_string(json_.text(json_.entries(top.elements)[i].key));
        }
        top.keys.push_back(key);
        name += key_text(tree(), key);
      } else {
        name += fmt::format("{}", i);
      }
      if (name.size() > limits_.max_name_bytes)
        return fail(ErrorCode::limit_exceeded, "the structure's names are too long");
      CKPT_CHECK(start(next));
    }
    if (!done) return bad();
    return *done;
  }

  /// Tensors of the file that nothing decoded so far named; what is decoded next finds none of them.
  std::vector<Tree::Entry> take_unused() {
    std::vector<Tree::Entry> out;
    for (const Tree::Entry& e : checkpoint_.tree.entries(checkpoint_.root)) {
      if (checkpoint_.tree.kind(e.key) == ValueKind::string &&
          unused_.contains(std::string(checkpoint_.tree.text(e.key))))
        out.push_back(e);
    }
    unused_.clear();
    return out;
  }

 private:
  static tl::unexpected<Error> bad() { return fail(ErrorCode::corrupt, "the structure document is not one"); }
  Tree& tree() { return checkpoint_.tree; }

  ValueId copy_leaf(ValueId id) {
    switch (json_.kind(id)) {
      case ValueKind::boolean: return tree().add_boolean(json_.boolean(id));
      case ValueKind::integer: return tree().add_integer(json_.integer(id));
      case ValueKind::big_integer: return tree().add_big_integer(json_.text(id));
      case ValueKind::real: return tree().add_real(json_.real(id));
      case ValueKind::string: return tree().add_string(json_.text(id));
      default: return tree().add_none();
    }
  }

  /// A key is a leaf, plain or special.
  Result<ValueId> decode_key(ValueId id) {
    if (json_.kind(id) == ValueKind::list) return bad();
    if (json_.kind(id) != ValueKind::dict) return copy_leaf(id);
    const auto entries = json_.entries(id);
    if (entries.size() != 1) return bad();
    std::optional<ValueId> key;
    CKPT_CHECK(special(json_.text(entries[0].key), entries[0].value, "", key));
    if (!key) return bad();
    return *key;
  }

  std::optional<double> number(ValueId id) const {
    if (json_.kind(id) == ValueKind::real) return json_.real(id);
    if (json_.kind(id) == ValueKind::integer) return static_cast<double>(json_.integer(id));
    if (json_.kind(id) != ValueKind::dict || json_.entries(id).size() != 1) return std::nullopt;
    return special_number(json_.entries(id)[0].value);
  }

  std::optional<double> special_number(ValueId id) const {
    if (json_.kind(id) != ValueKind::string) return std::nullopt;
    const std::string_view text = json_.text(id);
    if (text == "NaN") return std::nan("");
    if (text == "Infinity") return HUGE_VAL;
    if (text == "-Infinity") return -HUGE_VAL;
    return std::nullopt;
  }

  Result<void> special(std::string_view word, ValueId inner, const std::string& name, std::optional<ValueId>& done) {
    const bool text = json_.kind(inner) == ValueKind::string;
    if (word == "$tensor" && text) {
      const auto it = unused_.find(name);
      if (it == unused_.end()) return {};  // dropped by whoever rewrote the file
      done = it->second.value;
      if (!json_.text(inner).empty()) {
        CKPT_TRY(const DType dtype, parse_type_string(json_.text(inner)));
        Tensor tensor = tree().tensor(*done);
        // Only what the format cannot say may be said here. Whoever wrote the document may have written the bytes
        // too: as an object array they would be a pickle that nobody looked at.
        if (!lacks_descr(dtype.type) || has_object(tensor.dtype) || dtype.item_bytes != tensor.dtype.item_bytes)
          return bad();
        tensor.dtype = dtype;
        done = tree().add_tensor(std::move(tensor));
      }
      unused_.erase(it);
      return {};
    }
    if (word == "$real") {
      const auto v = special_number(inner);
      if (!v) return bad();
      done = tree().add_real(*v);
      return {};
    }
    if (word == "$name" && text) {
      done = tree().add_name(json_.text(inner));
      return {};
    }
    if ((word == "$bytes" || word == "$str") && text) {
      const auto bytes = from_hex(json_.text(inner));
      if (!bytes) return bad();
      done = word == "$bytes" ? tree().add_bytes(*bytes) : tree().add_string(*bytes);
      return {};
    }
    if (json_.kind(inner) != ValueKind::list || json_.items(inner).size() != 2) return bad();
    const auto pair = json_.items(inner);
    if (word == "$complex") {
      const auto re = number(pair[0]), im = number(pair[1]);
      if (!re || !im) return bad();
      done = tree().add_complex(*re, *im);
      return {};
    }
    if (word == "$scalar" && json_.kind(pair[0]) == ValueKind::string && json_.kind(pair[1]) == ValueKind::string) {
      const auto bytes = from_hex(json_.text(pair[1]));
      CKPT_TRY(DType dtype, parse_type_string(json_.text(pair[0])));
      if (!bytes || has_object(dtype) || bytes->size() != dtype.item_bytes) return bad();
      const auto view = std::as_bytes(std::span(*bytes));
      Tensor tensor;
      tensor.dtype = std::move(dtype);
      tensor.storage = file_storage(memory_source({view.begin(), view.end()}, "scalar"), 0, bytes->size());
      done = tree().add_scalar(std::move(tensor));
      return {};
    }
    return bad();
  }

  void finish(ValueKind kind, std::span<const ValueId> keys, std::span<const ValueId> values,
              std::optional<ValueId>& done) {
    if (kind != ValueKind::dict) {
      done = tree().add_sequence(kind, values);
      return;
    }
    std::vector<Tree::Entry> entries;
    for (std::size_t i = 0; i < keys.size(); ++i) entries.push_back({keys[i], values[i]});
    done = tree().add_dict(entries);
  }

  const Tree& json_;
  const Limits& limits_;
  Checkpoint& checkpoint_;
  std::unordered_map<std::string, Tree::Entry> unused_;
};

}  // namespace

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

Result<std::string> to_plain_json(const Tree& tree, ValueId id) { return JsonWriter(tree, false, false).write(id); }

Result<std::string> encode_structure(const Checkpoint& checkpoint, bool name_dtypes, bool with_attributes,
                                     bool even_if_flat, bool even_if_none) {
  const Tree& tree = checkpoint.tree;
  with_attributes = with_attributes && (even_if_none || !tree.entries(checkpoint.attributes).empty());
  if (!even_if_flat && is_flat(checkpoint, name_dtypes) && !with_attributes) return std::string();
  CKPT_TRY(const std::string state, JsonWriter(tree, true, name_dtypes).write(checkpoint.root));
  std::string out = fmt::format("{}:1,\"state\":{}", kStructureStart, state);
  if (with_attributes) {
    CKPT_TRY(const std::string attributes, JsonWriter(tree, true, name_dtypes).write(checkpoint.attributes));
    out += fmt::format(",\"attributes\":{}", attributes);
  }
  return out + "}";
}

Result<void> decode_structure(std::string_view text, const Limits& limits, Checkpoint& checkpoint) {
  Tree json;
  CKPT_TRY(const ValueId document, parse_json(text, limits, json));
  const auto* version = json.find(document, kStructureKey);
  const auto* state = json.find(document, "state");
  if (version == nullptr || state == nullptr || json.kind(version->value) != ValueKind::integer) {
    return fail(ErrorCode::corrupt, "the structure document is not one");
  }
  if (json.integer(version->value) != 1)
    return fail(ErrorCode::unsupported, "the structure document is of a newer version");
  Decoder decoder(json, limits, checkpoint);
  CKPT_TRY(ValueId root, decoder.decode(state->value));
  const auto rest = decoder.take_unused();
  ValueId beside = checkpoint.attributes;
  if (const auto* attributes = json.find(document, "attributes")) {
    CKPT_TRY(beside, decoder.decode(attributes->value));
    if (checkpoint.tree.kind(beside) != ValueKind::dict) return fail(ErrorCode::corrupt, "the attributes are no dict");
    checkpoint.attributes_inside = true;
  }
  if (!rest.empty()) {
    // A document that has no place for them would hide what NumPy reads.
    if (checkpoint.tree.kind(root) != ValueKind::dict)
      return fail(ErrorCode::corrupt, "the structure document leaves out tensors of the file");
    const auto own = checkpoint.tree.entries(root);
    std::vector<Tree::Entry> entries(own.begin(), own.end());
    entries.insert(entries.end(), rest.begin(), rest.end());
    root = checkpoint.tree.add_dict(entries);
  }
  checkpoint.root = root;
  checkpoint.attributes = beside;
  return {};
}

}  // namespace netcl::ckpt
