// A tree as opcodes, with a stack of its own instead of recursion: depth comes from the input.
//
// Lists and dicts are put into the memo before their elements, which may refer to them. Tuples and sets
// do not exist before their elements do. Python writes a tuple that holds itself by way of a list, by
// writing it over again inside of itself and throwing one away; that grows with the square of such
// lists, and no checkpoint is known to have one, so it is refused.
#include "format/tree_pickler.h"

#include <algorithm>
#include <unordered_set>

#include "base/text.h"
#include "base/try.h"
#include "format/pickle_globals.h"
#include "model/dtype.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kPlaceBytes = 200;  // of a name, in messages

bool is_container(ValueKind kind) {
  switch (kind) {
    case ValueKind::list:
    case ValueKind::tuple:
    case ValueKind::set:
    case ValueKind::frozenset:
    case ValueKind::dict: return true;
    default: return false;
  }
}

}  // namespace

Result<std::vector<Tree::Entry>> TreePickler::root_entries() const {
  const auto own = tree_.entries(checkpoint_.root);
  std::vector<Tree::Entry> out(own.begin(), own.end());
  const auto attributes = tree_.entries(checkpoint_.attributes);
  if (attributes.empty()) return out;
  std::unordered_set<std::string_view> names;
  for (const Tree::Entry& e : own) {
    if (tree_.kind(e.key) == ValueKind::string) names.insert(tree_.text(e.key));
  }
  for (const Tree::Entry& e : attributes) {
    const std::string_view name = tree_.text(e.key);
    if (checkpoint_.format == Format::safetensors && name == "format") continue;
    if (tree_.kind(checkpoint_.root) != ValueKind::dict) {
      return fail_at(ErrorCode::unsupported, to_valid_utf8(name), std::nullopt,
                     "it stands beside a state that is no dict, where a pickle has no place for it");
    }
    if (!names.insert(name).second) {
      return with_way_out(fail_at(ErrorCode::unsupported, to_valid_utf8(name), std::nullopt,
                                  "it is a part of the state and also stands beside it"),
                          "rename the one in the state (`renames`)");
    }
    out.push_back(e);
  }
  return out;
}

/// The dotted name of the value that is being written; built from its end, because depth is the input's.
std::string TreePickler::place() const {
  std::string out;
  for (auto frame = stack_.rbegin(); frame != stack_.rend() && frame->next > 0; ++frame) {
    const std::size_t i = frame->next - 1;
    std::string step;
    if (frame->kind != ValueKind::dict) {
      step = fmt::format("{}", i);
    } else {
      const ValueId key = frame->entries[i / 2].key;
      const bool text = tree_.kind(key) == ValueKind::string;
      step = text ? to_valid_utf8(tree_.text(key).substr(0, kPlaceBytes)) : key_text(tree_, key).substr(0, kPlaceBytes);
    }
    out = frame == stack_.rbegin() ? step : fmt::format("{}.{}", step, out);
    if (out.size() > kPlaceBytes && frame + 1 != stack_.rend()) return "..." + out;
  }
  return out;
}

Result<void> TreePickler::global(std::string_view qualified) {
  constexpr std::string_view kDType = "numpy.dtype('", kDTypeEnd = "')";
  if (qualified.starts_with(kDType) && qualified.ends_with(kDTypeEnd) && !weights_only_) {
    const auto dtype = parse_type_string(qualified.substr(
        kDType.size(), qualified.size() - std::min(qualified.size(), kDType.size() + kDTypeEnd.size())));
    if (dtype) return dtypes.write(*dtype, writer);
  }
  constexpr std::string_view kDevice = "torch.device('", kDeviceEnd = "')";
  if (qualified.starts_with(kDevice) && qualified.ends_with(kDeviceEnd)) {
    writer.global("torch", "device");
    writer.mark();
    writer.string(qualified.substr(kDevice.size(),
                                   qualified.size() - std::min(qualified.size(), kDevice.size() + kDeviceEnd.size())));
    writer.tuple();
    writer.reduce();
    return {};
  }
  const auto dot = std::min(qualified.rfind('.'), qualified.size());
  const auto type = type_name(qualified.substr(0, dot), qualified.substr(std::min(dot + 1, qualified.size())));
  if (!type && dot < qualified.size() && !weights_only_) {
    // A function that reading takes for harmless as a value, such as builtins.hash.
    PickleGlobal named;
    named.module = qualified.substr(0, dot);
    named.name = qualified.substr(dot + 1);
    if (classify(named, false, false).grade == Grade::plain) {
      writer.global(named.module, named.name);
      return {};
    }
  }
  if (!type) {
    return fail(ErrorCode::unsupported, "{} is a name that only its own program can load; exclude it",
                to_valid_utf8(qualified));
  }
  if (weights_only_ && !type->weights_only)
    return fail(ErrorCode::unsupported, "torch.load(weights_only=True) refuses {}; exclude it", qualified);
  writer.global(type->module, type->name);
  return {};
}

