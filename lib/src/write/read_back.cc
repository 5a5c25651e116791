// What was written, read back and compared before it takes anybody's place.
#include "write/read_back.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/glob.h"
#include "base/jobs.h"
#include "base/try.h"
#include "model/compare.h"
#include "report/diff_metadata.h"

namespace netcl::ckpt {
namespace {

Result<void> compare(const Tensor& a, const Tensor& b, bool payloads) {
  const auto differs = [] { return fail(ErrorCode::internal, "what was written differs from what was read"); };
  if (a.shape != b.shape || a.size_bytes() != b.size_bytes()) return differs();
  if (!a.storage || !b.storage || !payloads) return {};
  CKPT_TRY(auto left, TensorReader::open(a));
  CKPT_TRY(auto right, TensorReader::open(b));
  const std::uint64_t item = std::max<std::uint64_t>(a.dtype.item_bytes, 1);
  const std::size_t block =
      std::min(std::max<std::uint64_t>((std::uint64_t{1} << 20) / item, 1) * item, left.remaining_bytes());
  std::vector<std::byte> x(block), y(block);
  while (left.remaining_bytes() > 0) {
    const std::size_t n = std::min<std::uint64_t>(block, left.remaining_bytes());
    CKPT_CHECK(left.read(std::span(x).first(n)));
    CKPT_CHECK(right.read(std::span(y).first(n)));
    if (!std::equal(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n), y.begin())) return differs();
  }
  return {};
}

/// Every value of `from` that is no tensor is there again. A format may add values of its own.
Result<void> verify_values(const Checkpoint& back, const Checkpoint& from, const Limits& limits) {
  DiffReport report;
  const std::vector<std::string> none;
  const NameFilter everything{none, none};
  Criterion exact;
  exact.bitwise = true;
  CKPT_CHECK(diff_metadata(from, back, exact, everything, limits, report));
  for (const MetadataDiff& d : report.metadata) {
    if (d.a) {
      return fail_at(ErrorCode::unsupported, d.path, std::nullopt, "what was written reads back as {} instead of {}",
                     d.b.value_or("nothing"), *d.a);
    }
  }
  return {};
}

/// What its own reader says of what was written, before it takes anybody's place.
Result<void> accepted(const Result<Checkpoint>& back, const Checkpoint& from) {
  if (!back) {
    Error error = back.error();
    error.message = "what was written cannot be read back: " + error.message;
    return tl::make_unexpected(std::move(error));
  }
  const auto was_there = [&](const Problem& p) {
    return std::any_of(from.problems.begin(), from.problems.end(), [&](const Problem& q) { return q.code == p.code; });
  };
  for (const Problem& p : back->problems) {
    if (p.severity < Severity::error || was_there(p)) continue;
    return fail_at(ErrorCode::unsupported, p.where, p.offset_bytes, "what was written cannot be read back: {}",
                   p.message);
  }
  return {};
}

}  // namespace

Result<void> verify_written(const Result<Checkpoint>& read, const Checkpoint& from, const ConvertOptions& options) {
  CKPT_CHECK(accepted(read, from));
  const Checkpoint& back = *read;
  CKPT_TRY(const auto expected, list_tensors(from, options.limits));
  CKPT_TRY(const auto found, list_tensors(back, options.limits));
  // By name: safetensors lists its tensors as they lie, which is by size.
  std::unordered_map<std::string_view, ValueId> by_name;
  for (const NamedTensor& t : found) by_name.emplace(t.name, t.value);
  const Run quietly = quiet(options.run);  // the progress is that of the writing
  RunState state(quietly, 0);
  std::vector<std::uint64_t> costs;
  for (const NamedTensor& t : expected) costs.push_back(options.verify ? from.tree.tensor(t.value).size_bytes() : 0);
  CKPT_CHECK(run_jobs(quietly, costs, [&] {
    return [&](std::size_t i) {
      if (state.stopped()) return;
      auto it = by_name.find(expected[i].name);
      // An npy has no name for its array, and npz calls one without a name arr_0.
      if (it == by_name.end() && expected.size() == 1) it = by_name.begin();
      auto same = guarded([&]() -> Result<void> {
        if (it == by_name.end())
          return with_way_out(fail(ErrorCode::unsupported, "what was written reads back without this tensor"),
                              "rename it (`renames`)");
        return compare(from.tree.tensor(expected[i].value), back.tree.tensor(it->second), options.verify);
      });
      if (same) return;
      same.error().member = expected[i].name;
      state.add(std::move(same.error()));
    };
  }));
  CKPT_CHECK(state.result());
  if (found.size() != expected.size()) {
    return fail(ErrorCode::internal, "{} tensors were written, {} are read back", expected.size(), found.size());
  }
  return verify_values(back, from, options.limits);
}

}  // namespace netcl::ckpt
