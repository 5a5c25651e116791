// What the calls of a pickle give, those of NumPy and torch apart: Python's library, containers, objects.
#include "format/pickle_interpreter.h"

#include <algorithm>

#include "base/text.h"
#include "base/try.h"
#include "format/pickle_modules.h"
#include "format/pickle_python.h"
#include "model/dtype.h"

namespace netcl::ckpt {

Result<ValueId> PickleInterpreter::make_call(PickleId id, Meaning meaning, const std::vector<PickleId>& given) {
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
      if (meaning != Meaning::ordered_dict) return make_dict(pairs);
      return make_dict(pairs, ordered_attributes(call.state));
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

std::optional<ValueId> PickleInterpreter::plain_dict(PickleId id) {
  const auto pairs = view_.mapping(id);
  if (!pairs || view_.kind(id) == Kind::list) return std::nullopt;
  std::vector<Tree::Entry> entries;
  for (std::size_t i = 0; i + 1 < pairs->size(); i += 2) {
    const PickleId key = (*pairs)[i], item = (*pairs)[i + 1];
    std::optional<ValueId> plain;
    switch (view_.kind(item)) {
      case Kind::none: plain = tree_.add_none(); break;
      case Kind::boolean: plain = tree_.add_boolean(g_.boolean(item)); break;
      case Kind::integer: plain = tree_.add_integer(g_.integer(item)); break;
      case Kind::string: plain = tree_.add_string(view_.text(item)); break;
      default: break;
    }
    if (!plain || view_.kind(key) != Kind::string) return std::nullopt;
    entries.push_back({tree_.add_string(view_.text(key)), *plain});
  }
  return tree_.add_dict(entries);
}

ValueId PickleInterpreter::ordered_attributes(PickleId state) {
  constexpr std::string_view kMetadata = "_metadata";
  const auto given = state == kNoPickle ? std::vector<PickleId>() : view_.attributes(state);
  const PickleId metadata = view_.find(given, kMetadata);
  const auto modules = metadata == kNoPickle ? Result<std::vector<PickleId>>() : view_.mapping(metadata);
  if (!no_attributes_) no_attributes_ = tree_.add_dict({});
  if (metadata == kNoPickle || !modules || view_.kind(metadata) == Kind::list) return *no_attributes_;
  std::vector<Tree::Entry> entries;
  for (std::size_t i = 0; i + 1 < modules->size(); i += 2) {
    const auto facts = plain_dict((*modules)[i + 1]);
    if (!facts || view_.kind((*modules)[i]) != Kind::string) return *no_attributes_;
    entries.push_back({tree_.add_string(view_.text((*modules)[i])), *facts});
  }
  const Tree::Entry entry{tree_.add_string(kMetadata), tree_.add_dict(entries, *no_attributes_)};
  return tree_.add_dict({&entry, 1});
}

bool PickleInterpreter::is_dict_type(Meaning m) {
  return m == Meaning::ordered_dict || m == Meaning::default_dict || m == Meaning::mapping;
}

bool PickleInterpreter::has_attributes(PickleId state) const {
  if (state == kNoPickle || view_.kind(state) == Kind::none || view_.is_mapping(state)) return true;
  if (view_.kind(state) != Kind::tuple) return false;
  const auto parts = view_.items(state);
  return parts.size() == 2 && std::all_of(parts.begin(), parts.end(), [&](PickleId p) {
           return view_.kind(p) == Kind::none || view_.is_mapping(p);
         });
}

Result<ValueId> PickleInterpreter::make_sequence(ValueKind kind, PickleId id) {
  CKPT_TRY(const auto items, view_.sequence(id));
  return tree_.add_sequence(kind, values(items));
}

Result<ValueId> PickleInterpreter::make_builtin_bytes(const std::vector<PickleId>& given) {
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

std::optional<double> PickleInterpreter::number(PickleId id) const {
  if (view_.kind(id) == Kind::real) return g_.real(id);
  if (view_.is_integer(id)) return static_cast<double>(g_.integer(id));
  return std::nullopt;
}

Result<ValueId> PickleInterpreter::make_complex(const std::vector<PickleId>& given) {
  double parts[2] = {0, 0};
  if (given.size() > 2) return bad_pickle("a complex number of more than two parts");
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto part = number(given[i]);
    if (!part) return bad_pickle("a complex number is made of something other than numbers");
    parts[i] = *part;
  }
  return tree_.add_complex(parts[0], parts[1]);
}

Result<ValueId> PickleInterpreter::make_number(PickleId id, const std::vector<PickleId>& given) {
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

Result<ValueId> PickleInterpreter::make_attributes(PickleId id, const std::vector<PickleId>& given) {
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

Result<ValueId> PickleInterpreter::value_of_state(PickleId state, const std::vector<PickleId>& pairs) {
  return view_.kind(state) == Kind::tuple ? make_dict(pairs) : Result<ValueId>(value(state));
}

Result<ValueId> PickleInterpreter::make_reconstructed(PickleId id, const std::vector<PickleId>& given) {
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

Result<ValueId> PickleInterpreter::make_module(PickleId id) {
  auto state_or_not = module_state(view_, id);
  if (!state_or_not && state_or_not.error().code == ErrorCode::corrupt) return make_opaque(id);
  CKPT_TRY(const auto state, std::move(state_or_not));
  std::vector<Tree::Entry> entries;
  for (const auto& [name, tensor] : state) entries.push_back({tree_.add_string(name), value(tensor)});
  return tree_.add_dict(entries);
}

Result<ValueId> PickleInterpreter::make_device(const std::vector<PickleId>& given) {
  if (given.empty() || view_.kind(given[0]) != Kind::string) return bad_pickle("a torch.device without a name");
  std::string name = to_valid_utf8(view_.text(given[0]));
  if (given.size() > 1 && view_.is_integer(given[1])) name += fmt::format(":{}", g_.integer(given[1]));
  return tree_.add_name("torch.device(" + python_repr(name) + ")");
}

Result<ValueId> PickleInterpreter::nested_value(PickleId call) {
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

}  // namespace netcl::ckpt
