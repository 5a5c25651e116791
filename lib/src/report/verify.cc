// verify: everything that reading a checkpoint can prove about it.
//
// Opening it thoroughly has already compared directories, headers and sizes and walked every pickle;
// what is left is to pull each stored member through its CRC, on all cores, the largest first so
// that no core is left with a large one at the end.
#include "netcl/ckpt/verify.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "base/buffer.h"
#include "base/endian.h"
#include "base/glob.h"
#include "base/jobs.h"
#include "base/problem.h"
#include "base/try.h"
#include "format/readers.h"
#include "model/read_budget.h"
#include "report/expectations.h"
#include "report/finite.h"
#include "report/loaders.h"
#include "report/verify_device.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

/// True where a file that ends in this error was looked at and found broken; false where it could
/// not be looked at.
bool is_finding(ErrorCode code) {
  switch (code) {
    case ErrorCode::truncated:
    case ErrorCode::corrupt:
    case ErrorCode::limit_exceeded:
    case ErrorCode::unsafe:
    case ErrorCode::checksum_mismatch: return true;
    default: return false;
  }
}

/// Reads all of a storage, so that its reader checks the CRC.
Result<void> read_through(const Storage& storage) {
  CKPT_TRY(auto reader, storage.open());
  const auto block = thread_buffer(kBlockBytes);
  std::uint64_t at = 0;
  do {  // once even where it is empty: an empty member has a CRC too
    const std::size_t n = std::min<std::uint64_t>(block.size(), storage.size_bytes() - at);
    CKPT_CHECK(reader->read(at, block.first(n)));
    at += n;
  } while (at < storage.size_bytes());
  return {};
}

/// One stored member to pull through its CRC, or one tensor to search for NaN and Inf.
struct Work {
  std::string name;
  const Storage* storage = nullptr;
  const Tensor* tensor = nullptr;
  std::uint64_t cost_bytes = 0;
  Problems problems;
  std::optional<Error> not_read;  // the machine's error, which is no finding

  void run() {
    auto outcome = guarded([&]() -> Result<void> {
      if (storage != nullptr) return read_through(*storage);
      CKPT_TRY(const NotFinite count, scan_finite(*tensor));
      if (count.nan + count.inf > 0) {
        problems.push_back(make_problem(
            ProblemCode::not_finite, name, std::nullopt,
            fmt::format("{} NaN and {} Inf among {} elements", count.nan, count.inf, tensor->num_elements())));
      }
      return {};
    });
    if (outcome) return;
    if (could_not_look(outcome.error().code)) {
      not_read = std::move(outcome.error());
      if (not_read->member.empty()) not_read->member = name;
      return;
    }
    problems.push_back(to_problem(outcome.error()));
    if (problems.back().where.empty()) problems.back().where = name;
  }
};

/// `source`: of the file's bytes, for other programs' loaders; null for a folder.
Result<VerifyReport> verify_opened(Result<Checkpoint> opened, const SourcePtr& source,
                                   const std::filesystem::path& path, const VerifyOptions& options) {
  VerifyReport report;
  report.path = path.string();
  const auto ask_loaders = [&](const Checkpoint* checkpoint) -> Result<void> {
    Problems refusals;
    CKPT_CHECK(judge_loaders(options.loaders, {source, path, checkpoint, report.problems}, options.limits, refusals));
    std::move(refusals.begin(), refusals.end(), std::back_inserter(report.problems));
    return {};
  };
  if (!opened) {
    if (!is_finding(opened.error().code)) return tl::make_unexpected(opened.error());
    report.problems.push_back(to_problem(opened.error()));
    CKPT_CHECK(ask_loaders(nullptr));
    return report;
  }
  Checkpoint& checkpoint = *opened;
  report.format = checkpoint.format;
  report.file_bytes = checkpoint.file_bytes;
  report.problems = std::move(checkpoint.problems);
  for (const Problem& p : report.problems) {
    if (p.code == ProblemCode::io) return fail_at(ErrorCode::io, p.where, p.offset_bytes, "{}", p.message);
  }
  std::erase_if(report.problems, [&](const Problem& p) {
    return p.code == ProblemCode::foreign_global && matches_any(options.allow, p.global);
  });

  auto listed = list_tensors(checkpoint, options.limits);
  if (!listed) report.problems.push_back(to_problem(listed.error()));
  const std::vector<NamedTensor> tensors = listed ? std::move(*listed) : std::vector<NamedTensor>();
  report.num_tensors = tensors.size();
  if (options.expected) compare_with_expected(*options.expected, checkpoint.tree, tensors, report.problems);

  std::vector<Work> work;
  ReadBudget budget(checkpoint.file_bytes);
  bool within = true;  // said once: there may be a million more
  const auto take = [&](const std::string& name, const Storage& storage, std::uint64_t size_bytes) {
    const auto taken = budget.take(storage, size_bytes);
    if (!taken && within) {
      report.problems.push_back(to_problem(taken.error()));
      report.problems.back().where = name;
    }
    within = within && taken;
    return within;
  };
  for (const Member& m : checkpoint.members) {
    if (!take(m.name, *m.storage, m.storage->size_bytes())) break;
    work.push_back({m.name, m.storage.get(), nullptr, m.storage->size_bytes(), {}, {}});
  }
  if (options.finite) {
    for (const NamedTensor& t : tensors) {
      const Tensor& tensor = checkpoint.tree.tensor(t.value);
      if (!tensor.storage || !has_not_finite_codes(tensor.dtype.type)) continue;
      if (!take(t.name, *tensor.storage, tensor.size_bytes())) break;
      work.push_back({t.name, nullptr, &tensor, tensor.size_bytes(), {}, {}});
    }
  }
  for (const Work& w : work) report.checked_bytes += w.cost_bytes;
  std::vector<std::uint64_t> costs;
  for (const Work& w : work) costs.push_back(w.cost_bytes);
  CKPT_CHECK(run_jobs(options.run, costs, [&] { return [&](std::size_t i) { work[i].run(); }; }));
  for (Work& w : work) {
    if (w.not_read) return tl::make_unexpected(std::move(*w.not_read));
  }
  for (Work& w : work) std::move(w.problems.begin(), w.problems.end(), std::back_inserter(report.problems));
  CKPT_CHECK(ask_loaders(&checkpoint));
  if (options.device) {
    report.device = options.device->info().name;
    CKPT_CHECK(verify_on_device(checkpoint.tree, tensors, options, report));
  }
  return report;
}