Result<void> TreePickler::leaf(ValueId id) {
  switch (tree_.kind(id)) {
    case ValueKind::none: writer.none(); return {};
    case ValueKind::boolean: writer.boolean(tree_.boolean(id)); return {};
    case ValueKind::integer: writer.integer(tree_.integer(id)); return {};
    case ValueKind::big_integer: {
      constexpr std::size_t kLong1Digits = 600;  // 255 bytes hold 613; torch knows no longer opcode
      if (weights_only_ && tree_.text(id).size() > kLong1Digits) {
        return fail(ErrorCode::unsupported, "torch.load(weights_only=True) refuses an integer of {} digits; exclude it",
                    tree_.text(id).size());
      }
      writer.big_integer(tree_.text(id));
      return {};
    }
    case ValueKind::real: writer.real(tree_.real(id)); return {};
    case ValueKind::complex:
      writer.global("builtins", "complex");
      writer.mark();
      writer.real(tree_.real(id));
      writer.real(tree_.imaginary(id));
      writer.tuple();
      writer.reduce();
      return {};
    case ValueKind::string: writer.string(tree_.text(id)); return {};
    case ValueKind::bytes: writer.bytes(tree_.text(id)); return {};
    case ValueKind::scalar: return scalar(tree_.tensor(id));
    case ValueKind::tensor: return tensor(tree_.tensor(id), place());
    case ValueKind::name: return global(tree_.text(id));
    default: return fail(ErrorCode::unsafe, "it needs {}, which is never executed; exclude it", tree_.text(id));
  }
}

Result<void> TreePickler::begin(ValueId id) {
  const ValueKind kind = tree_.kind(id);
  if (memo_[id] < kOpen) {
    writer.get(memo_[id]);
    return {};
  }
  if (memo_[id] == kOpen) return fail(ErrorCode::unsupported, "a tuple or set holds itself, which is not written");
  if (!is_container(kind)) {
    CKPT_CHECK(leaf(id));
    if (kind == ValueKind::tensor || kind == ValueKind::string) memo_[id] = writer.put();
    return {};
  }
  Frame frame{id, kind, {}, {}};
  if (kind == ValueKind::dict) {
    frame.entries = id == checkpoint_.root ? std::span<const Tree::Entry>(root_entries_) : tree_.entries(id);
  } else {
    frame.items = tree_.items(id);
  }
  if (kind == ValueKind::frozenset && weights_only_)
    return fail(ErrorCode::unsupported, "torch.load(weights_only=True) refuses a frozenset; exclude it");
  if (frame.grows()) {
    frame.attributes = tree_.attributes(id);
    if (frame.attributes) {
      writer.global("collections", "OrderedDict");
      writer.mark();
      writer.tuple();
      writer.reduce();
      if (tree_.entries(*frame.attributes).empty()) frame.attributes.reset();
    } else {
      kind == ValueKind::list ? writer.empty_list() : writer.empty_dict();
    }
    memo_[id] = writer.put();
  } else {
    memo_[id] = kOpen;
    // A set is a call of its type with a tuple of one tuple: protocol 2 has no opcode for sets.
    if (kind != ValueKind::tuple) writer.global("builtins", kind == ValueKind::set ? "set" : "frozenset");
    if (kind != ValueKind::tuple) writer.mark();
    writer.mark();
  }
  stack_.push_back(frame);
  return {};
}

Result<void> TreePickler::write() {
  CKPT_TRY(root_entries_, root_entries());
  memo_.assign(tree_.size(), kNew);
  auto located = [this](Result<void> result) {
    if (!result && result.error().member.empty()) result.error().member = place();
    return result;
  };
  CKPT_CHECK(located(begin(checkpoint_.root)));
  while (!stack_.empty()) {
    Frame& top = stack_.back();
    const bool ended = top.next == top.size();
    if (top.attributes_written) {
      writer.build();
      stack_.pop_back();
      continue;
    }
    if (top.grows() && top.next > 0 && (ended || top.next % top.batch() == 0)) {
      top.kind == ValueKind::list ? writer.appends() : writer.set_items();
    }
    if (!ended) {
      if (top.grows() && top.next % top.batch() == 0) writer.mark();
      CKPT_CHECK(located(begin(top.at(top.next++))));
      continue;
    }
    if (!top.grows()) {
      writer.tuple();
      if (top.kind != ValueKind::tuple) {
        writer.tuple();
        writer.reduce();
      }
      memo_[top.id] = writer.put();
    }
    if (top.attributes) {
      top.attributes_written = true;
      CKPT_CHECK(located(begin(*top.attributes)));  // `top` may move
      continue;
    }
    stack_.pop_back();
  }
  writer.stop();
  return {};
}

}  // namespace netcl::ckpt
