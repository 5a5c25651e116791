#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "container/pickle_writer.h"
#include "format/numpy_pickle.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Writes a checkpoint's values as pickle opcodes; what a tensor and a NumPy scalar are is the format's.
///
/// The root comes with the attributes as further entries, where it is a dict; safetensors' `format`, the
/// name of the program that wrote that file, stays behind. A value that is reached twice is written
/// once, and a list or dict may hold itself. A global that stands as a value is written where it is a
/// type of Python, NumPy or torch: loading names it and calls nothing. One of torch needs torch then.
class TreePickler {
 public:
  /// `weights_only`: nothing that torch.load(weights_only=True) would refuse.
  TreePickler(const Checkpoint& checkpoint, int protocol, bool weights_only)
      : writer(protocol), checkpoint_(checkpoint), tree_(checkpoint.tree), weights_only_(weights_only) {}

  PickleWriter writer;
  DTypePickler dtypes;
  /// Each leaves one object on the pickle's stack. `name`: the tensor's dotted name, its end where it is long.
  std::function<Result<void>(const Tensor& tensor, const std::string& name)> tensor;
  std::function<Result<void>(const Tensor& tensor)> scalar;

  /// The whole pickle, STOP included; `tensor` may take() pieces of it from the writer.
  /// Errors, with the value's name as `member`: unsafe for an opaque value; unsupported for a tuple or
  /// set that holds itself, for a global that is not such a type, and for attributes that have no place.
  Result<void> write();

 private:
  /// A container half-way; a dict's children are key, value, key, value …
  struct Frame {
    ValueId id;
    ValueKind kind;
    std::span<const Tree::Entry> entries;
    std::span<const ValueId> items;
    std::size_t next = 0;
    std::optional<ValueId> attributes = std::nullopt;  // of an OrderedDict, to be written behind its entries
    bool attributes_written = false;

    std::size_t size() const { return kind == ValueKind::dict ? 2 * entries.size() : items.size(); }
    ValueId at(std::size_t i) const {
      if (kind != ValueKind::dict) return items[i];
      return i % 2 == 0 ? entries[i / 2].key : entries[i / 2].value;
    }
    /// Lists and dicts, which exist before their elements.
    bool grows() const { return kind == ValueKind::list || kind == ValueKind::dict; }
    std::size_t batch() const { return kind == ValueKind::dict ? 2 * kBatch : kBatch; }
  };
  static constexpr std::size_t kBatch = 1000;         // elements between two marks, as Python's pickler has them
  static constexpr std::uint32_t kNew = 0xffffffff;   // in memo_
  static constexpr std::uint32_t kOpen = 0xfffffffe;  // begun, and to be remembered when it is complete

  Result<std::vector<Tree::Entry>> root_entries() const;
  Result<void> begin(ValueId id);
  Result<void> leaf(ValueId id);
  Result<void> global(std::string_view name);
  std::string place() const;

  const Checkpoint& checkpoint_;
  const Tree& tree_;
  bool weights_only_;
  std::vector<Tree::Entry> root_entries_;
  std::vector<Frame> stack_;
  std::vector<std::uint32_t> memo_;  // of each value
};

}  // namespace netcl::ckpt
