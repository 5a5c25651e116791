// What the symbols of a pickle mean, for those that are pure (format/pickle_globals.h). Nothing is imported
// or called: a meaning says that this program knows what value the call would give.
//
// The graph is walked with a stack; a value is made when those it needs are there. Whatever holds itself has
// a place in the tree from the moment that somebody refers to it, and the place is filled when the value is
// complete. So value() is the only way from a node to its value, and never gives one that is not there.
#include "format/pickle_values.h"

#include <algorithm>
#include <unordered_map>

#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/envelope.h"
#include "format/npy.h"
#include "format/pickle_modules.h"
#include "format/pickle_python.h"
#include "format/pickle_tensors.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

using Kind = PickleKind;

bool is_leaf(Kind kind) {
  switch (kind) {
    case Kind::list:
    case Kind::tuple:
    case Kind::set:
    case Kind::frozenset:
    case Kind::dict:
    case Kind::call:
    case Kind::persistent: return false;
    default: return true;
  }
}

class Interpreter {
 public:
  Interpreter(const PickleSource& source, const OpenOptions& options, Checkpoint& out)
      : source_(source),
        view_(source.graph, source.payload, options.limits, source.script),
        g_(source.graph),
        tensors_(view_, source.resolve),
        options_(options),
        out_(out),
        tree_(out.tree) {
    tensors_.nested = [this](PickleId call) { return nested_tensor(call); };
  }

