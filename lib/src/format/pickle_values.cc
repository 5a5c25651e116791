// What the symbols of a pickle mean, for those that are pure: NumPy's and torch's reconstructors and
// Python's own containers. The list is closed and matched by exact name; a name that only looks like
// one of these is a stranger. Nothing is imported or called whatever the list says: to be on it means
// that this file knows what value the call would give.
//
// The graph is walked with a stack; a value is made when those it needs are there. A container that
// holds itself gets a place in the tree first and is defined when it is complete.
#include "format/pickle_values.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_set>

#include "base/checked.h"
#include "base/text.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

enum class Known : std::uint8_t {
  stranger,
  reconstruct,  // numpy: an empty array that BUILD fills
  frombuffer,
  scalar,
  dtype,
  ndarray,  // the class, as an argument
  ordered_dict,
  default_dict,
  encode,         // _codecs.encode(text, 'latin1'): bytes, before protocol 3
  reconstructor,  // copyreg._reconstructor(class, base, state)
  ml_dtype,       // a class of ml_dtypes, as an argument to dtype
  type,           // a Python builtin type, as a value or called with plain arguments
  random_state,
  rebuild_tensor,
  rebuild_typed_tensor,  // of an untyped storage, with the dtype as an argument
  rebuild_parameter,
  torch_type,  // a storage class or dtype
  torch_size,
  torch_device,
  script_class,  // TorchScript's own: a bag of attributes
  script_list,
};

template <std::size_t N>
bool one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 20> kBuiltinTypes = {
    "object", "int", "float",     "complex", "bool",  "str",    "bytes",   "bytearray", "list",     "tuple",
    "dict",   "set", "frozenset", "slice",   "range", "xrange", "unicode", "long",      "NoneType", "Ellipsis"};

/// TorchScript's typed lists: each is the list that it is called with.
constexpr std::array<std::string_view, 4> kScriptLists = {"build_intlist", "build_tensorlist", "build_doublelist",
                                                          "build_boollist"};

constexpr std::array<std::string_view, 33> kDTypeClasses = {
    "BoolDType",    "Int8DType",    "UInt8DType",      "Int16DType",     "UInt16DType",     "Int32DType",
    "UInt32DType",  "Int64DType",   "UInt64DType",     "LongLongDType",  "ULongLongDType",  "Float16DType",
    "Float32DType", "Float64DType", "LongDoubleDType", "Complex64DType", "Complex128DType", "CLongDoubleDType",
    "ObjectDType",  "BytesDType",   "StrDType",        "VoidDType",      "DateTime64DType", "TimeDelta64DType",
    "StringDType",  "ByteDType",    "UByteDType",      "ShortDType",     "UShortDType",     "IntDType",
    "UIntDType",    "LongDType",    "ULongDType"};

struct TorchType {
  std::string_view storage_class;
  std::string_view dtype;
  ScalarType type;
};
constexpr std::array<TorchType, 21> kTorchTypes = {{
    {"DoubleStorage", "float64", ScalarType::float64},
    {"FloatStorage", "float32", ScalarType::float32},
    {"HalfStorage", "float16", ScalarType::float16},
    {"BFloat16Storage", "bfloat16", ScalarType::bfloat16},
    {"LongStorage", "int64", ScalarType::int64},
    {"IntStorage", "int32", ScalarType::int32},
    {"ShortStorage", "int16", ScalarType::int16},
    {"CharStorage", "int8", ScalarType::int8},
    {"ByteStorage", "uint8", ScalarType::uint8},
    {"BoolStorage", "bool", ScalarType::boolean},
    {"ComplexDoubleStorage", "complex128", ScalarType::complex128},
    {"ComplexFloatStorage", "complex64", ScalarType::complex64},
    {"", "complex32", ScalarType::complex32},
    {"", "uint16", ScalarType::uint16},
    {"", "uint32", ScalarType::uint32},
    {"", "uint64", ScalarType::uint64},
    {"Float8_e4m3fnStorage", "float8_e4m3fn", ScalarType::float8_e4m3fn},
    {"Float8_e5m2Storage", "float8_e5m2", ScalarType::float8_e5m2},
    {"Float8_e4m3fnuzStorage", "float8_e4m3fnuz", ScalarType::float8_e4m3fnuz},
    {"Float8_e5m2fnuzStorage", "float8_e5m2fnuz", ScalarType::float8_e5m2fnuz},
    {"Float8_e8m0fnuStorage", "float8_e8m0fnu", ScalarType::float8_e8m0fnu},
}};

const TorchType* find_torch_type(std::string_view name) {
  const auto it = std::find_if(kTorchTypes.begin(), kTorchTypes.end(), [&](const TorchType& t) {
    return (!t.storage_class.empty() && t.storage_class == name) || t.dtype == name;
  });
  return it == kTorchTypes.end() ? nullptr : &*it;
}

