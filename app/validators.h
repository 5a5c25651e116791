#pragma once

#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace netcl::ckpt::app {

/// The name of a validator that takes one of some words is these words: what `completion` offers.
inline std::string words_as_name(const std::vector<std::string>& words) { return CLI::detail::join(words, " "); }

/// One of `words`; for an enum whose values are in their order.
inline CLI::Validator one_of(std::vector<std::string> words) {
  const std::string name = words_as_name(words);
  const auto to_index = [words = std::move(words)](std::string& value) -> std::string {
    const auto it = std::find(words.begin(), words.end(), value);
    if (it == words.end()) return "'" + value + "' is none of " + CLI::detail::join(words, ", ");
    value = std::to_string(it - words.begin());
    return "";
  };
  return CLI::Validator(to_index, "").name(name);
}

/// One of the map's keys.
template <class T>
CLI::Validator one_of(const std::map<std::string, T>& values) {
  std::vector<std::string> words;
  for (const auto& [word, value] : values) words.push_back(word);
  return CLI::Transformer(values).description("").name(words_as_name(words));
}

/// Digits: CLI11 takes -1 for an unsigned number.
inline CLI::Validator whole_number() {
  const auto check = [](std::string& value) -> std::string {
    const bool digits = value.find_first_not_of("0123456789") == value.npos;
    return digits && !value.empty() && value.size() < 10 ? "" : "'" + value + "' is no number";
  };
  return CLI::Validator(check, "");
}

/// For a page that a command writes beside what it is for: a checkpoint must not be replaced because somebody forgot
/// to name the page.
inline CLI::Validator page_name() {
  const auto check = [](std::string& path) {
    return path.ends_with(".html") ? "" : "'" + path + "' does not end in .html";
  };
  return CLI::Validator(check, "");
}

}  // namespace netcl::ckpt::app
