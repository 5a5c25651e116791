// JSON as values of a Tree. Containers are built bottom-up when they end, from one stack that holds
// the children of all those that are open.
#include <vector>

#include "base/try.h"
#include "container/json_reader.h"
#include "format/readers.h"

namespace netcl::ckpt {
namespace {

class TreeBuilder final : public JsonHandler {
 public:
  TreeBuilder(Tree& tree, std::uint64_t max_values)
      : tree_(tree), values_before_(tree.size()), max_values_(max_values) {}
  ValueId root() const { return pending_.front(); }

  Result<void> null() override { return add(tree_.add_none()); }
  Result<void> boolean(bool value) override { return add(tree_.add_boolean(value)); }
  Result<void> integer(std::int64_t value) override { return add(tree_.add_integer(value)); }
  Result<void> big_integer(std::string_view decimal) override { return add(tree_.add_big_integer(decimal)); }
  Result<void> real(double value) override { return add(tree_.add_real(value)); }
  Result<void> string(std::string_view text) override { return add(tree_.add_string(text)); }
  Result<void> key(std::string_view text) override { return add(tree_.add_string(text)); }
  Result<void> begin_object() override { return begin(); }
  Result<void> begin_array() override { return begin(); }
  Result<void> end_object() override {
    entries_.clear();
    for (std::size_t i = open_.back(); i < pending_.size(); i += 2) entries_.push_back({pending_[i], pending_[i + 1]});
    return end(tree_.add_dict(entries_));
  }
  Result<void> end_array() override {
    return end(tree_.add_sequence(ValueKind::list, std::span(pending_).subspan(open_.back())));
  }

 private:
  Result<void> begin() {
    open_.push_back(pending_.size());
    return {};
  }
  Result<void> end(ValueId container) {
    pending_.resize(open_.back());
    open_.pop_back();
    return add(container);
  }
  Result<void> add(ValueId id) {
    if (tree_.size() - values_before_ > max_values_)
      return fail(ErrorCode::limit_exceeded, "the JSON holds more than {} values", max_values_);
    pending_.push_back(id);
    return {};
  }

  Tree& tree_;
  const std::size_t values_before_;
  const std::uint64_t max_values_;
  std::vector<ValueId> pending_;   // finished children, a dict's keys among them
  std::vector<std::size_t> open_;  // where in pending_ each open container's children begin
  std::vector<Tree::Entry> entries_;
};

}  // namespace

Result<ValueId> parse_json(std::string_view text, const Limits& limits, Tree& tree) {
  if (text.size() > limits.max_json_bytes) {
    return fail(ErrorCode::limit_exceeded, "{} bytes of JSON are more than the limit of {}", text.size(),
                limits.max_json_bytes);
  }
  TreeBuilder builder(tree, limits.max_values_in(text.size()));
  CKPT_CHECK(read_json(text, {.max_depth = limits.max_depth, .allow_nan = true}, builder));
  return builder.root();
}

Result<JsonFile> read_json_file(const std::filesystem::path& path, const Limits& limits) {
  const auto read = [&]() -> Result<JsonFile> {
    CKPT_TRY(const SourcePtr source, open_file(path));
    if (source->size_bytes() > limits.max_json_bytes)
      return fail(ErrorCode::limit_exceeded, "more than {} bytes of JSON", limits.max_json_bytes);
    JsonFile out;
    out.text.resize(source->size_bytes());
    CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(out.text))));
    CKPT_TRY(out.root, parse_json(out.text, limits, out.tree));
    return out;
  };
  return in_file(read(), path.string());
}

}  // namespace netcl::ckpt
