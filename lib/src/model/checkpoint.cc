// The walks that name a checkpoint's tensors, and that find one by its name.
#include "netcl/ckpt/checkpoint.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/text.h"
#include "base/try.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {

const char* to_string(Format format) {
  switch (format) {
    case Format::npz: return "npz";
    case Format::npy: return "npy";
    case Format::netcl: return "netcl";
    case Format::pickle: return "pickle";
    case Format::torch: return "torch";
    case Format::npy_folder: return "npy-folder";
    case Format::torch_legacy: return "torch-legacy";
    case Format::safetensors: return "safetensors";
    case Format::flax: return "flax";
  }
  return "npz";
}

namespace {

/// What is left of a dotted name behind `key`: "" if it ends there; nothing if it goes another way.
struct Rest {
  std::string_view text;
  bool ended = false;
};
std::optional<Rest> behind(std::string_view name, std::string_view key) {
  if (!name.starts_with(key)) return std::nullopt;
  name.remove_prefix(key.size());
  if (name.empty()) return Rest{name, true};
  return name[0] == '.' ? std::optional(Rest{name.substr(1)}) : std::nullopt;
}

/// The first value of this dotted name that `accept` takes. Steps are named as list_tensors() names them.
template <class Accept>
std::optional<ValueId> find_named(const Checkpoint& checkpoint, std::string_view name, const Accept& accept) {
  const Tree& tree = checkpoint.tree;
  struct Place {
    ValueId id;
    Rest rest;
  };
  std::vector<Place> stack{{checkpoint.root, {name, name.empty()}}};
  std::set<std::tuple<ValueId, std::size_t, bool>> seen;  // sharing and cycles lead to one place by many ways
  while (!stack.empty()) {
    const auto [id, rest] = stack.back();
    stack.pop_back();
    if (id >= tree.size() || !seen.emplace(id, rest.text.size(), rest.ended).second) continue;
    if (rest.ended && accept(id)) return id;
    const std::size_t before = stack.size(), n = num_children(tree, id);
    if (tree.kind(id) == ValueKind::opaque && n == 1) {  // its only part has its name
      stack.push_back({child(tree, id, 0), rest});
      continue;
    }
    if (rest.ended) continue;
    for (std::size_t i = 0; i < n; ++i) {
      std::optional<Rest> next;
      if (tree.kind(id) != ValueKind::dict) {
        next = behind(rest.text, fmt::format("{}", i));
      } else {
        const ValueId key = tree.entries(id)[i].key;
        const bool plain = tree.kind(key) == ValueKind::string && is_utf8(tree.text(key));
        next = plain ? behind(rest.text, tree.text(key)) : behind(rest.text, key_text(tree, key));
      }
      if (next) stack.push_back({child(tree, id, i), *next});
    }
    std::reverse(stack.begin() + static_cast<std::ptrdiff_t>(before), stack.end());
  }
  return std::nullopt;
}

}  // namespace

std::optional<ValueId> Checkpoint::find_value(std::string_view name) const {
  return find_named(*this, name, [](ValueId) { return true; });
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto id = find_named(*this, name, [this](ValueId value) {
    return tree.kind(value) == ValueKind::tensor || tree.kind(value) == ValueKind::scalar;
  });
  return id ? &tree.tensor(*id) : nullptr;
}

Result<std::vector<NamedTensor>> list_tensors(const Checkpoint& checkpoint, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<NamedTensor>> {
    CKPT_CHECK(check_roots(checkpoint));
    const Tree& tree = checkpoint.tree;
    std::vector<NamedTensor> out;
    const std::vector<bool> wanted = contains_tensor(tree, checkpoint.root);
    if (!wanted[checkpoint.root]) return out;

    struct Frame {
      ValueId id;
      std::size_t next;
      std::size_t name_bytes;  // of the path down to here
      bool named;              // it has steps
    };
    std::vector<Frame> stack{{checkpoint.root, 0, 0, false}};
    std::vector<bool> open(tree.size());  // on the stack now: a second visit is a cycle
    std::string name;
    std::vector<PathStep> path;
    const std::uint64_t max_names = max_names_of(tree, limits);
    std::uint64_t budget_bytes = limits.max_name_bytes;
    std::uint64_t steps = 0;  // elements passed over, tensors or not
    std::uint64_t key_bytes = 0;
    auto emit = [&](ValueId id) -> Result<void> {
      const std::uint64_t cost = name.size() + path.size() * sizeof(PathStep);
      if (out.size() >= max_names || cost > budget_bytes) {
        return fail(ErrorCode::limit_exceeded,
                    "the names of the tensors are too many or too long: {} are listed, and more follow", out.size());
      }
      const Tensor& t = tree.tensor(id);
      if (t.storage && t.shape.size() != t.strides.size()) {
        return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "a tensor of {} dimensions has {} strides",
                       t.shape.size(), t.strides.size());
      }
      if (t.dtype.type == ScalarType::structured && !t.dtype.fields)
        return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "its structured dtype has no fields");
      budget_bytes -= cost;
      out.push_back({name, path, id});
      return {};
    };
    if (tree.kind(checkpoint.root) == ValueKind::tensor) {
      CKPT_CHECK(emit(checkpoint.root));
      return out;
    }
    open[checkpoint.root] = true;
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.next == num_children(tree, top.id)) {
        open[top.id] = false;
        stack.pop_back();
        if (!path.empty()) path.pop_back();
        continue;
      }
      if (++steps > 16 * std::max<std::uint64_t>(limits.max_values, tree.size()))
        return fail(ErrorCode::limit_exceeded, "shared containers make the checkpoint too large to list");
      const std::size_t i = top.next++;
      const ValueId c = child(tree, top.id, i);
      if (!wanted[c] || open[c]) continue;
      const bool keyed = tree.kind(top.id) == ValueKind::dict;
      name.resize(top.name_bytes);
      // An object that is not known here has the names of its only part: its attributes, or its arguments.
      const bool step = tree.kind(top.id) != ValueKind::opaque || num_children(tree, top.id) > 1;
      if (step) {
        if (top.named) name += '.';
        name += keyed ? key_text(tree, tree.entries(top.id)[i].key) : fmt::format("{}", i);
      }
      key_bytes += name.size() - top.name_bytes;
      if (key_bytes > 16 * limits.max_name_bytes)
        return fail(ErrorCode::limit_exceeded,
                    "shared containers or keys make the checkpoint's names too long to list");
      path.push_back(keyed ? PathStep{PathStep::Kind::key, tree.entries(top.id)[i].key}
                           : PathStep{PathStep::Kind::index, static_cast<std::uint32_t>(i)});
      if (tree.kind(c) == ValueKind::tensor) {
        CKPT_CHECK(emit(c));
        path.pop_back();
      } else {
        open[c] = true;
        const bool named = top.named || step;
        stack.push_back({c, 0, name.size(), named});
      }
    }
    return out;
  });
}

}  // namespace netcl::ckpt
