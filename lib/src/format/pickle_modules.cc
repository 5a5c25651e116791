// A pickled module is an object whose attributes are _parameters, _buffers and _modules, three dicts; its
// state dict is what these hold under dotted names: the parameters, the buffers that are persistent, then each
// module in turn. Modules may be shared and may, in a hostile file, hold themselves.
// https://github.com/pytorch/pytorch/blob/main/torch/nn/modules/module.py, _save_to_state_dict
#include "format/pickle_modules.h"

#include <unordered_set>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

struct Parts {
  PickleId parameters, buffers, modules, volatile_names;
};

std::optional<Parts> parts_of(const PickleView& view, PickleId id) {
  if (view.kind(id) != PickleKind::call) return std::nullopt;
  PickleId state = view.graph.call(id).state;
  if (view.called(id) == Meaning::persistent_module) {
    // {type, version, module_src, class_name, state}
    const auto given = view.args(id);
    if (given.empty() || !view.is_mapping(given[0])) return std::nullopt;
    const auto meta = view.mapping(given[0]);
    if (!meta) return std::nullopt;
    state = view.find(*meta, "state");
  }
  const auto pairs = view.attributes(state);
  if (pairs.empty()) return std::nullopt;
  const Parts out{view.find(pairs, "_parameters"), view.find(pairs, "_buffers"), view.find(pairs, "_modules"),
                  view.find(pairs, "_non_persistent_buffers_set")};
  for (const PickleId part : {out.parameters, out.buffers, out.modules}) {
    if (part == kNoPickle || !view.is_mapping(part)) return std::nullopt;
  }
  return out;
}

}  // namespace

bool is_module(const PickleView& view, PickleId call) { return parts_of(view, call).has_value(); }

Result<std::vector<std::pair<std::string, PickleId>>> module_state(const PickleView& view, PickleId call) {
  std::vector<std::pair<std::string, PickleId>> out;
  struct Frame {
    PickleId module;
    std::vector<PickleId> children;  // name, module, …
    std::size_t next;
    std::size_t name_bytes;
  };
  std::vector<Frame> stack;
  std::unordered_set<PickleId> open;
  std::string name;
  std::uint64_t budget_bytes = view.limits.max_name_bytes;
  auto enter = [&](PickleId module) -> Result<void> {
    const auto parts = parts_of(view, module);
    if (!parts || !open.insert(module).second) return {};
    std::unordered_set<std::string_view> hidden;
    if (parts->volatile_names != kNoPickle) {
      for (const PickleId n : view.sequence(parts->volatile_names).value_or(std::vector<PickleId>())) {
        if (view.kind(n) == PickleKind::string) hidden.insert(view.text(n));
      }
    }
    for (const PickleId group : {parts->parameters, parts->buffers}) {
      CKPT_TRY(const auto pairs, view.mapping(group));
      for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
        if (view.kind(pairs[i]) != PickleKind::string || view.kind(pairs[i + 1]) == PickleKind::none) continue;
        const std::string_view key = view.text(pairs[i]);
        if (group == parts->buffers && hidden.contains(key)) continue;
        if (name.size() + key.size() > budget_bytes)
          return fail(ErrorCode::limit_exceeded, "the names of the modules' parameters take too much");
        budget_bytes -= name.size() + key.size();
        out.emplace_back(name + std::string(key), pairs[i + 1]);
      }
    }
    CKPT_TRY(auto children, view.mapping(parts->modules));
    stack.push_back({module, std::move(children), 0, name.size()});
    return {};
  };
  CKPT_CHECK(enter(call));
  while (!stack.empty()) {
    Frame& top = stack.back();
    if (view.spent() || top.next + 1 >= top.children.size()) {
      open.erase(top.module);
      stack.pop_back();
      continue;
    }
    const PickleId key = top.children[top.next], child = top.children[top.next + 1];
    top.next += 2;
    name.resize(top.name_bytes);
    if (view.kind(key) != PickleKind::string || view.kind(child) != PickleKind::call) continue;
    name += view.text(key);
    name += '.';
    CKPT_CHECK(enter(child));
  }
  return out;
}

}  // namespace netcl::ckpt
