// A tree as JSON: the structure document (format/structure.h has its form), and netcl's sidecar. The walk has a stack
// of its own.
#include "format/structure_encode.h"

#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "base/text.h"
#include "base/try.h"
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

const char* special_real(double v) { return std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity"; }

std::string finite_real(double v) {
  std::string out = fmt::format("{}", v);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

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
    if (!typed_)
      return with_way_out(fail(ErrorCode::unsupported, "JSON cannot hold this value"),
                          "keep it in the npz (`embed_sidecar`)");
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

}  // namespace

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

}  // namespace netcl::ckpt
