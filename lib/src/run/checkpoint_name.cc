// Steps, epochs and metrics in the names of checkpoints.
//
// What programs write: iter_1000.npz (this one), epoch_12.pt, checkpoint-1000/ (transformers), step=500.safetensors,
// epoch=3-step=500-val_loss=0.25.ckpt (lightning), global_step1000/ (deepspeed), ckpt_12.pth. A word decides, and if
// there is none the last number: model_0019999.pth (detectron2), G_20000.pth, 0001000_adapters.safetensors
// (mlx), 29.pdparams, checkpoint_4_30000.pt (fairseq). Such a number may be something else ("resnet50.pt"), so that it
// orders, but is a reason to remove a file only where several make a series.
#include "run/checkpoint_name.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace netcl::ckpt {
namespace {

// The longer of two that match first.
constexpr std::array<std::string_view, 15> kExtensions = {
    ".npz", ".netcl",  ".safetensors", ".pth.tar", ".pt.tar", ".pt",     ".pth",    ".ckpt",
    ".pkl", ".pickle", ".pdparams",    ".pdopt",   ".pyth",   ".joblib", ".msgpack"};
constexpr std::array<std::string_view, 6> kStepWords = {"step", "steps", "globalstep", "iter", "iteration", "it"};
constexpr std::array<std::string_view, 3> kEpochWords = {"epoch", "epochs", "ep"};
constexpr std::array<std::string_view, 3> kWeakWords = {"checkpoint", "ckpt", "chkpt"};
/// A number behind one of these counts something else.
constexpr std::array<std::string_view, 12> kOtherWords = {"v",    "version", "ver",  "rank", "seed", "fold",
                                                          "part", "shard",   "size", "dim",  "gpu",  "of"};
constexpr std::string_view kStepPlace = "{step}";
constexpr std::string_view kEpochPlace = "{epoch}";

// <cctype> depends on the locale.
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::optional<std::uint64_t> parse_number(std::string_view digits) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return n;
}

std::size_t end_of_digits(std::string_view text, std::size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

bool is_number_at(std::string_view text, std::size_t at, std::size_t digits) {
  return at <= text.size() && end_of_digits(text, at) - at == digits;
}

bool is_separator(std::string_view name, std::size_t at) {
  return at < name.size() && std::string_view("-_.T:").find(name[at]) != std::string_view::npos;
}

/// "3_of_5", whose first number ends at `end`.
bool is_one_of_many(std::string_view name, std::size_t end) {
  return is_separator(name, end) && name.substr(end + 1).starts_with("of") && is_separator(name, end + 3) &&
         end + 4 < name.size() && is_digit(name[end + 4]);
}

/// Behind a date at `at`, 2024-01-05 or 20240105-123456, perhaps with a time of day; 0 if there is none.
std::size_t end_of_date(std::string_view name, std::size_t at) {
  const auto separated = [&](std::size_t place) { return is_separator(name, place); };
  if (!name.substr(at).starts_with("19") && !name.substr(at).starts_with("20")) return 0;
  std::size_t end = 0;
  if (is_number_at(name, at, 4) && separated(at + 4) && is_number_at(name, at + 5, 2) && separated(at + 7) &&
      is_number_at(name, at + 8, 2)) {
    end = at + 10;
  } else if (is_number_at(name, at, 8) && separated(at + 8) && is_number_at(name, at + 9, 6)) {
    return at + 15;
  } else {
    return 0;
  }
  if (separated(end) && is_number_at(name, end + 1, 6)) return end + 7;
  while (separated(end) && is_number_at(name, end + 1, 2)) end += 3;
  return end;
}

/// The letters, in lower case, that stand before `at`, perhaps with one of "-_=." between.
std::string word_before(std::string_view name, std::size_t at) {
  std::size_t end = at;
  if (end > 0 && std::string_view("-_=.").find(name[end - 1]) != std::string_view::npos) --end;
  std::size_t begin = end;
  while (begin > 0 && is_letter(name[begin - 1])) --begin;
  std::string word(name.substr(begin, end - begin));
  for (char& c : word) c = static_cast<char>(c | 0x20);
  return word;
}

void add_metrics(std::string_view name, Metrics& metrics) {
  for (std::size_t equals = name.find('='); equals != name.npos; equals = name.find('=', equals + 1)) {
    const std::size_t dash = name.rfind('-', equals);
    const std::size_t begin = dash == name.npos ? 0 : dash + 1;
    const std::string key(name.substr(begin, equals - begin));
    if (key.empty() || is_one_of(key, kStepWords) || is_one_of(key, kEpochWords)) continue;
    double value = 0;
    const char* last = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data() + equals + 1, last, value);
    if (error == std::errc() && (end == last || *end == '-')) metrics.emplace_back(key, value);
  }
}

}  // namespace

