// Arrays and tensors of a pickle as values: NumPy's, jax's, joblib's with the files beside it, torch's of every kind.
#include "format/pickle_interpreter.h"

#include <algorithm>
#include <utility>

#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/envelope.h"
#include "format/npy.h"
#include "model/dtype.h"

namespace netcl::ckpt {

Result<ValueId> PickleInterpreter::add(Tensor tensor, Result<void> made) {
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

Result<ValueId> PickleInterpreter::make_array(PickleId id) {
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

Result<ValueId> PickleInterpreter::make_joblib_array(PickleId id) {
  Tensor tensor;
  auto made = tensors_.joblib_array(id, tensor);
  const PickleId raw = g_.call(id).raw;
  if (!made || !has_object(tensor.dtype) || raw == kNoPickle || !source_.read_pickle)
    return add(std::move(tensor), std::move(made));
  const auto range = g_.range(raw);
  return source_.read_pickle(view_.payload, range.offset_bytes, range.size_bytes);
}

Result<ValueId> PickleInterpreter::make_joblib_file(PickleId id) {
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

void PickleInterpreter::add_member(const std::string& name, const Tensor& tensor) {
  if (options_.thorough && tensor.storage) out_.members.push_back({to_valid_utf8(name), tensor.storage});
}

Result<SourcePtr> PickleInterpreter::open_beside(const std::string& name) {
  if (const auto it = opened_.find(name); it != opened_.end()) return it->second;
  CKPT_TRY(const SourcePtr source, source_.open_beside(name));
  out_.file_bytes += source->size_bytes();  // it is a part of the checkpoint
  opened_.emplace(name, source);
  return source;
}

Result<void> PickleInterpreter::place_zfile(const SourcePtr& source, Tensor& tensor) {
  std::string head(std::min<std::uint64_t>(source->size_bytes(), 32), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
  const auto envelope = head.starts_with("ZF") ? find_envelope(head) : std::nullopt;
  if (!envelope) return bad_pickle("it is not compressed as joblib does");
  CKPT_TRY(tensor.storage, unpacked_storage(source, *envelope, tensor.size_bytes()));
  return {};
}

Result<ValueId> PickleInterpreter::make_scalar(const std::vector<PickleId>& given) {
  Tensor tensor;
  CKPT_CHECK(tensors_.scalar(given, tensor));
  if (has_object(tensor.dtype)) return value(given[1]);
  return tree_.add_scalar(std::move(tensor));
}

Result<ValueId> PickleInterpreter::make_tensor(PickleId id, Meaning meaning, const std::vector<PickleId>& given) {
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

Result<ValueId> PickleInterpreter::quantizer(const std::vector<PickleId>& parts) {
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

Result<ValueId> PickleInterpreter::make_from_type(PickleId id, const std::vector<PickleId>& given) {
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

Result<ValueId> PickleInterpreter::make_sparse(const std::vector<PickleId>& given) {
  if (given.size() != 2 || view_.kind(given[1]) != Kind::tuple) return bad_pickle("a sparse tensor has too few parts");
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

Result<Tensor> PickleInterpreter::nested_tensor(PickleId call) {
  CKPT_TRY(const ValueId value, nested_value(call));
  if (tree_.kind(value) != ValueKind::tensor) return bad_pickle("a torch tensor's storage is none");
  return tree_.tensor(value);
}

}  // namespace netcl::ckpt