/// Whether repair is of use against what has the code.
bool is_damage(ProblemCode code) {
  switch (code) {
    case ProblemCode::truncated:
    case ProblemCode::corrupt:
    case ProblemCode::checksum_mismatch:
    case ProblemCode::zip_end:
    case ProblemCode::zip_count:
    case ProblemCode::zip_local_differs:
    case ProblemCode::zip_descriptor:
    case ProblemCode::zip_overlap:
    case ProblemCode::zip_gap:
    case ProblemCode::zip_mark:
    case ProblemCode::zip_prefix: return true;
    default: return false;
  }
}

/// Of what `open` opens, if need be.
template <class Open>
Result<VerifyReport> with_way_out(Result<VerifyReport> report, const Open& open) {
  if (!report) return report;
  const bool damaged = std::any_of(report->problems.begin(), report->problems.end(),
                                   [](const Problem& p) { return p.severity >= Severity::error && is_damage(p.code); });
  if (!damaged) return report;
  const Result<SourcePtr> source = open();
  report->repairable = source && can_repair(**source);
  return report;
}

OpenOptions thorough(const VerifyOptions& options) {
  OpenOptions read;
  read.limits = options.limits;
  read.thorough = true;
  return read;
}

Result<VerifyReport> verify_standard_input(const VerifyOptions& options) {
  CKPT_TRY(SourcePtr source, open_standard_input());
  CKPT_TRY(VerifyReport report, verify(std::move(source), "", options));
  report.path = "-";
  return report;
}

}  // namespace

bool VerifyReport::sound() const {
  return std::none_of(problems.begin(), problems.end(), [](const Problem& p) { return p.severity >= Severity::error; });
}

Result<VerifyReport> verify(const std::filesystem::path& path, const VerifyOptions& options) {
  return guarded([&] {
    const Result<SourcePtr> source = options.loaders.empty() ? SourcePtr() : open_file(path);
    return with_way_out(
        verify_opened(open_checkpoint(path, thorough(options)), source.value_or(SourcePtr()), path, options),
        [&] { return open_file(path); });
  });
}

Result<VerifyReport> verify(SourcePtr source, const std::filesystem::path& path, const VerifyOptions& options) {
  return guarded([&] {
    return with_way_out(verify_opened(open_checkpoint(source, path, thorough(options)), source, path, options),
                        [&] { return Result<SourcePtr>(source); });
  });
}

Result<void> verify_all(std::span<const std::string> paths, const VerifyOptions& options,
                        const std::function<void(const std::string& path, Result<VerifyReport> report)>& done) {
  return guarded([&]() -> Result<void> {
    const unsigned threads = thread_count(options.run.jobs);
    // A device takes one at a time; few files share the threads.
    const auto at_once = options.device ? 1U : static_cast<unsigned>(std::min<std::size_t>(threads, paths.size()));
    VerifyOptions each = options;
    each.run.jobs = threads / std::max(at_once, 1U);
    std::mutex mutex;
    std::map<std::size_t, Result<VerifyReport>> waiting;
    std::size_t next = 0;
    parallel_for(at_once, paths.size(), [&](std::size_t i) {
      auto report = paths[i] == "-" ? verify_standard_input(each) : verify(paths[i], each);
      const std::lock_guard held(mutex);
      waiting.emplace(i, std::move(report));
      for (auto it = waiting.begin(); it != waiting.end() && it->first == next; it = waiting.erase(it), ++next)
        done(paths[next], std::move(it->second));
    });
    return {};
  });
}

}  // namespace netcl::ckpt
