// Pickles: a file of its own, or an object array's payload.
#include "base/try.h"
#include "format/pickle_values.h"

namespace netcl::ckpt {
namespace {

/// What follows STOP. pickle.load stops there, but a program may load again, so further pickles are
/// looked at for what they would call.
void look_behind(const StoragePtr& storage, std::uint64_t offset_bytes, const ReadOptions& options, Checkpoint& out) {
  if (offset_bytes == storage->size_bytes()) return;
  out.problems.push_back({"trailing-bytes", Severity::warning, "", offset_bytes,
                          fmt::format("{} bytes follow the pickle's end", storage->size_bytes() - offset_bytes), ""});
  constexpr int kMostPickles = 64;
  for (int i = 0; i < kMostPickles && offset_bytes < storage->size_bytes(); ++i) {
    std::vector<PickleGlobal> named;
    const auto next = read_pickle_graph(*storage, offset_bytes, options.limits, &named);
    report_globals(next ? next->globals : named, "", false, out);
    if (!next) return;
    offset_bytes = next->end_offset;
  }
}

Result<ValueId> interpret(const PickleGraph& graph, const StoragePtr& payload, const std::string& where,
                          const ReadOptions& options, Checkpoint& out) {
  const NestedReader nested = [&](const StoragePtr& storage, std::uint64_t offset_bytes, std::uint64_t size_bytes) {
    return read_nested_torch(storage, offset_bytes, size_bytes, options, out);
  };
  return interpret_pickle({graph, payload, where, nullptr, false, nested}, options, out);
}

}  // namespace

Result<void> read_pickle(const SourcePtr& source, const ReadOptions& options, Checkpoint& out) {
  const StoragePtr storage = file_storage(source, 0, source->size_bytes());
  std::vector<PickleGlobal> named;
  auto graph = read_pickle_graph(*storage, 0, options.limits, &named);
  report_globals(graph ? graph->globals : named, "", false, out);
  if (!graph) return tl::make_unexpected(std::move(graph.error()));
  CKPT_TRY(out.root, interpret(*graph, storage, "", options, out));
  look_behind(storage, graph->end_offset, options, out);
  return {};
}

bool is_whole_pickle(const Storage& payload, const Limits& limits) {
  const auto graph = read_pickle_graph(payload, 0, limits);
  return graph && graph->end_offset == payload.size_bytes();
}

Result<ValueId> read_object_pickle(const StoragePtr& payload, const std::string& where, const ReadOptions& options,
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
