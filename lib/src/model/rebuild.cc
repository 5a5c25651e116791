// Editing a value tree by making a new one beside it: the arena only grows, so ids stay valid and an
// error half-way leaves the old root as it was.
//
// A name grows and shrinks by a step at a time, and is read as a whole only where a rule has to: names of a chain of
// containers add up to the square of its length.
#include "model/rebuild.h"

#include <fmt/format.h>
#include <optional>
#include <unordered_map>

#include "base/try.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

struct Frame {
  ValueId id;
  ValueKind kind;
  std::size_t num_children;
  std::size_t name_bytes = 0;
  std::size_t dropped_before = 0;  // names in Rebuilt::dropped
  std::size_t next = 0;
  bool kept_any = false;  // something other than placeholders
  bool kept_tensor = false;
  bool lost_tensor = false;
  std::vector<Tree::Entry> entries;
  std::vector<ValueId> items;

  void add(ValueId key, ValueId value) {
    kept_any = true;
    if (kind == ValueKind::dict) {
      entries.push_back({key, value});
    } else {
      items.push_back(value);
    }
  }
};

/// The rest of `name` below a container called `parent`, or nothing.
std::optional<std::string_view> below(std::string_view name, std::string_view parent, bool is_root) {
  if (is_root) return name;
  if (name.size() <= parent.size() + 1 || !name.starts_with(parent) || name[parent.size()] != '.') return std::nullopt;
  return name.substr(parent.size() + 1);
}

class Rebuilder {
 public:
  Rebuilder(Tree& tree, ValueId root, const RebuildRules& rules, const Limits& limits)
      : tree_(tree),
        rules_(rules),
        holds_tensor_(contains_tensor(tree, root)),
        open_(tree.size()),
        steps_left_(tree.size() + limits.max_values),
        max_names_(max_names_of(tree, limits)),
        names_left_(max_names_),
        name_bytes_left_(limits.max_name_bytes + kNameBytesOfValue * tree.size()) {}

  Result<Rebuilt> run(ValueId root) {
    if (tree_.kind(root) == ValueKind::tensor) {
      if (rules_.keep_tensor && !rules_.keep_tensor(name_)) return Rebuilt{tree_.add_dict({}), {name_}};
      CKPT_TRY(const ValueId changed, change(root));
      return Rebuilt{changed, {}};
    }
    if (num_children(tree_, root) == 0) return Rebuilt{root, {}};
    open(root);
    for (;;) {
      if (stack_.back().next < stack_.back().num_children) {
        CKPT_CHECK(step());
        continue;
      }
      Frame done = std::move(stack_.back());
      stack_.pop_back();
      open_[done.id] = false;
      if (stack_.empty()) return Rebuilt{build(done), std::move(dropped_)};
      name_.resize(done.name_bytes);
      CKPT_CHECK(close(done));
      copies_.erase(done.id);
    }
  }

 private:
  /// An honest name's length, with room: what names may have on average.
  static constexpr std::uint64_t kNameBytesOfValue = 256;

  void open(ValueId id) {
    open_[id] = true;
    stack_.push_back(
        {id, tree_.kind(id), num_children(tree_, id), name_.size(), dropped_.size(), 0, false, false, false, {}, {}});
  }

  /// `value`, or of a container that is being copied, and so contains itself, the copy.
  ValueId inside_copy(ValueId value) {
    if (!open_[value]) return value;
    const auto [it, fresh] = copies_.try_emplace(value, 0);
    if (fresh) it->second = tree_.reserve();
    return it->second;
  }

  ValueId build(const Frame& done) {
    const auto own = copies_.find(done.id);
    const ValueId id = own == copies_.end() ? tree_.reserve() : own->second;
    if (done.kind == ValueKind::dict) {
      tree_.define_dict(id, done.entries, tree_.attributes(done.id));
    } else if (done.kind != ValueKind::opaque) {
      tree_.define_sequence(id, done.kind, done.items);
    } else if (rules_.open_opaque) {
      tree_.define_sequence(id, ValueKind::tuple, done.items);
    } else {
      tree_.define_opaque(id, std::string(tree_.text(done.id)), done.items);
    }
    return id;
  }

  Result<ValueId> change(ValueId id) {
    if (!rules_.change) return id;
    CKPT_TRY(Tensor tensor, rules_.change(name_, tree_.tensor(id)));
    return tree_.add_tensor(std::move(tensor));
  }

  /// Of what names may take in all: each step is put together, and those of tensors are read.
  Result<void> spend(std::uint64_t name_bytes) {
    if (name_bytes > name_bytes_left_)
      return fail(ErrorCode::limit_exceeded, "the values are nested too deeply, or their keys too long, to name them");
    name_bytes_left_ -= name_bytes;
    return {};
  }

