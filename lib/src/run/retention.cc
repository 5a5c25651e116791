// Which checkpoints stay. The rules only ever keep; what no rule keeps goes. Around them stand the guards
// that no rule can undo, because losing the last good state of a run is worse than a full disk: the newest
// valid one stays, and so does whatever is not surely an old checkpoint of this run.
#include "run/retention.h"

#include <cmath>
#include <limits>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// The files of one step or epoch.
struct RetentionGroup {
  std::vector<std::size_t> members;  // in the list
  std::uint64_t number = 0;
  bool valid = true;
  bool unknown = false;
  std::optional<double> metric;
};

std::uint64_t number_of(const CheckpointInfo& c) {
  return c.numbered_by == NumberedBy::epoch ? c.epoch.value_or(0) : c.step.value_or(0);
}

std::vector<RetentionGroup> group(std::span<const CheckpointInfo> list, NumberedBy by, const Retention& retention) {
  std::vector<RetentionGroup> groups;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const CheckpointInfo& c = list[i];
    if (!c.numbered || c.numbered_by != by) continue;
    if (groups.empty() || groups.back().number != number_of(c)) {
      groups.push_back({{}, number_of(c), true, false, std::nullopt});
    }
    RetentionGroup& g = groups.back();
    g.members.push_back(i);
    g.valid &= c.validity == Validity::valid;  // a model without its optimizer is half a checkpoint
    g.unknown |= c.validity == Validity::unknown || c.validity == Validity::unchecked;
    if (!retention.keep_best || c.validity != Validity::valid) continue;
    const auto metric = metric_of(c, retention.keep_best->metric);
    if (metric && (!g.metric || is_better(*retention.keep_best, *metric, *g.metric))) g.metric = metric;
  }
  return groups;
}

void decide(std::vector<RetentionGroup>& groups, const Retention& retention, std::vector<RetentionVerdict>& verdicts) {
  std::size_t newest_valid = groups.size(), best = groups.size();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].valid) newest_valid = i;
    // Not worse than the best so far: of equal ones the newest.
    if (groups[i].metric &&
        (best == groups.size() || !is_better(*retention.keep_best, *groups[best].metric, *groups[i].metric))) {
      best = i;
    }
  }
  std::size_t valid_after = 0;  // newer ones
  for (std::size_t i = groups.size(); i-- > 0;) {
    const RetentionGroup& g = groups[i];
    RetentionVerdict verdict{true, ""};
    if (g.unknown) {
      verdict.reason = "cannot be judged";
    } else if (newest_valid == groups.size() || i > newest_valid) {
      verdict.reason = "broken, but nothing newer is valid";
    } else if (!g.valid) {
      verdict = {false, "broken"};
    } else if (valid_after < retention.keep_last) {
      verdict.reason = "last";
    } else if (i == best) {
      verdict.reason = "best";
    } else if (retention.keep_every > 0 && g.number % retention.keep_every == 0) {
      verdict.reason = "every";
    } else if (i == newest_valid) {
      verdict.reason = "newest valid";
    } else {
      verdict = {false, "old"};
    }
    valid_after += g.valid;
    for (const std::size_t k : g.members) verdicts[k] = verdict;
  }
}

}  // namespace

std::optional<double> metric_of(const CheckpointInfo& checkpoint, std::string_view name) {
  for (const auto& [key, value] : checkpoint.metrics) {
    if (key == name && !std::isnan(value)) return value;
  }
  return std::nullopt;
}

bool is_better(const BestBy& by, double a, double b) { return by.higher ? a > b : a < b; }

std::vector<RetentionVerdict> apply_retention(std::span<const CheckpointInfo> checkpoints, const Retention& retention) {
  std::vector<RetentionVerdict> verdicts(checkpoints.size(), {true, "its name has no number"});
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    if (checkpoints[i].numbered_by == NumberedBy::number) verdicts[i].reason = "its number may be no step";
  }
  for (const NumberedBy by : {NumberedBy::number, NumberedBy::epoch, NumberedBy::step}) {
    std::vector<RetentionGroup> groups = group(checkpoints, by, retention);
    decide(groups, retention, verdicts);
  }
  return verdicts;
}

}  // namespace netcl::ckpt
