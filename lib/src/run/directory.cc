// A directory of checkpoints: what is there, which is the newest good one, which may go.
#include "netcl/ckpt/directory.h"

#include <algorithm>
#include <initializer_list>

#include "base/try.h"
#include "format/readers.h"
#include "io/directory_lock.h"
#include "run/check.h"
#include "run/prune.h"
#include "run/retention.h"
#include "run/scan.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

Result<LatestReport> best_of(std::vector<CheckpointInfo> list, const LatestOptions& options) {
  ScanOptions quick = options.scan;
  quick.check = Check::quick;
  quick.values = true;
  check_checkpoints(list, quick);
  CKPT_CHECK(require_checked(list));
  std::reverse(list.begin(), list.end());  // of equal ones the newest
  LatestReport report;
  std::vector<CheckpointInfo> candidates;
  for (CheckpointInfo& info : list) {
    if (info.validity != Validity::valid) {
      report.skipped.push_back(std::move(info));
    } else if (metric_of(info, options.best->metric)) {
      candidates.push_back(std::move(info));
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(), [&](const CheckpointInfo& a, const CheckpointInfo& b) {
    return is_better(*options.best, *metric_of(a, options.best->metric), *metric_of(b, options.best->metric));
  });
  for (CheckpointInfo& info : candidates) {
    if (options.scan.check == Check::full) {
      check_checkpoint(info, options.scan);
      CKPT_CHECK(require_checked({&info, 1}));
    }
    if (info.validity == Validity::valid) {
      report.found = std::move(info);
      break;
    }
    report.skipped.push_back(std::move(info));
  }
  return report;
}

bool contains_word(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return text.find(w) != text.npos; });
}

}  // namespace

const char* to_string(Validity validity) {
  switch (validity) {
    case Validity::unchecked: return "unchecked";
    case Validity::valid: return "valid";
    case Validity::broken: return "broken";
    case Validity::unknown: return "unknown";
  }
  return "unknown";
}

Result<std::vector<CheckpointInfo>> list_checkpoints(const fs::path& directory, const ScanOptions& options) {
  return guarded([&]() -> Result<std::vector<CheckpointInfo>> {
    CKPT_TRY(auto list, scan_checkpoints(directory, options, nullptr));
    check_checkpoints(list, options);
    for (CheckpointInfo& info : list) {
      std::error_code ignored;
      const fs::path sidecar = info.is_folder ? fs::path() : find_sidecar(info.path);
      const auto more = sidecar.empty() ? 0 : fs::file_size(sidecar, ignored);
      if (!ignored) info.size_bytes += more;
    }
    return list;
  });
}

Result<BestBy> parse_best(std::string_view text) {
  return guarded([&]() -> Result<BestBy> {
    BestBy by;
    for (const auto& [end, higher] : {std::pair(std::string_view(":min"), false), {std::string_view(":max"), true}}) {
      if (text.size() <= end.size() || !text.ends_with(end)) continue;
      by.metric = text.substr(0, text.size() - end.size());
      by.higher = higher;
      return by;
    }
    by.metric = text;
    if (contains_word(text, {"loss", "err", "ppl", "perplexity", "mse", "mae"})) return by;
    by.higher = true;
    if (contains_word(text, {"acc", "auc", "bleu", "rouge", "iou", "dice", "psnr", "f1", "precision", "recall"}))
      return by;
    return fail(ErrorCode::invalid_argument, "is more or less of '{0}' better? Say {0}:max or {0}:min", text);
  });
}

Result<LatestReport> latest_checkpoint(const fs::path& directory, const LatestOptions& options) {
  return guarded([&]() -> Result<LatestReport> {
    CKPT_TRY(auto list, scan_checkpoints(directory, options.scan, nullptr));
    if (options.best) return best_of(std::move(list), options);
    LatestReport report;
    const auto unnumbered = std::count_if(list.begin(), list.end(),
                                          [](const CheckpointInfo& c) { return c.numbered_by == NumberedBy::nothing; });
    for (; !list.empty(); list.pop_back()) {
      CheckpointInfo& info = list.back();
      if (!options.any) {
        check_checkpoint(info, options.scan);
        CKPT_CHECK(require_checked({&info, 1}));
      }
      if (options.any || info.validity == Validity::valid) {
        report.by_time = info.numbered_by == NumberedBy::nothing && unnumbered > 1;
        report.found = std::move(info);
        break;
      }
      report.skipped.push_back(std::move(info));
    }
    return report;
  });
}

Result<PruneReport> prune_checkpoints(const fs::path& directory, const PruneOptions& options) {
  const Retention& r = options.retention;
  if (r.keep_last == 0 && r.keep_every == 0 && !r.keep_best)
    return fail(ErrorCode::invalid_argument, "nothing says what to keep: the last N, every K-th or the best");
  if (!options.remove) return prune_held(directory, options, nullptr);
  CKPT_TRY(const DirectoryLock lock, DirectoryLock::take(directory, false));
  return prune_held(directory, options, nullptr);
}

}  // namespace netcl::ckpt
