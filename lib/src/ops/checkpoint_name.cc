// Steps, epochs and metrics in the names of checkpoints.
//
// What programs write: iter_1000.npz (this one), epoch_12.pt, checkpoint-1000/ (transformers), step=500.safetensors,
// epoch=3-step=500-val_loss=0.25.ckpt (lightning), global_step1000/ (deepspeed), ckpt_12.pth. Words decide, not
// digits alone: a number that is none ("resnet50.pt") would let prune take a stranger's file for an old step.
#include "ops/checkpoint_name.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace netcl::ckpt {
namespace {

constexpr std::array<std::string_view, 8> kExtensions = {".npz", ".netcl", ".safetensors", ".pt",
                                                         ".pth", ".ckpt",  ".pkl",         ".pickle"};
constexpr std::array<std::string_view, 6> kStepWords = {"step", "steps", "globalstep", "iter", "iteration", "it"};
constexpr std::array<std::string_view, 3> kEpochWords = {"epoch", "epochs", "ep"};
constexpr std::array<std::string_view, 3> kWeakWords = {"checkpoint", "ckpt", "chkpt"};
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
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (!is_digit(name[at])) continue;
    const std::size_t end = end_of_digits(name, at);
    const bool whole = end == name.size() || (!is_letter(name[end]) && name[end] != '.');  // neither 3rd nor 3.5
    const auto number = parse_number(name.substr(at, end - at));
    if (whole && number) {
      const std::string word = word_before(name, at);
      if (is_one_of(word, kStepWords) || (end == name.size() && is_one_of(word, kWeakWords))) out.step = number;
      if (is_one_of(word, kEpochWords)) out.epoch = number;
    }
    at = end;
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
      if (!number) return std::nullopt;
      (step ? out.step : out.epoch) = number;
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

std::optional<Format> written_format(const std::filesystem::path& path) {
  constexpr std::array<std::pair<std::string_view, Format>, 8> kFormats = {{{".npz", Format::npz},
                                                                            {".npy", Format::npy},
                                                                            {".netcl", Format::netcl},
                                                                            {".pkl", Format::pickle},
                                                                            {".pickle", Format::pickle},
                                                                            {".pt", Format::torch},
                                                                            {".pth", Format::torch},
                                                                            {".safetensors", Format::safetensors}}};
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [known, format] : kFormats) {
    if (extension == known) return format;
  }
  return std::nullopt;
}

}  // namespace netcl::ckpt
