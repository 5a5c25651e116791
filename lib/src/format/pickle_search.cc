// Pickles under any name.
//
// From protocol 2 on a pickle begins with 0x80 and its protocol. One of such a beginning is scanned as far as it goes,
// and what it named before an error counts: Python has called it by then. Protocols 0 and 1 begin like any text, so
// there only what parses to its STOP is a pickle. A stream may hold several; all are looked at.
#include "format/pickle_search.h"

#include <algorithm>

#include "base/problem.h"
#include "base/try.h"
#include "container/pickle_reader.h"
#include "container/zip_member.h"
#include "format/pickle_values.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kMaxTextBytes = std::uint64_t{32} << 20;
// What is read beyond the file's own size: inflated a thousandfold, or of members that share their bytes.
constexpr std::uint64_t kMoreReadableBytes = std::uint64_t{64} << 20;

bool is_marked(std::span<const std::byte> start) {
  constexpr auto kProto = std::byte{0x80}, kNewestProtocol = std::byte{5};
  return start.size() >= 2 && start[0] == kProto && start[1] <= kNewestProtocol;
}

/// True where a pickle without PROTO can begin so and name something.
bool may_begin_unmarked(std::span<const std::byte> start) {
  constexpr std::string_view kFirst = "(]})cNIJKMLFGVSUTXBCP\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96";
  return !start.empty() && kFirst.find(static_cast<char>(start[0])) != kFirst.npos;
}

}  // namespace

PickleSearch::PickleSearch(const SourcePtr& source, const ZipDirectoryPtr& directory, bool script,
                           const OpenOptions& options, Checkpoint& out)
    : source_(source),
      directory_(directory),
      script_(script),
      limits_(options.limits),
      out_(out),
      readable_bytes_(source->size_bytes() + kMoreReadableBytes) {
  limits_.max_pickle_inline_bytes = std::min(limits_.max_pickle_inline_bytes, kMaxTextBytes);
}

Result<StoragePtr> PickleSearch::bytes_of(const ZipMember& member, std::uint64_t data_offset) const {
  return zip_member_storage(source_, directory_, member, data_offset, 0, Checksum::ignored);
}

Result<void> PickleSearch::search(const ZipMember& member, std::uint64_t data_offset,
                                  std::span<const std::byte> start) {
  if (!is_marked(start) && !may_begin_unmarked(start)) return {};
  const auto bytes = bytes_of(member, data_offset);
  if (!bytes) return could_not_look(bytes.error().code) ? tl::make_unexpected(bytes.error()) : Result<void>();
  return search(member.name, **bytes, start);
}

Result<void> PickleSearch::search(const std::string& name, const Storage& bytes, std::span<const std::byte> start) {
  if (is_marked(start)) return scan(name, bytes);
  if (!may_begin_unmarked(start)) return {};
  auto done = read(name, bytes, false);
  if (!done && could_not_look(done.error().code)) return done;
  return {};
}

Result<void> PickleSearch::scan(const ZipMember& member, std::uint64_t data_offset) {
  const auto bytes = bytes_of(member, data_offset);
  if (!bytes) return could_not_look(bytes.error().code) ? tl::make_unexpected(bytes.error()) : Result<void>();
  return scan(member.name, **bytes);
}

Result<void> PickleSearch::scan(const std::string& name, const Storage& bytes) {
  auto done = read(name, bytes, true);
  if (!done && could_not_look(done.error().code)) return done;
  if (!done && done.error().code == ErrorCode::limit_exceeded) {
    out_.problems.push_back(
        make_problem(ProblemCode::limit_exceeded, name, done.error().offset_bytes,
                     "it begins as a pickle, and not all of it was looked at: " + done.error().message));
  }
  return {};
}

Result<void> PickleSearch::read(const std::string& name, const Storage& bytes, bool certain) {
  std::uint64_t at = 0;
  while (at < bytes.size_bytes()) {
    if (readable_bytes_ == 0) return fail(ErrorCode::limit_exceeded, "the archive holds too many pickles");
    std::vector<PickleGlobal> named;
    const auto graph = read_pickle_graph(bytes, at, limits_, &named);
    const std::uint64_t end = graph ? graph->end_offset : graph.error().offset_bytes.value_or(at);
    readable_bytes_ -= std::min(readable_bytes_, std::max<std::uint64_t>(end - at, 1));
    if (graph || certain) report_globals(graph ? graph->globals : named, name, script_, out_);
    if (!graph) return tl::make_unexpected(graph.error());
    at = end;
  }
  return {};
}

}  // namespace netcl::ckpt
