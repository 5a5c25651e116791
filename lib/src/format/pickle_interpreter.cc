// What the symbols of a pickle mean, for those that are pure (format/pickle_globals.h). Nothing is imported
// or called: a meaning says that this program knows what value the call would give.
//
// The graph is walked with a stack; a value is made when those it needs are there. Whatever holds itself has
// a place in the tree from the moment that somebody refers to it, and the place is filled when the value is
// complete. So value() is the only way from a node to its value, and never gives one that is not there.
#include "format/pickle_interpreter.h"

#include <algorithm>
#include <utility>

#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "format/pickle_modules.h"

namespace netcl::ckpt {

PickleInterpreter::PickleInterpreter(const PickleSource& source, const OpenOptions& options, Checkpoint& out)
    : source_(source),
      view_(source.graph, source.payload, options.limits, source.script),
      g_(source.graph),
      tensors_(view_, source.resolve),
      options_(options),
      out_(out),
      tree_(out.tree) {
  tensors_.nested = [this](PickleId call) { return nested_tensor(call); };
}

Result<ValueId> PickleInterpreter::run() {
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
      return fail(ErrorCode::limit_exceeded, "the pickle shares its parts so often that reading it would take forever");
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

ValueId PickleInterpreter::value(PickleId id) {
  if (value_[id] == kUnknown) value_[id] = tree_.reserve();
  return value_[id];
}

std::vector<ValueId> PickleInterpreter::values(const std::vector<PickleId>& ids) {
  std::vector<ValueId> out;
  out.reserve(ids.size());
  for (const PickleId id : ids) out.push_back(value(id));
  return out;
}

Result<ValueId> PickleInterpreter::make(PickleId id) {
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

void PickleInterpreter::report(ProblemCode code, std::string message, std::optional<Severity> severity,
                               std::string global) {
  constexpr std::size_t kMostReported = 10'000;
  if (out_.problems.size() >= kMostReported) return;
  out_.problems.push_back(make_problem(code, source_.where, std::nullopt, std::move(message), severity));
  out_.problems.back().global = std::move(global);
}

Result<ValueId> PickleInterpreter::make_global(PickleId id) {
  const PickleGlobal& global = g_.global(id);
  if (classify(global, false, source_.script).grade == Grade::plain) {
    const auto type = type_name(global.module, global.name);  // Python 2's under the name that Python 3 gives it
    return tree_.add_name(type ? fmt::format("{}.{}", type->module, type->name) : global.qualified());
  }
  return tree_.add_opaque(to_valid_utf8(global.qualified()), {});
}

Result<ValueId> PickleInterpreter::make_dict(const std::vector<PickleId>& pairs, std::optional<ValueId> attributes) {
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
  return tree_.add_dict(entries, attributes);
}

std::optional<std::string> PickleInterpreter::key_identity(PickleId key) const {
  switch (view_.kind(key)) {
    case Kind::string: return "s" + std::string(view_.text(key));
    case Kind::integer: return fmt::format("i{}", g_.integer(key));
    case Kind::boolean: return fmt::format("i{}", g_.boolean(key) ? 1 : 0);
    case Kind::none: return "n";
    default: return std::nullopt;
  }
}

Result<ValueId> PickleInterpreter::make_bytes(PickleId id) {
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

void PickleInterpreter::note_pickle(const std::string& bytes) {
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

ValueId PickleInterpreter::add_python2(const std::string& bytes) {
  return is_utf8(bytes) ? tree_.add_string(bytes) : tree_.add_bytes(bytes);
}

std::string PickleInterpreter::name_of(PickleId call) const {
  if (const PickleGlobal* global = view_.callable(call)) return to_valid_utf8(global->qualified());
  const std::uint32_t origin = g_.call(call).origin;
  return origin == kNoPickle ? "(an object outside of the pickle)"
                             : to_valid_utf8(g_.globals[origin].qualified()) + "()";
}

Result<ValueId> PickleInterpreter::make_opaque(PickleId id) {
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

Result<ValueId> PickleInterpreter::make_persistent(PickleId id) {
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

bool PickleInterpreter::is_leaf(Kind kind) {
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

}  // namespace netcl::ckpt
