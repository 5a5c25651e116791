// What was meant by a word that fits nothing: the candidate at the smallest edit distance.
#include "guess.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "log.h"

namespace netcl::ckpt::app {
namespace {

constexpr std::size_t kMaxWord = 64;  // the time is quadratic
constexpr std::size_t kMaxCandidate = 2 * kMaxWord;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& c : candidates) {
    if (word.size() > kMaxWord || c.size() > kMaxCandidate) continue;
    const std::size_t d = edit_distance(word, c);
    if (d < best_distance) {
      best = &c;
      best_distance = d;
    }
  }
  return best == nullptr ? "" : fmt::format("; did you mean '{}'?", *best);
}

void warn_no_match(const std::vector<std::string>& patterns, const Checkpoint& checkpoint) {
  constexpr std::size_t kMostNames = 10'000;
  const auto tensors = list_tensors(checkpoint);
  if (!tensors || tensors->empty()) return;
  // A pattern mostly is a name, or the beginning of one with "*" behind it.
  std::set<std::string> candidates;
  for (const NamedTensor& t : *tensors) {
    if (candidates.size() > kMostNames) break;
    if (t.name.size() <= kMaxCandidate) candidates.insert(t.name);
    for (std::size_t dot = t.name.find('.'); dot < kMaxCandidate; dot = t.name.find('.', dot + 1))
      candidates.insert(t.name.substr(0, dot + 1) + "*");
  }
  const std::vector<std::string> list(candidates.begin(), candidates.end());
  for (const std::string& pattern : patterns)
    log_warning(fmt::format("{}: no tensor matches '{}'{}", checkpoint.path, pattern, did_you_mean(pattern, list)));
}

}  // namespace netcl::ckpt::app