Known classify(const PickleGlobal& g) {
  const std::string_view m = g.module, n = g.name;
  if (m == "numpy.core.multiarray" || m == "numpy._core.multiarray") {
    if (n == "_reconstruct") return Known::reconstruct;
    if (n == "scalar") return Known::scalar;
  }
  if ((m == "numpy.core.numeric" || m == "numpy._core.numeric") && n == "_frombuffer") return Known::frombuffer;
  if (m == "numpy" && n == "dtype") return Known::dtype;
  if (m == "numpy" && n == "ndarray") return Known::ndarray;
  if (is_ml_dtype(g)) return Known::ml_dtype;
  if (m == "numpy.dtypes" && one_of(n, kDTypeClasses)) return Known::type;
  if (m == "collections" && n == "OrderedDict") return Known::ordered_dict;
  if (m == "collections" && n == "defaultdict") return Known::default_dict;
  if (m == "_codecs" && n == "encode") return Known::encode;
  if ((m == "copyreg" || m == "copy_reg") && n == "_reconstructor") return Known::reconstructor;
  if ((m == "builtins" || m == "__builtin__") && one_of(n, kBuiltinTypes)) return Known::type;
  if (m == "numpy.random._pickle" && n == "__randomstate_ctor") return Known::random_state;
  if (m == "torch._utils") {
    if (n == "_rebuild_tensor" || n == "_rebuild_tensor_v2") return Known::rebuild_tensor;
    if (n == "_rebuild_tensor_v3") return Known::rebuild_typed_tensor;
    if (n == "_rebuild_parameter") return Known::rebuild_parameter;
  }
  if (m == "torch.jit._pickle" && one_of(n, kScriptLists)) return Known::script_list;
  if (m == "torch" && n == "Size") return Known::torch_size;
  if (m == "torch" && n == "device") return Known::torch_device;
  if (m == "torch" && find_torch_type(n) != nullptr) return Known::torch_type;
  if (m == "torch.storage" && (n == "UntypedStorage" || n == "TypedStorage")) return Known::torch_type;
  return Known::stranger;
}

/// TorchScript names its own classes so; their code lies beside the pickle, in `code/`.
bool is_script_class(const PickleGlobal& g) { return g.module == "__torch__" || g.module.starts_with("__torch__."); }

tl::unexpected<Error> bad(std::string_view what) { return fail(ErrorCode::corrupt, "{}", what); }

class Interpreter {
 public:
  Interpreter(const PickleGraph& graph, const StoragePtr& payload, const StorageResolver& resolve,
              const ReadOptions& options, Checkpoint& out)
      : g_(graph), payload_(payload), resolve_(resolve), options_(options), tree_(out.tree) {
    // What honest pickles need: each value is looked at a few times, each byte of text is copied twice.
    work_left_ = (std::uint64_t{1} << 20) + 12 * g_.size() + payload->size_bytes() / 2;
    for (const PickleGlobal& global : g_.globals) {
      known_.push_back(classify(global));
      if (resolve && known_.back() == Known::stranger && is_script_class(global)) known_.back() = Known::script_class;
      if (known_.back() == Known::stranger) has_stranger_ = true;
    }
  }

