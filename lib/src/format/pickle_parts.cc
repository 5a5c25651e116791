// What must be made before a value of a pickle can be: the nodes that a call's meaning looks at, and no others.
#include "format/pickle_interpreter.h"

#include "format/pickle_modules.h"

namespace netcl::ckpt {

std::vector<PickleId> PickleInterpreter::all_parts(PickleId id) const {
  const PickleCall& call = g_.call(id);
  std::vector<PickleId> out;
  for (const PickleId p : {call.args, call.kwargs, call.state}) {
    if (p != kNoPickle) out.push_back(p);
  }
  if (view_.kind(call.callable) == Kind::call) out.push_back(call.callable);
  for (const auto& list : {view_.items(id), view_.pairs(id)}) out.insert(out.end(), list.begin(), list.end());
  return out;
}

std::vector<PickleId> PickleInterpreter::parts_of(PickleId id) const {
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

std::vector<PickleId> PickleInterpreter::parts_of_call(PickleId id) const {
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

std::vector<PickleId> PickleInterpreter::wrapped_parts(const std::vector<PickleId>& given) const {
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

}  // namespace netcl::ckpt