  Result<ValueId> run() {
    value_.assign(g_.size(), kUnknown);
    std::vector<std::uint8_t> state(g_.size(), 0);  // 1: waits for its parts, 2: done
    struct Frame {
      PickleId id;
      PickleId only_part;  // in place of a vector: nested lists of one element are as deep as the file is long
      std::vector<PickleId> parts;
      std::size_t next = 0;
    };
    std::vector<Frame> stack;
    auto enter = [&](PickleId id) {
      if (state[id] != 0) return;
      state[id] = 1;
      std::vector<PickleId> parts = parts_of(id);
      if (parts.size() == 1) {
        stack.push_back({id, parts[0], {}, 0});
      } else {
        stack.push_back({id, kNoPickle, std::move(parts), 0});
      }
    };
    enter(g_.root);
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.only_part != kNoPickle) {
        enter(std::exchange(top.only_part, kNoPickle));
        continue;
      }
      if (top.next < top.parts.size()) {
        enter(top.parts[top.next++]);
        continue;
      }
      const PickleId id = top.id;
      stack.pop_back();
      auto made_or_not = make(id);
      if (view_.spent())
        return fail(ErrorCode::limit_exceeded,
                    "the pickle shares its parts so often that reading it would take forever");
      CKPT_TRY(const ValueId made, std::move(made_or_not));
      if (value_[id] == kUnknown) {
        value_[id] = made;
      } else {
        tree_.define(value_[id], made);  // somebody holds its place
      }
      state[id] = 2;
      if (tree_.size() > 2 * std::max<std::uint64_t>(options_.limits.max_values, g_.size()))
        return fail(ErrorCode::limit_exceeded, "the pickle holds too many values");
    }
    return value_[g_.root];
  }

  /// Scale and zero point of quantized tensors, by value.
  const std::unordered_map<ValueId, ValueId>& quantization() const { return quantization_; }

 private:
  static constexpr ValueId kUnknown = 0xffffffff;

  /// The value of a node, or the place that it will have: what holds it may be made before it is.
  ValueId value(PickleId id) {
    if (value_[id] == kUnknown) value_[id] = tree_.reserve();
    return value_[id];
  }
  std::vector<ValueId> values(const std::vector<PickleId>& ids) {
    std::vector<ValueId> out;
    out.reserve(ids.size());
    for (const PickleId id : ids) out.push_back(value(id));
    return out;
  }

  // ---- what must be made before a value can be ----

  /// Everything about a call, for values that keep what they do not understand.
  std::vector<PickleId> all_parts(PickleId id) const {
    const PickleCall& call = g_.call(id);
    std::vector<PickleId> out;
    for (const PickleId p : {call.args, call.kwargs, call.state}) {
      if (p != kNoPickle) out.push_back(p);
    }
    if (view_.kind(call.callable) == Kind::call) out.push_back(call.callable);
    for (const auto& list : {view_.items(id), view_.pairs(id)}) out.insert(out.end(), list.begin(), list.end());
    return out;
  }

  std::vector<PickleId> parts_of(PickleId id) const {
    switch (view_.kind(id)) {
      case Kind::list:
      case Kind::tuple:
      case Kind::set:
      case Kind::frozenset:
      case Kind::dict: return view_.items(id);
      case Kind::call: return parts_of_call(id);
      default: return {};
    }
  }

  std::vector<PickleId> parts_of_call(PickleId id) const {
    const auto given = view_.args(id);
    const std::vector<PickleId> none, first = given.empty() ? none : std::vector{given[0]};
    if (is_module(view_, id)) {
      std::vector<PickleId> out;
      if (const auto state = module_state(view_, id)) {
        for (const auto& [name, tensor] : *state) out.push_back(tensor);
      }
      return out;
    }
    switch (view_.called(id)) {
      case Meaning::reconstruct:
      case Meaning::frombuffer:
      case Meaning::jax_array: {
        // An object array's elements; the payload of any other needs no value.
        const auto state = tensors_.array_state(id);
        return state && view_.kind(state->data) == Kind::list ? view_.items(state->data) : none;
      }
      case Meaning::numpy_scalar:
        return given.size() == 2 && view_.kind(given[1]) != Kind::bytes ? std::vector{given[1]} : none;
      case Meaning::from_type: return given.size() == 4 ? wrapped_parts(given) : none;
      case Meaning::sparse:
        return given.size() == 2 && view_.kind(given[1]) == Kind::tuple ? view_.items(given[1]) : none;
      case Meaning::nested: return given;
      case Meaning::first: return first;
      case Meaning::dtype:
      case Meaning::encode:
      case Meaning::joblib_array:
      case Meaning::joblib_array_file:
      case Meaning::tensor:
      case Meaning::typed_tensor:
      case Meaning::wrapper_subclass:
      case Meaning::quantized:
      case Meaning::meta:
      case Meaning::layout:
      case Meaning::load_from_bytes:
      case Meaning::date:
      case Meaning::time:
      case Meaning::datetime:
      case Meaning::timedelta:
      case Meaning::timezone:
      case Meaning::path:
      case Meaning::written:
      case Meaning::uuid: return none;
      case Meaning::ordered_dict:
      case Meaning::default_dict:
      case Meaning::mapping: return view_.mapping(id).value_or(none);
      case Meaning::list:
      case Meaning::tuple:
      case Meaning::set:
      case Meaning::frozenset:
      case Meaning::deque: return view_.sequence(id).value_or(none);
      default: return all_parts(id);
    }
  }

  /// Of _rebuild_from_type_v2(function, type, arguments, state): the tensors that a wrapper subclass wraps.
  std::vector<PickleId> wrapped_parts(const std::vector<PickleId>& given) const {
    std::vector<PickleId> out;
    if (view_.meaning(given[0]) == Meaning::first && view_.kind(given[2]) == Kind::tuple) {
      const auto inner = view_.items(given[2]);
      if (!inner.empty()) out.push_back(inner[0]);
    }
    if (view_.meaning(given[0]) != Meaning::wrapper_subclass) return out;
    const auto pairs = view_.attributes(given[3]);
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      if (view_.kind(pairs[i]) == Kind::string && view_.kind(pairs[i + 1]) == Kind::call) {
        out.push_back(pairs[i]);
        out.push_back(pairs[i + 1]);
      }
    }
    return out;
  }

  // ---- making ----

  Result<ValueId> make(PickleId id) {
    switch (view_.kind(id)) {
      case Kind::none: return tree_.add_none();
      case Kind::boolean: return tree_.add_boolean(g_.boolean(id));
      case Kind::integer: return tree_.add_integer(g_.integer(id));
      case Kind::big_integer: return tree_.add_big_integer(view_.text(id));
      case Kind::real: return tree_.add_real(g_.real(id));
      case Kind::string: return tree_.add_string(view_.text(id));
      case Kind::byte_string: {
        CKPT_TRY(const std::string bytes, PickleView::latin1_bytes(view_.text(id)));
        return add_python2(bytes);
      }
      case Kind::bytes: return make_bytes(id);
      case Kind::list: return tree_.add_sequence(ValueKind::list, values(view_.items(id)));
      case Kind::tuple: return tree_.add_sequence(ValueKind::tuple, values(view_.items(id)));
      case Kind::set: return tree_.add_sequence(ValueKind::set, values(view_.items(id)));
      case Kind::frozenset: return tree_.add_sequence(ValueKind::frozenset, values(view_.items(id)));
      case Kind::dict: return make_dict(view_.items(id));
      case Kind::global: return make_global(id);
      case Kind::persistent: return make_persistent(id);
      case Kind::call: break;
    }
    if (is_module(view_, id)) return make_module(id);
    auto made = make_call(id, view_.called(id), view_.args(id));
    if (made || view_.spent()) return made;
    // Python may refuse the call, or give what is not known here: one value never hides the others.
    const Error& e = made.error();
    if (e.code != ErrorCode::corrupt && e.code != ErrorCode::unsupported) return made;
    const std::string name = name_of(id);
    report(e.code == ErrorCode::corrupt ? ProblemCode::corrupt : ProblemCode::foreign_global,
           fmt::format("{}: {}", name, e.message), std::nullopt, name);
    return make_opaque(id);
  }

  void report(ProblemCode code, std::string message, std::optional<Severity> severity = {}, std::string global = "") {
    constexpr std::size_t kMostReported = 10'000;
    if (out_.problems.size() >= kMostReported) return;
    out_.problems.push_back(make_problem(code, source_.where, std::nullopt, std::move(message), severity));
    out_.problems.back().global = std::move(global);
  }

  Result<ValueId> make_global(PickleId id) {
    const PickleGlobal& global = g_.global(id);
    if (classify(global, false, source_.script).grade == Grade::plain) {
      const auto type = type_name(global.module, global.name);  // Python 2's under the name that Python 3 gives it
      return tree_.add_name(type ? fmt::format("{}.{}", type->module, type->name) : global.qualified());
    }
    return tree_.add_opaque(to_valid_utf8(global.qualified()), {});
  }

  /// Of key, value, key, value …; a key that is set again keeps its place and takes the later value.
  Result<ValueId> make_dict(const std::vector<PickleId>& pairs) {
    std::vector<Tree::Entry> entries;
    std::unordered_map<std::string, std::size_t> seen;
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const PickleId key = pairs[i];
      const Tree::Entry entry{value(key), value(pairs[i + 1])};
      if (view_.kind(key) == Kind::list || view_.kind(key) == Kind::dict || view_.kind(key) == Kind::set)
        return bad_pickle("a dict has a key that cannot be hashed");
      if (const auto text = key_identity(key)) {
        const auto [it, fresh] = seen.emplace(*text, entries.size());
        if (!fresh) {
          entries[it->second].value = entry.value;
          continue;
        }
      }
      entries.push_back(entry);
    }
    return tree_.add_dict(entries);
  }

  /// Equal for keys that Python holds equal, as far as keys are plain.
  std::optional<std::string> key_identity(PickleId key) const {
    switch (view_.kind(key)) {
      case Kind::string: return "s" + std::string(view_.text(key));
      case Kind::integer: return fmt::format("i{}", g_.integer(key));
      case Kind::boolean: return fmt::format("i{}", g_.boolean(key) ? 1 : 0);
      case Kind::none: return "n";
      default: return std::nullopt;
    }
  }

  Result<ValueId> make_bytes(PickleId id) {
    constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
    const auto range = g_.range(id);
    if (range.size_bytes > kMostBytes) {
      // Bytes that no array claimed: listed as one, so that they are neither read now nor lost.
      Tensor t;
      t.dtype = make_dtype(ScalarType::uint8);
      t.shape = {range.size_bytes};
      t.strides = {1};
      t.offset_bytes = range.offset_bytes;
      t.storage = view_.payload;
      return tree_.add_tensor(std::move(t));
    }
    CKPT_TRY(const std::string bytes, view_.read(range));
    note_pickle(bytes);
    return g_.is_python2(id) ? add_python2(bytes) : tree_.add_bytes(bytes);
  }

  /// Bytes that are a pickle are nothing that loading the file runs; its own program may.
  void note_pickle(const std::string& bytes) {
    if (bytes.size() < 4 || bytes[0] != '\x80' || bytes[1] < 2 || bytes[1] > 5 || bytes.back() != '.') return;
    view_.pay(bytes.size());
    const auto span = std::as_bytes(std::span(bytes));
    const auto storage = file_storage(memory_source({span.begin(), span.end()}, "bytes"), 0, bytes.size());
    const auto graph = read_pickle_graph(*storage, 0, options_.limits);
    if (!graph || graph->end_offset != bytes.size()) return;
    std::string named;
    for (const PickleGlobal& g : graph->globals) {
      constexpr std::size_t kLongest = 200;
      if (classify(g, g.called, false).grade == Grade::plain || named.size() > kLongest) continue;
      named += (named.empty() ? "; it names " : ", ") + to_valid_utf8(g.qualified());
    }
    report(ProblemCode::pickled_bytes, fmt::format("{} bytes are a pickle{}", bytes.size(), named));
  }

  /// Python 2's str is text if it can be.
  ValueId add_python2(const std::string& bytes) {
    return is_utf8(bytes) ? tree_.add_string(bytes) : tree_.add_bytes(bytes);
  }

  std::string name_of(PickleId call) const {
    if (const PickleGlobal* global = view_.callable(call)) return to_valid_utf8(global->qualified());
    const std::uint32_t origin = g_.call(call).origin;
    return origin == kNoPickle ? "(an object outside of the pickle)"
                               : to_valid_utf8(g_.globals[origin].qualified()) + "()";
  }

  Result<ValueId> make_opaque(PickleId id) {
    const PickleCall& call = g_.call(id);
    std::vector<ValueId> parts;
    for (const PickleId p : {call.args, call.kwargs, call.state}) {
      const bool empty =
          p == kNoPickle || ((view_.kind(p) == Kind::tuple || view_.kind(p) == Kind::dict) && view_.items(p).empty());
      if (!empty) parts.push_back(value(p));
    }
    if (view_.kind(call.callable) == Kind::call) parts.push_back(value(call.callable));
    if (const auto items = view_.items(id); !items.empty())
      parts.push_back(tree_.add_sequence(ValueKind::list, values(items)));
    if (const auto pairs = view_.pairs(id); !pairs.empty()) {
      CKPT_TRY(const ValueId dict, make_dict(pairs));
      parts.push_back(dict);
    }
    return tree_.add_opaque(name_of(id), parts);
  }

  Result<ValueId> make_call(PickleId id, Meaning meaning, const std::vector<PickleId>& given) {
    const PickleCall& call = g_.call(id);
    switch (meaning) {
      case Meaning::reconstruct:
      case Meaning::frombuffer:
      case Meaning::jax_array: return make_array(id);
      case Meaning::joblib_array: return make_joblib_array(id);
      case Meaning::joblib_array_file: return make_joblib_file(id);
      case Meaning::numpy_scalar: return make_scalar(given);
      case Meaning::dtype: {
        CKPT_TRY(const DType dtype, tensors_.dtypes().parse(id));
        const bool numpys = known_to_numpy(dtype.type);
        return tree_.add_name("numpy.dtype(" + python_repr(numpys ? dtype.descr() : dtype.name()) + ")");
      }
      case Meaning::ordered_dict:
      case Meaning::default_dict:
      case Meaning::mapping: {
        if (!has_attributes(call.state)) return bad_pickle("a dict's attributes are none");
        CKPT_TRY(const auto pairs, view_.mapping(id));
        return make_dict(pairs);
      }
      case Meaning::list:
      case Meaning::deque: return make_sequence(ValueKind::list, id);
      case Meaning::tuple: return make_sequence(ValueKind::tuple, id);
      case Meaning::set: return make_sequence(ValueKind::set, id);
      case Meaning::frozenset: return make_sequence(ValueKind::frozenset, id);
      case Meaning::bytes: return make_builtin_bytes(given);
      case Meaning::complex: return make_complex(given);
      case Meaning::number: return make_number(id, given);
      case Meaning::record: {
        std::vector<ValueId> parts = values(given);
        parts.insert(parts.begin(), tree_.add_name(fmt::format("builtins.{}", view_.callable(id)->name)));
        return tree_.add_sequence(ValueKind::tuple, parts);
      }
      case Meaning::attributes: return make_attributes(id, given);
      case Meaning::date:
      case Meaning::time:
      case Meaning::datetime:
      case Meaning::timedelta:
      case Meaning::timezone:
      case Meaning::path:
      case Meaning::written:
      case Meaning::uuid: {
        CKPT_TRY(const std::string text, python_text(view_, id, meaning));
        return tree_.add_string(text);
      }
      case Meaning::encode: {
        CKPT_TRY(const std::string bytes, view_.encoded_bytes(id));
        return tree_.add_bytes(bytes);
      }
      case Meaning::reconstructor: return make_reconstructed(id, given);
      case Meaning::first:
        if (given.empty()) return bad_pickle("a wrapper without what it wraps");
        return value(given[0]);
      case Meaning::random_state: {
        const std::vector<PickleId> state = call.state == kNoPickle ? given : std::vector{call.state};
        if (state.size() == 1) return value(state[0]);
        return tree_.add_sequence(ValueKind::tuple, values(state));
      }
      case Meaning::tensor:
      case Meaning::typed_tensor:
      case Meaning::quantized:
      case Meaning::meta:
      case Meaning::wrapper_subclass: return make_tensor(id, meaning, given);
      case Meaning::from_type: return make_from_type(id, given);
      case Meaning::sparse: return make_sparse(given);
      case Meaning::nested: {
        constexpr std::string_view kNames[] = {"values", "sizes", "strides", "storage_offsets"};
        std::vector<Tree::Entry> entries;
        for (std::size_t i = 0; i < given.size() && i < std::size(kNames); ++i)
          entries.push_back({tree_.add_string(kNames[i]), value(given[i])});
        return tree_.add_dict(entries);
      }
      case Meaning::size:
        if (given.empty()) return tree_.add_sequence(ValueKind::tuple, {});
        if (given.size() != 1) return bad_pickle("a torch.Size of something that is no tuple");
        return make_sequence(ValueKind::tuple, id);
      case Meaning::device: return make_device(given);
      case Meaning::layout:
        if (given.empty() || view_.kind(given[0]) != Kind::string) return bad_pickle("a torch layout without a name");
        return tree_.add_name(to_valid_utf8(view_.text(given[0])));
      case Meaning::load_from_bytes: return nested_value(id);
      case Meaning::script_class:
        if (call.state != kNoPickle) return value(call.state);
        return tree_.add_sequence(ValueKind::tuple, values(given));
      default: break;
    }
    return make_opaque(id);
  }

  static bool is_dict_type(Meaning m) {
    return m == Meaning::ordered_dict || m == Meaning::default_dict || m == Meaning::mapping;
  }

  /// A state that an object without a __setstate__ takes.
  bool has_attributes(PickleId state) const {
    if (state == kNoPickle || view_.kind(state) == Kind::none || view_.is_mapping(state)) return true;
    if (view_.kind(state) != Kind::tuple) return false;
    const auto parts = view_.items(state);
    return parts.size() == 2 && std::all_of(parts.begin(), parts.end(), [&](PickleId p) {
             return view_.kind(p) == Kind::none || view_.is_mapping(p);
           });
  }

  Result<ValueId> make_sequence(ValueKind kind, PickleId id) {
    CKPT_TRY(const auto items, view_.sequence(id));
    return tree_.add_sequence(kind, values(items));
  }

  Result<ValueId> make_builtin_bytes(const std::vector<PickleId>& given) {
    if (given.empty()) return tree_.add_bytes("");
    if (view_.kind(given[0]) == Kind::list) {
      std::string bytes;
      for (const PickleId i : view_.items(given[0])) {
        const auto byte = view_.size(i);
        if (!byte || *byte > 255) return bad_pickle("bytes are made of something other than bytes");
        bytes += static_cast<char>(*byte);
      }
      return tree_.add_bytes(bytes);
    }
    // bytes, or bytearray(text, 'latin-1'): protocol 2
    if (view_.kind(given[0]) == Kind::bytes || view_.called(given[0]) == Meaning::encode) return value(given[0]);
    CKPT_TRY(const PickleView::Bytes found, view_.bytes(given[0]));
    constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;
    if (found.size_bytes > kMostBytes) return fail(ErrorCode::unsupported, "more than {} bytes", kMostBytes);
    std::string bytes(found.size_bytes, '\0');
    CKPT_TRY(auto reader, found.storage->open());
    CKPT_CHECK(reader->read(found.offset_bytes, std::as_writable_bytes(std::span(bytes))));
    return tree_.add_bytes(bytes);
  }

  std::optional<double> number(PickleId id) const {
    if (view_.kind(id) == Kind::real) return g_.real(id);
    if (view_.is_integer(id)) return static_cast<double>(g_.integer(id));
    return std::nullopt;
  }

  Result<ValueId> make_complex(const std::vector<PickleId>& given) {
    double parts[2] = {0, 0};
    if (given.size() > 2) return bad_pickle("a complex number of more than two parts");
    for (std::size_t i = 0; i < given.size(); ++i) {
      const auto part = number(given[i]);
      if (!part) return bad_pickle("a complex number is made of something other than numbers");
      parts[i] = *part;
    }
    return tree_.add_complex(parts[0], parts[1]);
  }

  /// int, float, bool, str …: of nothing their zero, of a plain value that value.
  Result<ValueId> make_number(PickleId id, const std::vector<PickleId>& given) {
    const std::string& name = view_.callable(id)->name;
    if (given.empty()) {
      if (name == "float") return tree_.add_real(0);
      if (name == "bool") return tree_.add_boolean(false);
      if (name == "str" || name == "unicode") return tree_.add_string("");
      return tree_.add_integer(0);
    }
    const Kind kind = view_.kind(given[0]);
    if (given.size() == 1 && is_leaf(kind) && kind != Kind::global) return value(given[0]);
    if (given.size() == 1 && view_.called(given[0]) == Meaning::number) return value(given[0]);
    return bad_pickle("a Python type is called with arguments that it does not take");
  }

  Result<ValueId> make_attributes(PickleId id, const std::vector<PickleId>& given) {
    const PickleCall& call = g_.call(id);
    if (call.state != kNoPickle) {
      const auto pairs = view_.attributes(call.state);
      if (!pairs.empty() || view_.is_mapping(call.state)) return value_of_state(call.state, pairs);
      return value(call.state);
    }
    // SimpleNamespace of Python 3.13 is called with a dict.
    if (given.size() == 1 && view_.is_mapping(given[0])) return value(given[0]);
    if (call.kwargs != kNoPickle) return value(call.kwargs);
    if (given.empty()) return make_dict({});
    if (view_.callable(id)->name.ends_with("Namespace"))
      return fail(ErrorCode::unsupported, "it is called with arguments that it does not take");
    return tree_.add_sequence(ValueKind::tuple, values(given));
  }
  Result<ValueId> value_of_state(PickleId state, const std::vector<PickleId>& pairs) {
    return view_.kind(state) == Kind::tuple ? make_dict(pairs) : Result<ValueId>(value(state));
  }

  /// copyreg._reconstructor(class, base, state): objects of protocols 0 and 1.
  Result<ValueId> make_reconstructed(PickleId id, const std::vector<PickleId>& given) {
    if (given.size() != 3) return bad_pickle("copyreg._reconstructor takes three arguments");
    if (view_.kind(given[0]) != Kind::global || view_.kind(given[1]) != Kind::global) {
      return bad_pickle("copyreg._reconstructor of something that is no class");
    }
    const Grade grade = classify(g_.global(given[0]), true, source_.script).grade;
    const auto items = view_.items(id);
    const auto pairs = view_.pairs(id);
    const PickleId state = g_.call(id).state;
    const Meaning meaning = view_.meaning(given[0]);
    if (grade != Grade::plain) {
      // Named after the class: it is what Python would make an object of.
      std::vector<ValueId> parts;
      if (state != kNoPickle) parts.push_back(value(state));
      if (is_leaf(view_.kind(given[2])) && view_.kind(given[2]) != Kind::none) parts.push_back(value(given[2]));
      if (!is_leaf(view_.kind(given[2]))) parts.push_back(value(given[2]));
      if (!items.empty()) parts.push_back(tree_.add_sequence(ValueKind::list, values(items)));
      if (!pairs.empty()) {
        CKPT_TRY(const ValueId dict, make_dict(pairs));
        if (parts.empty()) return dict;
        parts.push_back(dict);
      }
      return tree_.add_opaque(to_valid_utf8(g_.global(given[0]).qualified()), parts);
    }
    if (meaning == Meaning::uuid) {
      CKPT_TRY(const std::string text, python_text(view_, id, meaning));
      return tree_.add_string(text);
    }
    if (meaning != Meaning::attributes && meaning != Meaning::record && meaning != Meaning::number &&
        meaning != Meaning::list && meaning != Meaning::tuple && meaning != Meaning::set &&
        meaning != Meaning::frozenset && meaning != Meaning::bytes && meaning != Meaning::complex &&
        meaning != Meaning::module && meaning != Meaning::deque && !is_dict_type(meaning))
      return fail(ErrorCode::unsupported, "{} is made in a way that is not known", g_.global(given[0]).qualified());
    if (!has_attributes(state)) return bad_pickle("an object's attributes are none");
    if (!pairs.empty()) return make_dict(pairs);
    if (!items.empty()) return tree_.add_sequence(ValueKind::list, values(items));
    return value(state != kNoPickle ? state : given[2]);
  }

  Result<ValueId> make_module(PickleId id) {
    auto state_or_not = module_state(view_, id);
    if (!state_or_not && state_or_not.error().code == ErrorCode::corrupt) return make_opaque(id);
    CKPT_TRY(const auto state, std::move(state_or_not));
    std::vector<Tree::Entry> entries;
    for (const auto& [name, tensor] : state) entries.push_back({tree_.add_string(name), value(tensor)});
    return tree_.add_dict(entries);
  }

  // ---- tensors ----

  /// A tensor, or, if it cannot be read, its name in the list and the reason: one never hides the others.
  Result<ValueId> add(Tensor tensor, Result<void> made) {
    if (!made) {
      const Error& e = made.error();
      if (could_not_look(e.code) || e.code == ErrorCode::internal || view_.spent()) return tl::make_unexpected(e);
      tensor.storage = nullptr;
      tensor.offset_bytes = 0;
      if (tensor.strides.size() != tensor.shape.size()) tensor.strides = c_strides(tensor.shape);
      tensor.why_unreadable = e.message;
      const bool damaged = e.code != ErrorCode::unsupported;
      report(ProblemCode::unreadable_tensor, "a tensor that cannot be read: " + e.message,
             damaged ? Severity::error : Severity::warning);
    }
    return tree_.add_tensor(std::move(tensor));
  }

  Result<ValueId> make_array(PickleId id) {
    Tensor tensor;
    const auto state = tensors_.array_state(id);
    if (!state) return add(std::move(tensor), tl::make_unexpected(state.error()));
    auto made = tensors_.array(*state, tensor);
    if (!made || !has_object(tensor.dtype)) return add(std::move(tensor), std::move(made));
    const auto items = view_.items(state->data);
    const bool plain = std::all_of(items.begin(), items.end(), [&](PickleId i) { return is_leaf(view_.kind(i)); });
    if (plain) return tree_.add_tensor(std::move(tensor));
    // Arrays, dicts and lists in it are listed as what they are: a value of no dimensions is its only element.
    if (tensor.shape.empty() && items.size() == 1) return value(items[0]);
    return tree_.add_sequence(ValueKind::list, values(items));
  }

  Result<ValueId> make_joblib_array(PickleId id) {
    Tensor tensor;
    auto made = tensors_.joblib_array(id, tensor);
    const PickleId raw = g_.call(id).raw;
    if (!made || !has_object(tensor.dtype) || raw == kNoPickle || !source_.read_pickle)
      return add(std::move(tensor), std::move(made));
    const auto range = g_.range(raw);
    return source_.read_pickle(view_.payload, range.offset_bytes, range.size_bytes);
  }

  /// joblib before 0.10 wrote each array to a file of its own: FILE_01.npy, or FILE_01.npy.z, the elements alone,
  /// compressed. https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle_compat.py
  Result<ValueId> make_joblib_file(PickleId id) {
    const PickleId state = g_.call(id).state;
    std::vector<PickleId> attributes;
    if (state != kNoPickle && view_.is_mapping(state)) {
      CKPT_TRY(attributes, view_.mapping(state));
    }
    const PickleId file = view_.find(attributes, "filename");
    Tensor tensor;
    if (file == kNoPickle || view_.kind(file) != Kind::string)
      return add(std::move(tensor), bad_pickle("joblib's array does not say which file it is in"));
    const std::string name(view_.text(file));
    const bool bare = view_.callable(id)->name == "ZNDArrayWrapper";
    if (bare) {
      if (auto described = tensors_.joblib_zarray(attributes, tensor); !described)
        return add(std::move(tensor), std::move(described));
    } else if (const auto known = beside_.find(name); known != beside_.end()) {
      return known->second;
    }
    auto of_file = [&](const Error& e) -> Result<void> {
      return fail(e.code, "joblib wrote it to {} beside this file: {}", to_valid_utf8(name), e.message);
    };
    if (!source_.open_beside)
      return add(std::move(tensor), of_file(fail(ErrorCode::unsupported, "what is read has no folder").value()));
    const auto source = open_beside(name);
    if (!source) {
      // A machine that cannot look says nothing about the file.
      if (could_not_look(source.error().code)) return tl::make_unexpected(source.error());
      return add(std::move(tensor), of_file(source.error()));
    }
    if (bare) {
      auto placed = place_zfile(*source, tensor);
      if (placed) add_member(name, tensor);
      return add(std::move(tensor), placed ? std::move(placed) : of_file(placed.error()));
    }
    auto array = add_npy_file(*source, to_valid_utf8(name), options_, out_);
    if (!array && could_not_look(array.error().code)) return array;
    if (array && tree_.kind(*array) == ValueKind::tensor) add_member(name, tree_.tensor(*array));
    auto value = array ? std::move(array) : add(std::move(tensor), of_file(array.error()));
    if (value) beside_.emplace(name, *value);
    return value;
  }

  /// verify reads through what stands in files of its own.
  void add_member(const std::string& name, const Tensor& tensor) {
    if (options_.thorough && tensor.storage) out_.members.push_back({to_valid_utf8(name), tensor.storage});
  }

  Result<SourcePtr> open_beside(const std::string& name) {
    if (const auto it = opened_.find(name); it != opened_.end()) return it->second;
    CKPT_TRY(const SourcePtr source, source_.open_beside(name));
    out_.file_bytes += source->size_bytes();  // it is a part of the checkpoint
    opened_.emplace(name, source);
    return source;
  }

  Result<void> place_zfile(const SourcePtr& source, Tensor& tensor) {
    std::string head(std::min<std::uint64_t>(source->size_bytes(), 32), '\0');
    CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
    const auto envelope = head.starts_with("ZF") ? find_envelope(head) : std::nullopt;
    if (!envelope) return bad_pickle("it is not compressed as joblib does");
    CKPT_TRY(tensor.storage, unpacked_storage(source, *envelope, tensor.size_bytes()));
    return {};
  }

  Result<ValueId> make_scalar(const std::vector<PickleId>& given) {
    Tensor tensor;
    CKPT_CHECK(tensors_.scalar(given, tensor));
    if (has_object(tensor.dtype)) return value(given[1]);
    return tree_.add_scalar(std::move(tensor));
  }

  Result<ValueId> make_tensor(PickleId id, Meaning meaning, const std::vector<PickleId>& given) {
    Tensor tensor;
    auto at = [&](std::size_t i) { return given.size() > i ? given[i] : kNoPickle; };
    Result<void> made = fail(ErrorCode::unsupported, "a tensor of a class that wraps others");
    switch (meaning) {
      case Meaning::tensor: made = tensors_.torch(given, kNoPickle, at(6), tensor); break;
      case Meaning::typed_tensor: made = tensors_.torch(given, given.size() > 6 ? given[6] : id, at(7), tensor); break;
      case Meaning::meta: made = tensors_.meta(given, tensor); break;
      case Meaning::quantized: {
        made = tensors_.torch(given, kNoPickle, kNoPickle, tensor);
        CKPT_TRY(const ValueId value, add(std::move(tensor), std::move(made)));
        if (at(4) != kNoPickle && view_.kind(at(4)) == Kind::tuple) {
          CKPT_TRY(const ValueId parameters, quantizer(view_.items(at(4))));
          quantization_.emplace(value, parameters);
        }
        return value;
      }
      default: break;
    }
    return add(std::move(tensor), std::move(made));
  }

  /// (scheme, scale, zero point), or of each channel (scheme, scales, zero points, axis).
  Result<ValueId> quantizer(const std::vector<PickleId>& parts) {
    std::vector<Tree::Entry> entries;
    auto set = [&](std::string_view key, ValueId v) { entries.push_back({tree_.add_string(key), v}); };
    if (!parts.empty() && view_.kind(parts[0]) == Kind::global)
      set("scheme", tree_.add_string(to_valid_utf8(g_.global(parts[0]).qualified())));
    if (parts.size() == 3) {
      if (const auto scale = number(parts[1])) set("scale", tree_.add_real(*scale));
      if (view_.is_integer(parts[2])) set("zero_point", tree_.add_integer(g_.integer(parts[2])));
    } else if (parts.size() == 4) {
      for (std::size_t i = 1; i < 3; ++i) {
        Tensor tensor;
        if (view_.called(parts[i]) != Meaning::tensor) continue;
        if (!tensors_.torch(view_.args(parts[i]), kNoPickle, kNoPickle, tensor)) continue;
        set(i == 1 ? "scales" : "zero_points", tree_.add_tensor(std::move(tensor)));
      }
      if (view_.is_integer(parts[3])) set("axis", tree_.add_integer(g_.integer(parts[3])));
    }
    return tree_.add_dict(entries);
  }

  /// _rebuild_from_type_v2(function, type, arguments, state)
  Result<ValueId> make_from_type(PickleId id, const std::vector<PickleId>& given) {
    if (given.size() != 4 || view_.kind(given[2]) != Kind::tuple) return bad_pickle("a torch tensor has too few parts");
    const Meaning meaning = view_.meaning(given[0]);
    const auto inner = view_.items(given[2]);
    switch (meaning) {
      case Meaning::tensor:
      case Meaning::typed_tensor:
      case Meaning::quantized:
      case Meaning::meta: return make_tensor(given[0], meaning, inner);
      case Meaning::sparse: return make_sparse(inner);
      case Meaning::first: return make_call(id, meaning, inner);
      case Meaning::wrapper_subclass: break;
      default: return fail(ErrorCode::unsupported, "a tensor of a class that is not known");
    }
    const auto parts = wrapped_parts(given);
    const PickleId local = view_.find(parts, "_local_tensor");
    if (local != kNoPickle && view_.kind(given[1]) == Kind::global && g_.global(given[1]).name == "DTensor") {
      if (!std::exchange(dtensor_noted_, true))
        report(ProblemCode::local_shard, "a DTensor gives the shard of the process that saved it");
      return value(local);
    }
    if (!parts.empty()) return make_dict(parts);
    return make_tensor(id, meaning, inner);
  }

  /// _rebuild_sparse_tensor(layout, (indices, values, size, coalesced)), and of rows, columns or blocks
  /// (layout, (crow_indices, col_indices, values, size)): its parts, each under its own name.
  Result<ValueId> make_sparse(const std::vector<PickleId>& given) {
    if (given.size() != 2 || view_.kind(given[1]) != Kind::tuple)
      return bad_pickle("a sparse tensor has too few parts");
    const auto parts = view_.items(given[1]);
    std::string layout;
    if (view_.called(given[0]) == Meaning::layout) {
      const auto named = view_.args(given[0]);
      if (!named.empty() && view_.kind(named[0]) == Kind::string) layout = view_.text(named[0]);
    } else if (view_.kind(given[0]) == Kind::global) {
      layout = g_.global(given[0]).qualified();
    }
    const bool by_column = layout == "torch.sparse_csc" || layout == "torch.sparse_bsc";
    const bool coo = layout == "torch.sparse_coo";
    constexpr std::string_view kCoo[] = {"indices", "values", "size", "is_coalesced"};
    constexpr std::string_view kRows[] = {"crow_indices", "col_indices", "values", "size"};
    constexpr std::string_view kColumns[] = {"ccol_indices", "row_indices", "values", "size"};
    std::vector<Tree::Entry> entries;
    for (std::size_t i = 0; i < parts.size() && i < 4; ++i)
      entries.push_back({tree_.add_string((coo ? kCoo : by_column ? kColumns : kRows)[i]), value(parts[i])});
    return tree_.add_dict(entries);
  }

  /// torch.device('cuda', 1): a name, as Python writes it.
  Result<ValueId> make_device(const std::vector<PickleId>& given) {
    if (given.empty() || view_.kind(given[0]) != Kind::string) return bad_pickle("a torch.device without a name");
    std::string name = to_valid_utf8(view_.text(given[0]));
    if (given.size() > 1 && view_.is_integer(given[1])) name += fmt::format(":{}", g_.integer(given[1]));
    return tree_.add_name("torch.device(" + python_repr(name) + ")");
  }

  Result<ValueId> make_persistent(PickleId id) {
    if (const PickleId wrapped = view_.wrapped_class(id); wrapped != kNoPickle) return make_global(wrapped);
    Tensor tensor;
    if (source_.resolve_tensor) {
      // One id is one object, however often it stands there: a few bytes must not become as many shapes of 64 sizes.
      const PickleId named = g_.persistent_id(id);
      const auto key = key_identity(named);
      if (const auto known = key ? by_id_.find(*key) : by_id_.end(); known != by_id_.end()) return known->second;
      auto found = source_.resolve_tensor(g_, named, tensor);
      CKPT_TRY(const ValueId made, add(std::move(tensor), std::move(found)));
      if (key) by_id_.emplace(*key, made);
      return made;
    }
    auto made = tensors_.lone_storage(id, tensor);
    if (!source_.resolve) return tl::make_unexpected(std::move(made.error()));
    return add(std::move(tensor), std::move(made));
  }

  // ---- a torch file in the bytes of a pickle ----

  Result<ValueId> nested_value(PickleId call) {
    const auto given = view_.args(call);
    if (given.size() != 1) return bad_pickle("a pickled torch file is no bytes");
    if (const auto it = nested_.find(given[0]); it != nested_.end()) return it->second;
    if (!source_.read_nested)
      return fail(ErrorCode::unsupported, "a torch file in a torch file in a pickle; load and save it once with torch");
    CKPT_TRY(const PickleView::Bytes bytes, view_.bytes(given[0]));
    CKPT_TRY(const ValueId value, source_.read_nested(bytes.storage, bytes.offset_bytes, bytes.size_bytes));
    nested_.emplace(given[0], value);
    return value;
  }
  Result<Tensor> nested_tensor(PickleId call) {
    CKPT_TRY(const ValueId value, nested_value(call));
    if (tree_.kind(value) != ValueKind::tensor) return bad_pickle("a torch tensor's storage is none");
    return tree_.tensor(value);
  }

  const PickleSource& source_;
  PickleView view_;
  const PickleGraph& g_;
  PickleTensors tensors_;
  const OpenOptions& options_;
  Checkpoint& out_;
  Tree& tree_;
  std::vector<ValueId> value_;                    // of each node; only value() looks at it
  std::unordered_map<PickleId, ValueId> nested_;  // by the node of the bytes
  std::unordered_map<ValueId, ValueId> quantization_;
  std::unordered_map<std::string, ValueId> by_id_;     // tensors, by the persistent id
  std::unordered_map<std::string, ValueId> beside_;    // arrays, by the name of the file
  std::unordered_map<std::string, SourcePtr> opened_;  // by name
  bool dtensor_noted_ = false;
};

