// diff's other half: the values that are no tensors.
//
// Two graphs are walked side by side. Values may be shared a million times and may contain themselves, so
// a pair of containers is entered once, wherever else it turns up: what differs in it has been said then.
// That makes the walk linear for two files alike. Pickles made so that every container meets every other
// are stopped by the limits.
//
// Formats keep less than Python does, and a checkpoint that went through one of them should still be the
// same: a list is a tuple, a NumPy scalar is its number, and dict keys are told apart by their text.
#include "report/diff_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/glob.h"
#include "base/try.h"
#include "format/architecture.h"
#include "model/dtype.h"
#include "model/element_text.h"
#include "model/numbers.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kMaxTextBytes = 200;
constexpr std::size_t kMaxScalarBytes = 4096;

enum class Shape { tensor, dict, sequence, set, opaque, leaf };

Shape shape_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::tensor: return Shape::tensor;
    case ValueKind::dict: return Shape::dict;
    case ValueKind::list:
    case ValueKind::tuple: return Shape::sequence;
    case ValueKind::set:
    case ValueKind::frozenset: return Shape::set;
    case ValueKind::opaque: return Shape::opaque;
    default: return Shape::leaf;
  }
}

/// One of the two files, with the questions that the walk asks of it.
class Side {
 public:
  /// `safetensors`: whether one of the two is such a file.
  Side(const Checkpoint& checkpoint, bool safetensors)
      : checkpoint_(checkpoint),
        tree_(checkpoint.tree),
        safetensors_(safetensors),
        leads_to_tensor_(contains_tensor(checkpoint.tree, checkpoint.root)) {}

  const Tree& tree() const { return tree_; }
  ValueId root() const { return checkpoint_.root; }
  Shape shape(ValueId id) const { return shape_of(tree_.kind(id)); }
  bool leads_to_tensor(ValueId id) const { return leads_to_tensor_[id]; }
  std::size_t text_bytes(ValueId id) const {
    const ValueKind kind = tree_.kind(id);
    return kind == ValueKind::string || kind == ValueKind::bytes || kind == ValueKind::big_integer
               ? tree_.text(id).size()
               : 0;
  }
  /// Its first visit without a partner.
  bool enter_alone(ValueId id) { return entered_alone_.insert(id).second; }

  struct Child {
    std::string name;
    ValueId id;
  };

  /// Attributes and root as one dict; a root that is none is itself under "".
  std::vector<Child> roots(bool with_root) const {
    std::vector<Child> out;
    if (checkpoint_.attributes != checkpoint_.root) out = children(checkpoint_.attributes);
    // A .netcl has it as a tensor too, and a copy of it in another format only so.
    if (tree_.find(checkpoint_.root, kArchitecture) != nullptr) {
      std::erase_if(out, [](const Child& c) { return c.name == kArchitecture; });
    }
    // The word that transformers wants in a safetensors file, and that convert adds; elsewhere it says nothing.
    if (safetensors_) {
      std::erase_if(out, [&](const Child& c) {
        return c.name == "format" && tree_.kind(c.id) == ValueKind::string && tree_.text(c.id) == "pt";
      });
    }
    if (!with_root) return out;
    if (shape(checkpoint_.root) == Shape::leaf) {
      out.push_back({"", checkpoint_.root});
    } else {
      for (Child& c : children(checkpoint_.root)) out.push_back(std::move(c));
    }
    return out;
  }

  /// Without the tensors, which are compared elsewhere: there may be very many.
  std::vector<Child> children(ValueId id) const {
    std::vector<Child> out;
    const bool keyed = shape(id) == Shape::dict, named = shape(id) == Shape::set;
    for (std::size_t i = 0, n = num_children(tree_, id); i < n; ++i) {
      const ValueId value = child(tree_, id, i);
      if (shape(value) == Shape::tensor) continue;
      out.push_back({keyed ? key_name(tree_.entries(id)[i].key, i) : named ? text(value) : std::to_string(i), value});
    }
    return out;
  }