  Result<void> drop() {
    CKPT_CHECK(spend(name_.size()));
    dropped_.push_back(name_);
    return {};
  }

  /// The finished container goes into its parent, or is dropped.
  Result<void> close(const Frame& done) {
    Frame& parent = stack_.back();
    const std::size_t i = parent.next - 1;
    const bool emptied = done.lost_tensor && !done.kept_tensor;
    parent.kept_tensor |= done.kept_tensor;
    parent.lost_tensor |= done.lost_tensor;
    if (rules_.drop_with_tensors && emptied) {
      dropped_.resize(done.dropped_before);
      CKPT_CHECK(drop());
    } else if (done.kept_any) {
      parent.add(parent.kind == ValueKind::dict ? tree_.entries(parent.id)[i].key : 0, build(done));
      return {};
    }
    if (parent.kind != ValueKind::dict) parent.items.push_back(tree_.add_none());
    return {};
  }

  /// The next child of the container on top of the stack.
  Result<void> step() {
    if (steps_left_-- == 0)
      return fail(ErrorCode::limit_exceeded, "shared containers make the checkpoint too large to rewrite");
    Frame& top = stack_.back();
    const std::size_t i = top.next++;
    const ValueId value = child(tree_, top.id, i);
    const bool keyed = top.kind == ValueKind::dict;
    const ValueId key = keyed ? tree_.entries(top.id)[i].key : 0;
    const bool is_tensor = tree_.kind(value) == ValueKind::tensor;
    const bool enter = !open_[value] && (holds_tensor_[value] || (rules_.keep_value && num_children(tree_, value) > 0));
    if (!is_tensor && !rules_.keep_value && !enter) {
      top.add(key, inside_copy(value));
      return {};
    }

    name_.resize(top.name_bytes);
    if (stack_.size() > 1) name_ += '.';
    name_ += keyed ? key_text(tree_, key) : fmt::format("{}", i);
    CKPT_CHECK(spend(name_.size() - top.name_bytes));
    if (is_tensor) {
      CKPT_CHECK(spend(name_.size()));
      if (names_left_-- == 0)
        return fail(ErrorCode::limit_exceeded, "shared containers would give more than {} tensor names", max_names_);
    }
    bool keep = !is_tensor || !rules_.keep_tensor || rules_.keep_tensor(name_);
    if (keep && rules_.keep_value) {
      const PathStep step =
          keyed ? PathStep{PathStep::Kind::key, key} : PathStep{PathStep::Kind::index, static_cast<std::uint32_t>(i)};
      CKPT_TRY(keep,
               rules_.keep_value({name_, top.id, value, step, stack_.size(), holds_tensor_[value] && !open_[value]}));
    }
    if (!keep) {
      CKPT_CHECK(drop());
      top.lost_tensor |= holds_tensor_[value];
      if (!keyed) top.items.push_back(tree_.add_none());
    } else if (is_tensor) {
      top.kept_tensor = true;
      return add_tensor(key, value);
    } else if (enter) {
      open(value);
    } else {
      top.add(key, inside_copy(value));
    }
    return {};
  }

  Result<void> add_tensor(ValueId key, ValueId value) {
    CKPT_TRY(const ValueId tensor, change(value));
    Frame& top = stack_.back();
    if (!rules_.rename) {
      top.add(key, tensor);
      return {};
    }
    CKPT_TRY(const std::string renamed, rules_.rename(name_));
    if (renamed == name_) {
      top.add(key, tensor);
      return {};
    }
    // The nearest dict whose own name the new one begins with; the root takes any.
    for (std::size_t f = stack_.size(); f-- > 0;) {
      const std::string_view own = std::string_view(name_).substr(0, stack_[f].name_bytes);
      const auto rest = below(renamed, own, f == 0);
      if (stack_[f].kind != ValueKind::dict || !rest) continue;
      stack_[f].add(tree_.add_string(*rest), tensor);
      break;
    }
    if (top.kind != ValueKind::dict) top.items.push_back(tree_.add_none());
    return {};
  }

  Tree& tree_;
  const RebuildRules& rules_;
  const std::vector<bool> holds_tensor_;
  std::vector<bool> open_;                       // on the stack now: a second visit is a cycle
  std::unordered_map<ValueId, ValueId> copies_;  // of those on the stack that contain themselves
  std::vector<Frame> stack_;
  std::string name_;
  std::vector<std::string> dropped_;
  std::uint64_t steps_left_;
  const std::uint64_t max_names_;
  std::uint64_t names_left_;
  std::uint64_t name_bytes_left_;
};

}  // namespace

Result<Rebuilt> rebuild(Tree& tree, ValueId root, const RebuildRules& rules, const Limits& limits) {
  return Rebuilder(tree, root, rules, limits).run(root);
}

}  // namespace netcl::ckpt