/// Beside the state, under the names of the quantized tensors: what their integers stand for.
Result<void> add_quantization(const std::unordered_map<ValueId, ValueId>& parameters, ValueId root,
                              const OpenOptions& options, Checkpoint& out) {
  if (parameters.empty()) return {};
  const ValueId whole = std::exchange(out.root, root);
  auto listed = list_tensors(out, options.limits);
  out.root = whole;
  if (!listed) return tl::make_unexpected(std::move(listed.error()));
  std::vector<Tree::Entry> entries;
  for (const NamedTensor& t : *listed) {
    if (const auto it = parameters.find(t.value); it != parameters.end())
      entries.push_back({out.tree.add_string(t.name), it->second});
  }
  std::vector<Tree::Entry> attributes(out.tree.entries(out.attributes).begin(), out.tree.entries(out.attributes).end());
  const ValueId key = out.tree.add_string("quantization");
  attributes.push_back({key, out.tree.add_dict(entries)});
  out.attributes = out.tree.add_dict(attributes);
  return {};
}

}  // namespace

Result<DType> torch_dtype(const PickleGlobal& global) {
  const bool of_torch = global.module == "torch" || global.module == "torch.cuda";
  const auto type = of_torch ? torch_element_type(global.name) : std::nullopt;
  if (!type)
    return fail(ErrorCode::unsupported, "{} is no element type that is known", to_valid_utf8(global.qualified()));
  return make_dtype(*type);
}

Result<ValueId> interpret_pickle(const PickleSource& source, const OpenOptions& options, Checkpoint& out) {
  Interpreter interpreter(source, options, out);
  auto value = interpreter.run();
  if (value) {
    CKPT_CHECK(add_quantization(interpreter.quantization(), *value, options, out));
  }
  if (!value && value.error().member.empty()) value.error().member = source.where;
  return value;
}

}  // namespace netcl::ckpt