  /// Whole, and so that equal values have equal text; containers by their size.
  std::string text(ValueId id) const {
    switch (tree_.kind(id)) {
      case ValueKind::none: return "None";
      case ValueKind::boolean: return tree_.boolean(id) ? "True" : "False";
      case ValueKind::integer: return std::to_string(tree_.integer(id));
      case ValueKind::big_integer:
      case ValueKind::name: return std::string(tree_.text(id));
      case ValueKind::real: return real_text(tree_.real(id));
      case ValueKind::complex: return fmt::format("({}, {}j)", tree_.real(id), tree_.imaginary(id));
      case ValueKind::string: return python_repr(tree_.text(id));
      case ValueKind::bytes: return fmt::format("b{}", python_repr(tree_.text(id)));
      case ValueKind::scalar: return scalar_text(tree_.tensor(id));
      case ValueKind::opaque: return fmt::format("<{}, not run>", tree_.text(id));
      case ValueKind::tensor: return "a tensor";
      case ValueKind::dict: return fmt::format("a dict of {}", tree_.entries(id).size());
      case ValueKind::list: return fmt::format("a list of {}", tree_.items(id).size());
      case ValueKind::tuple: return fmt::format("a tuple of {}", tree_.items(id).size());
      case ValueKind::set:
      case ValueKind::frozenset: return fmt::format("a set of {}", tree_.items(id).size());
    }
    return "";
  }

  bool is_number(ValueId id) const {
    const ValueKind kind = tree_.kind(id);
    return kind == ValueKind::integer || kind == ValueKind::big_integer || kind == ValueKind::real ||
           (kind == ValueKind::scalar && ckpt::is_number(tree_.tensor(id).dtype.type));
  }

 private:
  /// Keys of the kinds that have no text (tuples) by their place in the dict.
  std::string key_name(ValueId key, std::size_t position) const {
    const ValueKind kind = tree_.kind(key);
    if (kind == ValueKind::scalar) return text(key);
    const bool named = shape_of(kind) == Shape::leaf && kind != ValueKind::complex;
    return named ? key_text(tree_, key) : fmt::format("<key {}>", position);
  }

  static std::string scalar_text(const Tensor& scalar) {
    if (!scalar.storage || scalar.size_bytes() > kMaxScalarBytes) return "a scalar";
    std::vector<std::byte> bytes(scalar.size_bytes());
    auto reader = TensorReader::open(scalar);
    if (bytes.empty() || !reader || !reader->read(bytes)) return "a scalar";
    // As Python would widen them, so that numpy.float32(0.1) is not 0.1.
    if (scalar.dtype.type == ScalarType::float32 || is_narrow_float(scalar.dtype.type)) {
      double value;
      load_reals(scalar.dtype.type, bytes.data(), 1, &value);
      return real_text(value);
    }
    return element_text(scalar.dtype, bytes);
  }

  const Checkpoint& checkpoint_;
  const Tree& tree_;
  const bool safetensors_;
  std::vector<bool> leads_to_tensor_;
  std::unordered_set<ValueId> entered_alone_;
};

class Walk {
 public:
  Walk(const Checkpoint& a, const Checkpoint& b, const Criterion& criterion, const NameFilter& filter,
       const Limits& limits, DiffReport& report)
      : a_(a, a.format == Format::safetensors || b.format == Format::safetensors),
        b_(b, a.format == Format::safetensors || b.format == Format::safetensors),
        criterion_(criterion),
        filter_(filter),
        limits_(limits),
        max_steps_(4 * std::max<std::uint64_t>(limits.max_values, a.tree.size() + b.tree.size())),
        max_name_bytes_(4 * std::max(limits.max_name_bytes, 4 * max_steps_)),
        report_(report) {}

  Result<void> run() {
    entered_.insert(pair_of(a_.root(), b_.root()));
    const bool sequences = a_.shape(a_.root()) == Shape::sequence && b_.shape(b_.root()) == Shape::sequence;
    if (sequences) CKPT_CHECK(push_sequence(a_.root(), b_.root()));
    CKPT_CHECK(push(a_.roots(!sequences), b_.roots(!sequences), 0));
    while (!stack_.empty()) {
      Frame& top = stack_.back();
      if (top.next == top.size()) {
        stack_.pop_back();
        continue;
      }
      Pair pair = top.is_sequence ? element(top, top.next) : std::move(top.pairs[top.next]);
      ++top.next;
      path_.resize(top.path_bytes);
      if (!path_.empty()) path_ += '.';
      path_ += pair.name;
      if (path_.size() > limits_.max_name_bytes) {
        return fail(ErrorCode::limit_exceeded, "the metadata is nested too deeply to name its values");
      }
      CKPT_CHECK(visit(pair.a, pair.b));
    }
    return {};
  }

