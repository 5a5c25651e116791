// Pickles: a file of its own, or an object array's payload.
#include "base/checked.h"
#include "base/problem.h"
#include "base/try.h"
#include "format/pickle_dtype.h"
#include "format/pickle_values.h"
#include "io/file_source.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

Result<ValueId> interpret(const PickleGraph& graph, const StoragePtr& payload, const std::string& where,
                          const OpenOptions& options, Checkpoint& out, const NestedReader& objects = nullptr,
                          const BesideOpener& beside = nullptr) {
  const NestedReader nested = [&](const StoragePtr& storage, std::uint64_t offset_bytes, std::uint64_t size_bytes) {
    return read_nested_torch(storage, offset_bytes, size_bytes, options, out);
  };
  return interpret_pickle({graph, payload, where, nullptr, false, nested, objects, nullptr, beside}, options, out);
}

/// joblib writes an array's elements into the pickle, behind the BUILD of their wrapper: from 0.10 on as they are, from
/// 1.2 on behind a byte that says how many bytes of padding come first. An object array is a pickle there.
/// https://github.com/joblib/joblib/blob/main/joblib/numpy_pickle.py, NumpyArrayWrapper
class JoblibArrays {
 public:
  JoblibArrays(const StoragePtr& storage, const Limits& limits) : storage_(storage), limits_(limits) {}

  Result<std::optional<std::uint64_t>> operator()(const PickleGraph& graph, PickleId call, std::uint64_t at) {
    std::optional<std::uint64_t> none;
    const PickleId callable = graph.call(call).callable;
    if (graph.kind(callable) != PickleKind::global || graph.global(callable).name != "NumpyArrayWrapper") return none;
    if (!state_) state_ = std::make_shared<State>(graph, storage_, limits_);
    const PickleView& view = state_->view;
    if (view.called(call) != Meaning::joblib_array) return none;
    CKPT_TRY(const auto attributes, view.mapping(graph.call(call).state));
    CKPT_TRY(const DType dtype, state_->dtypes.parse(view.find(attributes, "dtype")));
    CKPT_TRY(const auto shape, state_->dtypes.sizes(view.find(attributes, "shape")));
    if (has_object(dtype)) {
      CKPT_TRY(const PickleGraph objects, read_pickle_graph(*storage_, at, limits_));
      return std::optional(objects.end_offset - at);
    }
    auto size = checked_product(shape, dtype.item_bytes);
    const PickleId alignment = view.find(attributes, "numpy_array_alignment_bytes");
    if (size && alignment != kNoPickle && view.is_integer(alignment)) {
      std::byte padding{};
      if (at >= storage_->size_bytes()) return fail(ErrorCode::truncated, "the file ends before an array's elements");
      CKPT_TRY(auto reader, storage_->open());
      CKPT_CHECK(reader->read(at, std::span(&padding, 1)));
      size = checked_add(*size, 1 + static_cast<std::uint64_t>(padding));
    }
    if (!size) return bad_pickle("an array's shape describes more elements than there can be");
    return size;
  }

 private:
  struct State {
    State(const PickleGraph& graph, const StoragePtr& storage, const Limits& limits)
        : view(graph, storage, limits, false), dtypes(view) {}
    PickleView view;
    PickleDTypes dtypes;
  };
  StoragePtr storage_;
  const Limits& limits_;
  std::shared_ptr<State> state_;  // this object is copied
};

/// The pickle at `offset_bytes`, which becomes the place behind it.
Result<ValueId> read_one(const SourcePtr& source, const StoragePtr& storage, std::uint64_t& offset_bytes,
                         const OpenOptions& options, Checkpoint& out) {
  std::vector<PickleGlobal> named;
  auto graph = read_pickle_graph(*storage, offset_bytes, options.limits, &named, JoblibArrays(storage, options.limits));
  report_globals(graph ? graph->globals : named, "", false, out);
  if (!graph) return tl::make_unexpected(std::move(graph.error()));
  offset_bytes = graph->end_offset;
  const NestedReader objects = [&](const StoragePtr&, std::uint64_t begin, std::uint64_t size_bytes) {
    return read_object_pickle(file_storage(source, begin, size_bytes), "", options, out);
  };
  // A pipe and what is in memory have no folder.
  BesideOpener beside;
  if (source->file_id() && !out.path.empty())
    beside = [&](std::string_view name) { return open_beside(out.path, name); };
  return interpret(*graph, storage, "", options, out, objects, beside);
}

}  // namespace

// pickle.dump to an open file may be called again and again, and pickle.load likewise: several are a list.
Result<void> read_pickle(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  const StoragePtr storage = file_storage(source, 0, source->size_bytes());
  const std::uint64_t size = source->size_bytes();
  std::uint64_t at = 0;
  CKPT_TRY(out.root, read_one(source, storage, at, options, out));
  std::vector<ValueId> values{out.root};
  const std::uint64_t behind_first = at;
  while (at < size) {
    const std::uint64_t begin = at;
    auto next = read_one(source, storage, at, options, out);
    if (!next || values.size() >= options.limits.max_names || out.tree.size() > 2 * options.limits.max_values) {
      if (!next && could_not_look(next.error().code)) return tl::make_unexpected(std::move(next.error()));
      out.problems.push_back(make_problem(ProblemCode::trailing_bytes, "", begin,
                                          fmt::format("{} bytes follow the pickle's end", size - begin)));
      break;
    }
    values.push_back(*next);
  }
  if (values.size() > 1) {
    out.root = out.tree.add_sequence(ValueKind::list, values);
    out.problems.push_back(
        make_problem(ProblemCode::several_pickles, "", behind_first,
                     fmt::format("{} pickles one after another are listed as a list", values.size())));
  }
  return {};
}

bool is_whole_pickle(const Storage& payload, const Limits& limits) {
  const auto graph = read_pickle_graph(payload, 0, limits);
  return graph && graph->end_offset == payload.size_bytes();
}

Result<ValueId> read_object_pickle(const StoragePtr& payload, const std::string& where, const OpenOptions& options,
                                   Checkpoint& out) {
  std::vector<PickleGlobal> named;
  auto graph = read_pickle_graph(*payload, 0, options.limits, &named);
  if (!graph) {
    report_globals(named, where, false, out);
    if (graph.error().member.empty()) graph.error().member = where;
    return tl::make_unexpected(std::move(graph.error()));
  }
  report_globals(graph->globals, where, false, out);
  return interpret(*graph, payload, where, options, out);
}

}  // namespace netcl::ckpt
