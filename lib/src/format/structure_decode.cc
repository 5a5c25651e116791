// A checkpoint's values out of the structure document (format/structure.h has its form) and the flat list of tensors
// beside it. The walk has a stack of its own.
#include "format/structure_decode.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/text.h"
#include "base/try.h"
#include "format/readers.h"
#include "model/dtype.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

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