 private:
  struct Pair {
    std::string name;
    std::optional<ValueId> a;
    std::optional<ValueId> b;
  };
  struct Frame {
    std::vector<Pair> pairs;
    bool is_sequence = false;  // its pairs are made one by one: there may be millions
    std::optional<ValueId> a;
    std::optional<ValueId> b;
    std::size_t num_elements = 0;
    std::size_t size() const { return is_sequence ? num_elements : pairs.size(); }
    std::size_t next = 0;
    std::size_t path_bytes = 0;
  };

  static std::uint64_t pair_of(ValueId a, ValueId b) { return std::uint64_t{a} << 32 | b; }

  Result<void> visit(std::optional<ValueId> a, std::optional<ValueId> b) {
    if (a && b) return visit_both(*a, *b);
    if (a) return visit_alone(a_, *a, true);
    if (b) return visit_alone(b_, *b, false);
    return {};
  }

  Result<void> visit_both(ValueId a, ValueId b) {
    const Shape shape = a_.shape(a);
    if (shape != b_.shape(b)) {
      if (filter_.selects_all()) return report(a_.text(a), b_.text(b));
      CKPT_CHECK(visit_alone(a_, a, true));
      return visit_alone(b_, b, false);
    }
    if (shape == Shape::leaf) {
      constexpr std::size_t kLongText = 64;  // compared once, however often the two meet
      if (a_.text_bytes(a) > kLongText && !entered_.insert(pair_of(a, b)).second) return {};
      return same_leaf(a, b) ? Result<void>() : report(a_.text(a), b_.text(b));
    }
    if (shape == Shape::opaque && a_.text(a) != b_.text(b)) return report(a_.text(a), b_.text(b));
    if (!entered_.insert(pair_of(a, b)).second) return {};
    if (shape == Shape::sequence) return push_sequence(a, b);
    return push(a_.children(a), b_.children(b), path_.size());
  }

  /// A container without tensors is reported whole; of one with tensors, the parts that are none. Where
  /// paths are filtered every value is asked for.
  Result<void> visit_alone(Side& side, ValueId id, bool is_a) {
    const bool whole = !side.leads_to_tensor(id) && (filter_.selects_all() || num_children(side.tree(), id) == 0);
    if (whole) return is_a ? report(side.text(id), std::nullopt) : report(std::nullopt, side.text(id));
    if (!side.enter_alone(id)) return {};
    if (side.shape(id) == Shape::sequence) {
      return is_a ? push_sequence(id, std::nullopt) : push_sequence(std::nullopt, id);
    }
    return is_a ? push(side.children(id), {}, path_.size()) : push({}, side.children(id), path_.size());
  }

  bool same_leaf(ValueId a, ValueId b) const {
    const std::string x = a_.text(a), y = b_.text(b);
    if (!a_.is_number(a) || !b_.is_number(b)) return x == y;
    if (x == y) return x != "nan" || criterion_.equal_nan;
    const auto p = number(x), q = number(y);
    if (!p || !q) return false;
    if (std::isnan(*p) || std::isnan(*q)) return std::isnan(*p) && std::isnan(*q) && criterion_.equal_nan;
    if (std::isinf(*p) || std::isinf(*q)) return *p == *q;
    return *p == *q || std::fabs(*p - *q) <= criterion_.atol + criterion_.rtol * std::fabs(*q);
  }

  static std::optional<long double> number(const std::string& text) {
    long double value;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  }