NameNumbers parse_checkpoint_name(std::string_view name) {
  NameNumbers out;
  std::size_t last_begin = 0, last_end = 0;
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (!is_digit(name[at])) continue;
    if (const std::size_t date = end_of_date(name, at); date > 0) {
      at = date - 1;
      continue;
    }
    const std::size_t end = end_of_digits(name, at);
    const auto digit_beyond_point = [&](std::size_t point, std::size_t digit) {
      return point < name.size() && name[point] == '.' && digit < name.size() && is_digit(name[digit]);
    };
    const bool decimal = digit_beyond_point(end, end + 1) || (at >= 2 && digit_beyond_point(at - 1, at - 2));
    const bool whole = !decimal && (end == name.size() || !is_letter(name[end]));  // neither 3rd nor 3.5
    const auto number = parse_number(name.substr(at, end - at));
    if (whole && number) {
      const std::string word = word_before(name, at);
      if (is_one_of(word, kStepWords) || (end == name.size() && is_one_of(word, kWeakWords))) out.step = number;
      if (is_one_of(word, kEpochWords)) out.epoch = number;
      // "loss=3" is a metric; of "3_of_5" neither is a step.
      const bool other = is_one_of(word, kOtherWords) || (at > 0 && name[at - 1] == '=') || is_one_of_many(name, end);
      if (!other) {
        out.last = number;
        last_begin = at;
        last_end = end;
      }
    }
    at = end;
  }
  if (out.step || out.epoch) out.last.reset();
  if (out.last) {
    out.apart = last_begin == 0 || !is_letter(name[last_begin - 1]);
    out.series = std::string(name.substr(0, last_begin)) + '#' + std::string(name.substr(last_end));
  }
  add_metrics(name, out.metrics);
  return out;
}

std::optional<NameNumbers> match_checkpoint_name(std::string_view name, std::string_view pattern) {
  NameNumbers out;
  while (!pattern.empty()) {
    const bool step = pattern.starts_with(kStepPlace);
    if (step || pattern.starts_with(kEpochPlace)) {
      const std::size_t end = end_of_digits(name, 0);
      const auto number = parse_number(name.substr(0, end));
      auto& place = step ? out.step : out.epoch;
      if (!number || (place && place != number)) return std::nullopt;
      place = number;
      name.remove_prefix(end);
      pattern.remove_prefix(step ? kStepPlace.size() : kEpochPlace.size());
    } else {
      if (name.empty() || name[0] != pattern[0]) return std::nullopt;
      name.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  return name.empty() ? std::optional(out) : std::nullopt;
}

bool is_name_pattern(std::string_view pattern) {
  const bool numbered = pattern.find(kStepPlace) != pattern.npos || pattern.find(kEpochPlace) != pattern.npos;
  return numbered && pattern[0] != '.' && pattern.find('/') == pattern.npos && pattern.find('\0') == pattern.npos;
}

bool tells_numbers_apart(std::string_view pattern) {
  constexpr std::pair<std::uint64_t, std::uint64_t> kSamples[] = {{1, 2}, {10, 3}, {7, 40}, {123456, 123456}};
  return std::all_of(std::begin(kSamples), std::end(kSamples), [&](const auto& sample) {
    const auto& [step, epoch] = sample;
    const auto back = match_checkpoint_name(format_checkpoint_name(pattern, step, epoch), pattern);
    return back && back->step.value_or(step) == step && back->epoch.value_or(epoch) == epoch;
  });
}

std::string format_checkpoint_name(std::string_view pattern, std::uint64_t step, std::uint64_t epoch) {
  std::string out(pattern);
  for (const auto& [place, number] : {std::pair(kStepPlace, step), std::pair(kEpochPlace, epoch)}) {
    for (auto at = out.find(place); at != out.npos; at = out.find(place, at)) {
      out.replace(at, place.size(), std::to_string(number));
    }
  }
  return out;
}

std::optional<std::string_view> checkpoint_stem(std::string_view file_name) {
  for (const std::string_view extension : kExtensions) {
    if (file_name.size() > extension.size() && file_name.ends_with(extension))
      return file_name.substr(0, file_name.size() - extension.size());
  }
  return std::nullopt;
}

}  // namespace netcl::ckpt