  Result<ValueId> run() {
    constexpr ValueId kUnknown = 0xffffffff;
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
      if (state[id] == 1 && value_[id] == kUnknown) value_[id] = tree_.reserve();  // part of itself
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
      const std::optional<ValueId> reserved = value_[id] == kUnknown ? std::nullopt : std::optional(value_[id]);
      stack.pop_back();
      auto made_or_not = make(id, reserved);
      if (work_left_ == 0)
        return fail(ErrorCode::limit_exceeded,
                    "the pickle shares its parts so often that reading it would take forever");
      CKPT_TRY(const ValueId made, std::move(made_or_not));
      value_[id] = made;
      state[id] = 2;
      if (tree_.size() > 2 * options_.limits.max_values)
        return fail(ErrorCode::limit_exceeded, "the pickle holds too many values");
    }
    return value_[g_.root];
  }

 private:
  using Kind = PickleKind;

  Known known(PickleId id) const {
    if (id == kNoPickle || g_.kind(id) != Kind::global) return Known::stranger;
    return known_[static_cast<std::size_t>(&g_.global(id) - g_.globals.data())];
  }
  Known callable(PickleId id) const {
    return g_.kind(id) == Kind::call ? known(g_.call(id).callable) : Known::stranger;
  }
  /// Parts may be shared: a thousand calls of one tuple of a thousand arguments are a megabyte to read and
  /// a million to look at. So each look is paid for, and run() ends where the means do.
  void pay(std::uint64_t elements) const { work_left_ -= std::min(work_left_, elements); }
  std::vector<PickleId> items_of(PickleId id) const {
    auto out = g_.items(id);
    pay(out.size() + 1);
    return work_left_ > 0 ? out : std::vector<PickleId>();
  }
  std::string_view text_of(PickleId id) const {
    const std::string_view out = g_.text(id);
    pay(out.size() / 8);
    return work_left_ > 0 ? out : std::string_view();
  }

  std::vector<PickleId> args(PickleId call) const {
    const PickleId args = g_.call(call).args;
    return g_.kind(args) == Kind::tuple ? items_of(args) : std::vector<PickleId>();
  }
  bool is_text(PickleId id, std::string_view wanted) const {
    return g_.kind(id) == Kind::string && text_of(id) == wanted;
  }

  /// Everything about a call, for values that keep what they do not understand.
  std::vector<PickleId> all_parts(PickleId id) const {
    const PickleCall& call = g_.call(id);
    std::vector<PickleId> out;
    for (const PickleId p : {call.args, call.kwargs, call.state}) {
      if (p != kNoPickle) out.push_back(p);
    }
    if (g_.kind(call.callable) == Kind::call) out.push_back(call.callable);
    for (const auto& list : {items_of(id), g_.pairs(id)}) out.insert(out.end(), list.begin(), list.end());
    return out;
  }

  /// What must be made before `id` can be.
  std::vector<PickleId> parts_of(PickleId id) const {
    switch (g_.kind(id)) {
      case Kind::list:
      case Kind::tuple:
      case Kind::set:
      case Kind::frozenset:
      case Kind::dict: return items_of(id);
      case Kind::call: break;
      default: return {};
    }
    const auto given = args(id);
    switch (callable(id)) {
      case Known::reconstruct:
      case Known::frombuffer: {
        // An object array's elements; the payload of any other needs no value.
        const auto state = array_state(id);
        if (state && g_.kind(state->data) == Kind::list) return {state->data};
        return has_stranger_ && !state ? all_parts(id) : std::vector<PickleId>();
      }
      case Known::scalar:
      case Known::dtype:
      case Known::encode:
      case Known::rebuild_tensor:
      case Known::rebuild_typed_tensor: return has_stranger_ ? all_parts(id) : std::vector<PickleId>();
      case Known::script_list:
      case Known::rebuild_parameter: return given.empty() ? given : std::vector{given[0]};
      default: return all_parts(id);
    }
  }

  // ---- making ----

  Result<ValueId> make(PickleId id, std::optional<ValueId> reserved) {
    switch (g_.kind(id)) {
      case Kind::none: return tree_.add_none();
      case Kind::boolean: return tree_.add_boolean(g_.boolean(id));
      case Kind::integer: return tree_.add_integer(g_.integer(id));
      case Kind::big_integer: return tree_.add_big_integer(text_of(id));
      case Kind::real: return tree_.add_real(g_.real(id));
      case Kind::string: return tree_.add_string(text_of(id));
      case Kind::bytes: return make_bytes(id);
      case Kind::list: return make_sequence(ValueKind::list, items_of(id), reserved);
      case Kind::tuple: return make_sequence(ValueKind::tuple, items_of(id), reserved);
      case Kind::set: return make_sequence(ValueKind::set, items_of(id), reserved);
      case Kind::frozenset: return make_sequence(ValueKind::frozenset, items_of(id), reserved);
      case Kind::dict: return make_dict(items_of(id), reserved);
      case Kind::global:
        if (known(id) == Known::stranger) return tree_.add_opaque(to_valid_utf8(g_.global(id).qualified()), {});
        return tree_.add_name(g_.global(id).qualified());
      case Kind::persistent: return make_lone_storage(id);
      case Kind::call: break;
    }
    auto made = make_call(id, reserved);
    // Beside a stranger nothing is certain; what cannot be understood then is opaque, not damaged.
    if (!made && has_stranger_ && made.error().code == ErrorCode::corrupt) return make_opaque(id, reserved);
    return made;
  }

  Result<ValueId> make_sequence(ValueKind kind, const std::vector<PickleId>& items, std::optional<ValueId> reserved) {
    std::vector<ValueId> values;
    values.reserve(items.size());
    for (const PickleId i : items) values.push_back(value_[i]);
    if (!reserved) return tree_.add_sequence(kind, values);
    tree_.define_sequence(*reserved, kind, values);
    return *reserved;
  }

  /// Of key, value, key, value …; a key that is set again keeps its place and takes the later value.
  Result<ValueId> make_dict(const std::vector<PickleId>& pairs, std::optional<ValueId> reserved) {
    std::vector<Tree::Entry> entries;
    std::unordered_map<std::string, std::size_t> seen;
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const PickleId key = pairs[i];
      const Tree::Entry entry{value_[key], value_[pairs[i + 1]]};
      if (g_.kind(key) == Kind::list || g_.kind(key) == Kind::dict || g_.kind(key) == Kind::set)
        return bad("a dict has a key that cannot be hashed");
      if (const auto text = key_identity(key)) {
        const auto [it, fresh] = seen.emplace(*text, entries.size());
        if (!fresh) {
          entries[it->second].value = entry.value;
          continue;
        }
      }
      entries.push_back(entry);
    }
    if (!reserved) return tree_.add_dict(entries);
    tree_.define_dict(*reserved, entries);
    return *reserved;
  }

  /// Equal for keys that Python holds equal, as far as keys are plain.
  std::optional<std::string> key_identity(PickleId key) const {
    switch (g_.kind(key)) {
      case Kind::string: return "s" + std::string(text_of(key));
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
      return tree_.add_tensor(view(make_dtype(ScalarType::uint8), {range.size_bytes}, range.offset_bytes));
    }
    CKPT_TRY(const std::string bytes, read_range(range));
    return tree_.add_bytes(bytes);
  }

  Result<std::string> read_range(PickleGraph::Range range) const {
    std::string bytes(range.size_bytes, '\0');
    CKPT_TRY(auto reader, payload_->open());
    CKPT_CHECK(reader->read(range.offset_bytes, std::as_writable_bytes(std::span(bytes))));
    return bytes;
  }

  Tensor view(DType dtype, std::vector<std::uint64_t> shape, std::uint64_t offset_bytes) const {
    Tensor t;
    t.dtype = std::move(dtype);
    t.strides = c_strides(shape);
    t.shape = std::move(shape);
    t.offset_bytes = offset_bytes;
    t.storage = payload_;
    return t;
  }

  Result<ValueId> make_opaque(PickleId id, std::optional<ValueId> reserved) {
    const PickleCall& call = g_.call(id);
    const std::string name = g_.kind(call.callable) == Kind::global
                                 ? to_valid_utf8(g_.global(call.callable).qualified())
                                 : "(the result of a call)";
    std::vector<ValueId> parts;
    for (const PickleId p : all_parts(id)) {
      if (value_[p] != 0xffffffff) parts.push_back(value_[p]);
    }
    if (!reserved) return tree_.add_opaque(name, parts);
    tree_.define_opaque(*reserved, name, parts);
    return *reserved;
  }

  Result<ValueId> make_call(PickleId id, std::optional<ValueId> reserved) {
    const auto given = args(id);
    const PickleCall& call = g_.call(id);
    switch (callable(id)) {
      case Known::reconstruct:
      case Known::frombuffer: return make_array(id);
      case Known::scalar: return make_scalar(given);
      case Known::dtype: {
        CKPT_TRY(const DType dtype, parse_dtype(id, 0));
        const bool numpys = known_to_numpy(dtype.type);
        return tree_.add_name("numpy.dtype(" + python_repr(numpys ? dtype.descr() : dtype.name()) + ")");
      }
      case Known::ordered_dict:
      case Known::default_dict: return make_mapping(id, reserved);
      case Known::encode: {
        CKPT_TRY(const std::string bytes, encoded_bytes(id));
        return tree_.add_bytes(bytes);
      }
      case Known::reconstructor: return make_reconstructed(id, given, reserved);
      case Known::type: return make_builtin(id, given, reserved);
      case Known::random_state: {
        std::vector<PickleId> state = call.state == kNoPickle ? given : std::vector{call.state};
        if (state.size() == 1) return value_[state[0]];
        return make_sequence(ValueKind::tuple, state, reserved);
      }
      case Known::rebuild_tensor: return make_tensor(given, kNoPickle);
      case Known::rebuild_typed_tensor: return make_tensor(given, given.size() > 6 ? given[6] : id);
      case Known::script_list:
        if (given.empty()) return bad("a typed list without its elements");
        return value_[given[0]];
      case Known::rebuild_parameter:
        if (given.empty()) return bad("a torch parameter without its tensor");
        return value_[given[0]];
      case Known::torch_size:
        if (given.size() != 1 || g_.kind(given[0]) != Kind::tuple)
          return bad("a torch.Size of something that is no tuple");
        return value_[given[0]];
      case Known::torch_device: {
        if (given.empty() || g_.kind(given[0]) != Kind::string) return bad("a torch.device without a name");
        return tree_.add_string(text_of(given[0]));
      }
      case Known::script_class: return make_script_object(id, reserved);
      default: break;
    }
    if (!has_stranger_) return bad("the pickle calls something that is not meant to be called");
    return make_opaque(id, reserved);
  }

  /// OrderedDict and defaultdict: a dict of the pairs given and of those set afterwards.
  Result<ValueId> make_mapping(PickleId id, std::optional<ValueId> reserved) {
    auto given = args(id);
    if (callable(id) == Known::default_dict && !given.empty()) given.erase(given.begin());  // the factory
    std::vector<PickleId> pairs;
    if (given.size() > 1) return bad("a dict is made of more than one argument");
    if (!given.empty()) {
      if (g_.kind(given[0]) == Kind::dict) {
        pairs = items_of(given[0]);
      } else if (g_.kind(given[0]) == Kind::list || g_.kind(given[0]) == Kind::tuple) {
        for (const PickleId p : items_of(given[0])) {
          if (g_.kind(p) != Kind::list && g_.kind(p) != Kind::tuple)
            return bad("a dict is made of something other than pairs");
          const auto pair = items_of(p);
          if (pair.size() != 2) return bad("a dict is made of something other than pairs");
          pairs.insert(pairs.end(), pair.begin(), pair.end());
        }
      } else {
        return bad("a dict is made of something other than pairs");
      }
    }
    const auto later = g_.pairs(id);
    pairs.insert(pairs.end(), later.begin(), later.end());
    return make_dict(pairs, reserved);
  }

  /// copyreg._reconstructor(class, base, state): objects of protocols 0 and 1.
  Result<ValueId> make_reconstructed(PickleId id, const std::vector<PickleId>& given, std::optional<ValueId> reserved) {
    if (given.size() != 3) return bad("copyreg._reconstructor takes three arguments");
    const bool plain = known(given[0]) != Known::stranger && known(given[1]) == Known::type;
    if (!plain) {
      if (!has_stranger_) return bad("copyreg._reconstructor of something that is no class");
      return make_opaque(id, reserved);
    }
    const auto items = items_of(id);
    const auto pairs = g_.pairs(id);
    if (!pairs.empty()) return make_dict(pairs, reserved);
    if (!items.empty()) return make_sequence(ValueKind::list, items, reserved);
    if (g_.call(id).state != kNoPickle) return value_[g_.call(id).state];
    return value_[given[2]];
  }

  /// A Python type called with plain arguments.
  Result<ValueId> make_builtin(PickleId id, const std::vector<PickleId>& given, std::optional<ValueId> reserved) {
    const PickleGlobal& global = g_.global(g_.call(id).callable);
    const std::string_view name = global.name;
    const PickleId first = given.empty() ? kNoPickle : given[0];
    const Kind kind = given.empty() ? Kind::none : g_.kind(first);
    const bool sequence = kind == Kind::list || kind == Kind::tuple || kind == Kind::set || kind == Kind::frozenset;
    auto number = [&](PickleId p) -> std::optional<double> {
      if (g_.kind(p) == Kind::real) return g_.real(p);
      if (g_.kind(p) == Kind::integer) return static_cast<double>(g_.integer(p));
      return std::nullopt;
    };
    if (name == "complex" && given.size() == 2 && number(given[0]) && number(given[1])) {
      return tree_.add_complex(*number(given[0]), *number(given[1]));
    }
    if (name == "set" || name == "frozenset" || name == "list" || name == "tuple") {
      if (!given.empty() && !sequence) return bad("a container is made of something that is none");
      const ValueKind made = name == "set"         ? ValueKind::set
                             : name == "frozenset" ? ValueKind::frozenset
                             : name == "list"      ? ValueKind::list
                                                   : ValueKind::tuple;
      auto items = given.empty() ? std::vector<PickleId>() : items_of(first);
      const auto later = items_of(id);
      items.insert(items.end(), later.begin(), later.end());
      return make_sequence(made, items, reserved);
    }
    if (name == "dict" && g_.call(id).kwargs == kNoPickle) return make_mapping(id, reserved);
    if (name == "bytes" || name == "bytearray") {
      if (given.empty()) return tree_.add_bytes("");
      if (kind == Kind::bytes || callable_is(first, Known::encode)) return value_[first];
      if (kind == Kind::string) {  // bytearray(text, 'latin-1'): protocol 2
        CKPT_TRY(const std::string bytes, latin1_bytes(text_of(first)));
        return tree_.add_bytes(bytes);
      }
      if (kind == Kind::list) {
        std::string bytes;
        for (const PickleId i : items_of(first)) {
          if (g_.kind(i) != Kind::integer || g_.integer(i) < 0 || g_.integer(i) > 255)
            return bad("bytes are made of something other than bytes");
          bytes += static_cast<char>(g_.integer(i));
        }
        return tree_.add_bytes(bytes);
      }
      return bad("bytes are made of something other than bytes");
    }
    if (name == "slice" || name == "range" || name == "xrange" || name == "object") {
      std::vector<ValueId> parts;
      for (const PickleId p : given) parts.push_back(value_[p]);
      const ValueId word = tree_.add_name(fmt::format("builtins.{}", name));
      parts.insert(parts.begin(), word);
      return tree_.add_sequence(ValueKind::tuple, parts);
    }
    if ((name == "int" || name == "float" || name == "bool" || name == "str") && given.size() == 1 &&
        (kind == Kind::integer || kind == Kind::real || kind == Kind::boolean || kind == Kind::string)) {
      return value_[first];
    }
    return bad("a Python type is called with arguments that it does not take");
  }

  bool callable_is(PickleId id, Known what) const { return g_.kind(id) == Kind::call && callable(id) == what; }

  /// A TorchScript object: its attributes.
  Result<ValueId> make_script_object(PickleId id, std::optional<ValueId> reserved) {
    const PickleId state = g_.call(id).state;
    if (state != kNoPickle) return value_[state];
    return make_sequence(ValueKind::tuple, args(id), reserved);
  }

  // ---- bytes ----

  static Result<std::string> latin1_bytes(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto b = static_cast<std::uint8_t>(text[i]);
      if (b < 0x80) {
        out += text[i];
      } else if ((b == 0xc2 || b == 0xc3) && i + 1 < text.size()) {
        out += static_cast<char>(((b & 3) << 6) | (static_cast<std::uint8_t>(text[++i]) & 0x3f));
      } else {
        return bad("a text is meant to be bytes and holds other characters");
      }
    }
    return out;
  }

  /// _codecs.encode(text, 'latin1')
  Result<std::string> encoded_bytes(PickleId id) const {
    const auto given = args(id);
    if (given.empty() || given.size() > 2 || g_.kind(given[0]) != Kind::string)
      return bad("_codecs.encode of something that is no text");
    if (given.size() == 2 && !is_text(given[1], "latin1") && !is_text(given[1], "latin-1"))
      return bad("_codecs.encode into something other than latin1");
    return latin1_bytes(text_of(given[0]));
  }

  /// Where an array's or scalar's bytes are: a range of the payload, or text that stands for bytes.
  struct Bytes {
    StoragePtr storage;
    std::uint64_t offset_bytes = 0;
    std::uint64_t size_bytes = 0;
  };
  Result<Bytes> payload_bytes(PickleId id) const {
    if (g_.kind(id) == Kind::bytes) {
      const auto range = g_.range(id);
      return Bytes{payload_, range.offset_bytes, range.size_bytes};
    }
    std::string bytes;
    if (g_.kind(id) == Kind::string) {
      CKPT_TRY(bytes, latin1_bytes(text_of(id)));
    } else if (callable_is(id, Known::encode)) {
      CKPT_TRY(bytes, encoded_bytes(id));
    } else if (callable_is(id, Known::type)) {
      // bytearray(bytes) and bytearray(text, 'latin-1')
      const auto given = args(id);
      const std::string_view name = g_.global(g_.call(id).callable).name;
      if ((name != "bytearray" && name != "bytes") || given.size() > 2) return bad("an array's data are no bytes");
      if (given.empty()) return Bytes{payload_, 0, 0};
      if (g_.kind(given[0]) == Kind::call && callable(given[0]) != Known::encode)
        return bad("an array's data are no bytes");
      return payload_bytes(given[0]);
    } else {
      return bad("an array's data are no bytes");
    }
    const auto view = std::as_bytes(std::span(bytes));
    return Bytes{file_storage(memory_source({view.begin(), view.end()}, "pickle text"), 0, bytes.size()), 0,
                 bytes.size()};
  }

  // ---- dtypes ----

  struct SubArray {
    DType dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t num_fields = 1;  // nested ones each time that they occur
  };

  Result<DType> parse_dtype(PickleId id, std::uint32_t depth) const {
    CKPT_TRY(SubArray whole, parse_sub_array(id, depth));
    if (!whole.shape.empty()) return bad("a dtype that is a sub-array stands where a plain one belongs");
    return std::move(whole.dtype);
  }

  /// numpy.dtype(code, False, True) with the state (3, order, sub, names, fields, size, alignment, flags[, metadata]).
  Result<SubArray> parse_sub_array(PickleId id, std::uint32_t depth) const {
    // One dtype is shared by thousands of arrays.
    if (const auto it = dtypes_.find(id); it != dtypes_.end()) {
      pay(it->second.num_fields);
      return it->second;
    }
    CKPT_TRY(SubArray parsed, parse_new_sub_array(id, depth));
    return dtypes_.emplace(id, std::move(parsed)).first->second;
  }

  Result<SubArray> parse_new_sub_array(PickleId id, std::uint32_t depth) const {
    if (depth > options_.limits.max_dtype_depth)
      return fail(ErrorCode::limit_exceeded, "the dtype is nested deeper than {}", options_.limits.max_dtype_depth);
    if (!callable_is(id, Known::dtype)) return bad("a dtype is not one");
    const auto given = args(id);
    const bool of_ml_dtypes = !given.empty() && known(given[0]) == Known::ml_dtype;
    if (given.empty() || (g_.kind(given[0]) != Kind::string && !of_ml_dtypes)) return bad("a dtype has no type code");
    std::string code(of_ml_dtypes ? std::string_view(g_.global(given[0]).name) : text_of(given[0]));
    const PickleId state = g_.call(id).state;
    if (state == kNoPickle) {
      CKPT_TRY(DType dtype, parse_type_string(code));
      return SubArray{std::move(dtype), {}};
    }
    if (g_.kind(state) != Kind::tuple) return bad("a dtype's state is no tuple");
    const auto s = items_of(state);
    if (s.size() < 6 || s.size() > 9 || g_.kind(s[0]) != Kind::integer || g_.kind(s[1]) != Kind::string)
      return bad("a dtype's state has the wrong parts");
    const std::string order(text_of(s[1]));
    if (order != "<" && order != ">" && order != "|" && order != "=") return bad("a dtype has an unknown byte order");
    if (g_.kind(s[5]) != Kind::integer || g_.integer(s[5]) < -1 || g_.integer(s[5]) > 0x7fffffff)
      return bad("a dtype has an impossible size");
    const std::int64_t size = g_.integer(s[5]);

    if (g_.kind(s[2]) == Kind::tuple) {  // a sub-array
      const auto sub = items_of(s[2]);
      if (sub.size() != 2) return bad("a sub-array dtype has the wrong parts");
      CKPT_TRY(SubArray inner, parse_sub_array(sub[0], depth + 1));
      std::vector<std::uint64_t> shape;
      if (g_.kind(sub[1]) == Kind::integer) {
        if (g_.integer(sub[1]) < 0) return bad("a sub-array has a negative size");
        shape.push_back(static_cast<std::uint64_t>(g_.integer(sub[1])));
      } else {
        CKPT_TRY(shape, sizes(sub[1]));
      }
      shape.insert(shape.end(), inner.shape.begin(), inner.shape.end());
      return SubArray{std::move(inner.dtype), std::move(shape), inner.num_fields};
    }
    if (g_.kind(s[3]) == Kind::tuple) {
      std::uint64_t num_fields = 1;
      CKPT_TRY(DType dtype, parse_fields(s[3], s[4], size, depth, num_fields));
      return SubArray{std::move(dtype), {}, num_fields};
    }
    if (g_.kind(s[3]) != Kind::none) return bad("a dtype's field names are no tuple");
    if (s.size() == 9) {
      if (code == "M8" || code == "m8") CKPT_CHECK(append_unit(s[8], code));
    }
    const bool typed = order == "<" || order == ">" || order == "=";
    const std::string prefix = of_ml_dtypes ? "" : typed && !code.starts_with('V') ? order : "|";
    CKPT_TRY(DType dtype, parse_type_string(prefix + code));
    if (of_ml_dtypes) dtype.big_endian = order == ">" && dtype.item_bytes > 1;
    if (size > 0 && static_cast<std::uint64_t>(size) != dtype.item_bytes) {
      const bool flexible =
          dtype.type == ScalarType::bytes || dtype.type == ScalarType::unicode || dtype.type == ScalarType::raw;
      if (!flexible || dtype.item_bytes != 0) return bad("a dtype's size contradicts its type");
      dtype.item_bytes = static_cast<std::uint64_t>(size);
    }
    return SubArray{std::move(dtype), {}};
  }

  /// ({}, (b'ns', 1, 1, 1)) -> "[ns]"
  Result<void> append_unit(PickleId metadata, std::string& code) const {
    if (g_.kind(metadata) != Kind::tuple || items_of(metadata).size() != 2) return bad("a datetime dtype has no unit");
    const PickleId unit = items_of(metadata)[1];
    if (g_.kind(unit) != Kind::tuple || items_of(unit).size() < 2) return bad("a datetime dtype has no unit");
    const auto parts = items_of(unit);
    std::string name;
    if (g_.kind(parts[0]) == Kind::bytes) {
      if (g_.range(parts[0]).size_bytes > 16) return bad("a datetime dtype has an unknown unit");
      CKPT_TRY(name, read_range(g_.range(parts[0])));
    } else if (g_.kind(parts[0]) == Kind::string) {
      name = text_of(parts[0]);
    } else {
      CKPT_TRY(name, encoded_bytes(parts[0]));
    }
    if (g_.kind(parts[1]) != Kind::integer || g_.integer(parts[1]) < 1)
      return bad("a datetime dtype has an impossible unit");
    if (name == "generic") return {};
    const std::int64_t multiple = g_.integer(parts[1]);
    code += multiple == 1 ? fmt::format("[{}]", name) : fmt::format("[{}{}]", multiple, name);
    return {};
  }

  /// names: (name, …); fields: {name: (dtype, offset[, title])}. Gaps become fields without a name.
  Result<DType> parse_fields(PickleId names, PickleId fields, std::int64_t size, std::uint32_t depth,
                             std::uint64_t& num_fields) const {
    if (g_.kind(fields) != Kind::dict) return bad("a structured dtype has no fields");
    std::unordered_map<std::string, PickleId> by_name;
    const auto entries = items_of(fields);
    for (std::size_t i = 0; i + 1 < entries.size(); i += 2) {
      if (g_.kind(entries[i]) == Kind::string) by_name[std::string(text_of(entries[i]))] = entries[i + 1];
    }
    struct Placed {
      Field field;
      std::uint64_t offset, bytes;
    };
    std::vector<Placed> placed;
    std::unordered_set<std::string> seen;
    for (const PickleId n : items_of(names)) {
      if (g_.kind(n) != Kind::string || !seen.insert(std::string(text_of(n))).second)
        return bad("a structured dtype has a bad field name");
      const auto it = by_name.find(std::string(text_of(n)));
      if (it == by_name.end() || g_.kind(it->second) != Kind::tuple)
        return bad("a structured dtype names a field that it lacks");
      const auto parts = items_of(it->second);
      if (parts.size() < 2 || g_.kind(parts[1]) != Kind::integer || g_.integer(parts[1]) < 0)
        return bad("a field has no offset");
      CKPT_TRY(SubArray type, parse_sub_array(parts[0], depth + 1));
      if (!known_to_numpy(type.dtype.type) && type.dtype.type != ScalarType::bfloat16)
        return fail(ErrorCode::unsupported, "a structured dtype with a field of {}", type.dtype.name());
      constexpr std::uint64_t kMaxFields = std::uint64_t{1} << 16;
      num_fields += type.num_fields;
      if (num_fields > kMaxFields)
        return fail(ErrorCode::limit_exceeded, "a structured dtype has more than {} fields, nested ones counted",
                    kMaxFields);
      Placed p;
      p.field.name = text_of(n);
      if (parts.size() > 2 && g_.kind(parts[2]) == Kind::string) p.field.title = text_of(parts[2]);
      const auto bytes = checked_product(type.shape, type.dtype.item_bytes);
      if (!bytes) return bad("a field is too large");
      p.bytes = *bytes;
      p.offset = static_cast<std::uint64_t>(g_.integer(parts[1]));
      p.field.dtype = std::move(type.dtype);
      p.field.shape = std::move(type.shape);
      placed.push_back(std::move(p));
    }
    std::stable_sort(placed.begin(), placed.end(),
                     [](const Placed& a, const Placed& b) { return a.offset < b.offset; });
    std::vector<Field> out;
    std::uint64_t at = 0;
    auto pad_to = [&](std::uint64_t offset) {
      if (offset == at) return;
      Field gap;
      gap.dtype = DType{ScalarType::raw, false, offset - at, "", nullptr};
      out.push_back(std::move(gap));
      at = offset;
    };
    for (Placed& p : placed) {
      if (p.offset < at) return fail(ErrorCode::unsupported, "a structured dtype has fields that overlap");
      pad_to(p.offset);
      at += p.bytes;
      out.push_back(std::move(p.field));
    }
    if (size >= 0) {
      if (static_cast<std::uint64_t>(size) < at) return bad("a field reaches beyond its dtype");
      pad_to(static_cast<std::uint64_t>(size));
    }
    return make_structured(std::move(out), options_.limits.max_dtype_depth);
  }

  // ---- arrays ----

  Result<std::vector<std::uint64_t>> sizes(PickleId id) const {
    if (g_.kind(id) != Kind::tuple && g_.kind(id) != Kind::list) {
      if (g_.kind(id) == Kind::call && callable(id) == Known::torch_size && args(id).size() == 1)
        return sizes(args(id)[0]);
      return bad("a shape is no tuple");
    }
    const auto items = items_of(id);
    if (items.size() > options_.limits.max_dimensions)
      return fail(ErrorCode::corrupt, "an array of {} dimensions", items.size());
    std::vector<std::uint64_t> out;
    for (const PickleId i : items) {
      if (g_.kind(i) != Kind::integer || g_.integer(i) < 0) return bad("a shape holds something other than sizes");
      out.push_back(static_cast<std::uint64_t>(g_.integer(i)));
    }
    return out;
  }

  struct ArrayState {
    PickleId shape = kNoPickle, dtype = kNoPickle, data = kNoPickle;
    bool fortran = false;
  };

  /// What describes the array, wherever it stands; nothing where it is not as NumPy writes it.
  std::optional<ArrayState> array_state(PickleId id) const {
    const auto given = args(id);
    if (callable(id) == Known::frombuffer) {
      if (given.size() != 4 || g_.kind(given[3]) != Kind::string) return std::nullopt;
      return ArrayState{given[2], given[1], given[0], text_of(given[3]) == "F"};
    }
    if (given.empty() || known(given[0]) != Known::ndarray) return std::nullopt;
    const PickleId state = g_.call(id).state;
    if (state == kNoPickle || g_.kind(state) != Kind::tuple) return std::nullopt;
    auto s = items_of(state);
    if (s.size() == 5 && g_.kind(s[0]) == Kind::integer) s.erase(s.begin());  // the version
    if (s.size() != 4) return std::nullopt;
    const bool fortran = (g_.kind(s[2]) == Kind::boolean && g_.boolean(s[2])) ||
                         (g_.kind(s[2]) == Kind::integer && g_.integer(s[2]) != 0);
    return ArrayState{s[0], s[1], s[3], fortran};
  }

  Result<ValueId> make_array(PickleId id) {
    const auto state = array_state(id);
    if (!state) return bad("an array is not described as NumPy does it");
    Tensor tensor;
    CKPT_TRY(SubArray type, parse_sub_array(state->dtype, 0));
    if (!type.shape.empty()) return bad("an array has a sub-array dtype");
    tensor.dtype = std::move(type.dtype);
    CKPT_TRY(tensor.shape, sizes(state->shape));
    const auto size = checked_product(tensor.shape, tensor.dtype.item_bytes);
    constexpr std::uint64_t kMaxEmptyElements = 1 << 20;
    if (!size || (tensor.dtype.item_bytes == 0 && tensor.num_elements() > kMaxEmptyElements))
      return bad("an array's shape describes more elements than there can be");
    tensor.strides = state->fortran ? f_strides(tensor.shape) : c_strides(tensor.shape);
    if (has_object(tensor.dtype)) {
      if (g_.kind(state->data) != Kind::list) return bad("an object array's elements are no list");
      return tree_.add_tensor(std::move(tensor));
    }
    CKPT_TRY(Bytes bytes, payload_bytes(state->data));
    if (bytes.size_bytes != *size)
      return fail(ErrorCode::corrupt, "an array of {} bytes comes with {}", *size, bytes.size_bytes);
    tensor.storage = std::move(bytes.storage);
    tensor.offset_bytes = bytes.offset_bytes;
    return tree_.add_tensor(std::move(tensor));
  }

  Result<ValueId> make_scalar(const std::vector<PickleId>& given) {
    if (given.size() != 2) return bad("a NumPy scalar has the wrong parts");
    Tensor tensor;
    CKPT_TRY(tensor.dtype, parse_dtype(given[0], 0));
    if (has_object(tensor.dtype)) return tree_.add_none();
    CKPT_TRY(Bytes bytes, payload_bytes(given[1]));
    if (bytes.size_bytes != tensor.dtype.item_bytes)
      return bad("a NumPy scalar's data have another size than its dtype");
    tensor.storage = std::move(bytes.storage);
    tensor.offset_bytes = bytes.offset_bytes;
    return tree_.add_scalar(std::move(tensor));
  }

  // ---- torch ----

  /// _rebuild_tensor_v2(storage, offset, size, stride, …), and v3 of an untyped storage, with a dtype.
  Result<ValueId> make_tensor(const std::vector<PickleId>& given, PickleId dtype) {
    if (given.size() < 4) return bad("a torch tensor has too few parts");
    if (g_.kind(given[0]) != Kind::persistent || !resolve_) return bad("a torch tensor has no storage");
    CKPT_TRY(TorchStorage storage, resolve_(g_, g_.persistent_id(given[0])));
    if (dtype != kNoPickle) {
      if (known(dtype) != Known::torch_type) return bad("a torch tensor has no element type");
      const bool big_endian = storage.dtype.big_endian;
      CKPT_TRY(storage.dtype, torch_dtype(g_.global(dtype)));
      storage.dtype.big_endian = big_endian && storage.dtype.item_bytes > 1;
      storage.num_elements = storage.storage->size_bytes() / storage.dtype.item_bytes;
    }
    if (g_.kind(given[1]) != Kind::integer || g_.integer(given[1]) < 0)
      return bad("a torch tensor has an impossible offset");
    const auto offset = static_cast<std::uint64_t>(g_.integer(given[1]));
    Tensor tensor;
    tensor.dtype = storage.dtype;
    CKPT_TRY(tensor.shape, sizes(given[2]));
    CKPT_TRY(tensor.strides, sizes(given[3]));
    if (tensor.strides.size() != tensor.shape.size())
      return bad("a torch tensor has not one stride for each dimension");
    const auto size = checked_product(tensor.shape, tensor.dtype.item_bytes);
    if (!size) return bad("a torch tensor's size describes more elements than there can be");
    if (tensor.num_elements() > 0) {
      std::optional<std::uint64_t> last = offset;
      for (std::size_t d = 0; d < tensor.shape.size() && last; ++d) {
        const auto step = checked_mul(tensor.shape[d] - 1, tensor.strides[d]);
        last = step ? checked_add(*last, *step) : std::nullopt;
      }
      if (!last || *last >= storage.num_elements) return bad("a torch tensor reaches beyond its storage");
      const auto most = checked_mul(storage.storage->size_bytes(), options_.limits.max_expansion);
      if (most && *size > *most)
        return fail(ErrorCode::limit_exceeded, "a torch tensor repeats its storage more than {} times",
                    options_.limits.max_expansion);
      tensor.offset_bytes = offset * tensor.dtype.item_bytes;
    } else if (offset > storage.num_elements) {
      return bad("a torch tensor begins beyond its storage");
    }
    tensor.storage = storage.storage;
    return tree_.add_tensor(std::move(tensor));
  }

  /// A storage that is a value of its own, as old state dicts hold them.
  Result<ValueId> make_lone_storage(PickleId id) {
    if (!resolve_) return bad("the pickle refers to an object outside of it");
    CKPT_TRY(const TorchStorage storage, resolve_(g_, g_.persistent_id(id)));
    Tensor tensor;
    tensor.dtype = storage.dtype;
    tensor.shape = {storage.num_elements};
    tensor.strides = {1};
    tensor.storage = storage.storage;
    return tree_.add_tensor(std::move(tensor));
  }

  const PickleGraph& g_;
  const StoragePtr& payload_;
  const StorageResolver& resolve_;
  const ReadOptions& options_;
  Tree& tree_;
  std::vector<Known> known_;  // of each global
  bool has_stranger_ = false;
  std::vector<ValueId> value_;  // of each node
  mutable std::uint64_t work_left_ = 0;
  mutable std::unordered_map<PickleId, SubArray> dtypes_;
};

}  // namespace