  /// Pairs the elements of lists and tuples by their places.
  Result<void> push_sequence(std::optional<ValueId> a, std::optional<ValueId> b) {
    Frame frame;
    frame.is_sequence = true;
    frame.a = a;
    frame.b = b;
    frame.path_bytes = path_.size();
    const std::size_t of_a = a ? num_children(a_.tree(), *a) : 0, of_b = b ? num_children(b_.tree(), *b) : 0;
    frame.num_elements = std::max(of_a, of_b);
    constexpr std::size_t kDigits = 7;
    CKPT_CHECK(spend(of_a + of_b, kDigits * (of_a + of_b)));
    stack_.push_back(std::move(frame));
    return {};
  }

  Pair element(const Frame& frame, std::size_t i) const {
    const auto of = [i](const Side& side, std::optional<ValueId> container) -> std::optional<ValueId> {
      if (!container || i >= num_children(side.tree(), *container)) return std::nullopt;
      const ValueId value = child(side.tree(), *container, i);
      if (side.shape(value) == Shape::tensor) return std::nullopt;  // compared elsewhere
      return value;
    };
    return {std::to_string(i), of(a_, frame.a), of(b_, frame.b)};
  }

  Result<void> spend(std::size_t children, std::uint64_t name_bytes) {
    steps_ += children + 1;
    name_bytes_ += name_bytes;
    if (steps_ > max_steps_ || name_bytes_ > max_name_bytes_) {
      return fail(ErrorCode::limit_exceeded, "shared containers make the metadata too large to compare");
    }
    return {};
  }

  /// Pairs the children of two containers by name. Names that repeat are paired in order.
  Result<void> push(std::vector<Side::Child> a, std::vector<Side::Child> b, std::size_t path_bytes) {
    std::uint64_t name_bytes = 0;
    for (const auto* side : {&a, &b}) {
      for (const Side::Child& child : *side) name_bytes += child.name.size();
    }
    CKPT_CHECK(spend(a.size() + b.size(), name_bytes));
    std::unordered_map<std::string_view, std::vector<std::size_t>> partners;
    for (std::size_t i = b.size(); i-- > 0;) partners[b[i].name].push_back(i);
    Frame frame;
    frame.path_bytes = path_bytes;
    frame.pairs.reserve(std::max(a.size(), b.size()));
    std::vector<bool> taken(b.size());
    for (Side::Child& child : a) {
      Pair pair{std::move(child.name), child.id, std::nullopt};
      const auto found = partners.find(pair.name);
      if (found != partners.end() && !found->second.empty()) {
        const std::size_t i = found->second.back();
        found->second.pop_back();
        pair.b = b[i].id;
        taken[i] = true;
      }
      frame.pairs.push_back(std::move(pair));
    }
    for (std::size_t i = 0; i < b.size(); ++i) {
      if (!taken[i]) frame.pairs.push_back({b[i].name, std::nullopt, b[i].id});
    }
    stack_.push_back(std::move(frame));
    return {};
  }

  Result<void> report(std::optional<std::string> a, std::optional<std::string> b) {
    if (!filter_.selects(path_)) return {};
    listed_bytes_ += path_.size();
    if (report_.num_metadata++ >= kMaxMetadataDiffs || listed_bytes_ > limits_.max_name_bytes) return {};
    for (auto* text : {&a, &b}) {
      if (*text && (*text)->size() > kMaxTextBytes) *text = (*text)->substr(0, kMaxTextBytes) + "…";
    }
    report_.metadata.push_back({path_, std::move(a), std::move(b)});
    return {};
  }

  Side a_;
  Side b_;
  const Criterion& criterion_;
  const NameFilter& filter_;
  const Limits& limits_;
  const std::uint64_t max_steps_;
  const std::uint64_t max_name_bytes_;
  DiffReport& report_;
  std::vector<Frame> stack_;
  std::string path_;
  std::unordered_set<std::uint64_t> entered_;
  std::uint64_t steps_ = 0;
  std::uint64_t name_bytes_ = 0;
  std::uint64_t listed_bytes_ = 0;
};

}  // namespace

Result<void> diff_metadata(const Checkpoint& a, const Checkpoint& b, const Criterion& criterion,
                           const NameFilter& filter, const Limits& limits, DiffReport& report) {
  return Walk(a, b, criterion, filter, limits, report).run();
}

}  // namespace netcl::ckpt