Result<DType> torch_dtype(const PickleGlobal& global) {
  const TorchType* type = global.module == "torch" ? find_torch_type(global.name) : nullptr;
  if (type == nullptr)
    return fail(ErrorCode::unsupported, "{} is no element type that is known", to_valid_utf8(global.qualified()));
  return make_dtype(type->type);
}

bool is_ml_dtype(const PickleGlobal& global) {
  const auto dtype = parse_type_string(global.name);
  return global.module == "ml_dtypes" && dtype && !known_to_numpy(dtype->type);
}

void report_globals(std::span<const PickleGlobal> globals, const std::string& where, bool script, Checkpoint& out) {
  constexpr std::size_t kMostReported = 10'000;
  for (const PickleGlobal& g : globals) {
    if (classify(g) != Known::stranger || (script && is_script_class(g))) continue;
    if (out.problems.size() > kMostReported) return;
    const std::string name = to_valid_utf8(g.qualified());
    out.problems.push_back({"unsafe-global", Severity::unsafe, where, g.offset_bytes, name + " (not executed)", name});
  }
}

Result<ValueId> interpret_pickle(const PickleGraph& graph, const StoragePtr& payload, const std::string& where,
                                 const StorageResolver& resolve, const ReadOptions& options, Checkpoint& out) {
  auto value = Interpreter(graph, payload, resolve, options, out).run();
  if (!value && value.error().member.empty()) value.error().member = where;
  return value;
}

}  // namespace netcl::ckpt
