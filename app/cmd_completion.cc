// netcl-ckpt completion: a script for each shell, which asks this program for the words that may stand
// at the cursor. So completion follows the option table of the program that is installed, and reads
// tensor names from the checkpoint on the line; scripts with the options written into them would do
// neither, and there would be three of them to keep.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "commands.h"
#include "netcl/ckpt/open.h"
#include "options.h"
#include "validators.h"

namespace netcl::ckpt::app {
namespace {

enum class Shell { bash, zsh, fish };

// Where nothing is offered, the shell completes the names of files. Each calls the program that the
// line names, which may be another than the one on PATH.
constexpr const char* kBash = R"(_netcl_ckpt() {
    local IFS=$'\n'
    COMPREPLY=($("$1" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -o default -o nosort -F _netcl_ckpt netcl-ckpt
)";

constexpr const char* kZsh = R"(#compdef netcl-ckpt
_netcl_ckpt() {
    local -a found
    found=("${(@f)$("$words[1]" completion zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found[1] ]]; then
        _describe -V netcl-ckpt found
    else
        _files
    fi
}
if [[ $funcstack[1] = _netcl_ckpt ]]; then
    _netcl_ckpt "$@"
else
    compdef _netcl_ckpt netcl-ckpt
fi
)";

constexpr const char* kFish = R"(function __netcl_ckpt
    set -l words (commandline -opc)
    set -l found ($words[1] completion fish -- $words[2..-1] (commandline -ct) 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c netcl-ckpt -f -k -a '(__netcl_ckpt)'
)";

struct Candidate {
  std::string word;
  std::string description;
};
using Candidates = std::vector<Candidate>;

struct Options {
  Shell shell = Shell::bash;
  std::vector<std::string> words;
};

/// The tensors of the first checkpoint among `words`.
Candidates tensor_names(const std::vector<std::string>& words) {
  constexpr std::size_t kMost = 10'000;
  for (const std::string& word : words) {
    std::error_code error;
    if (word.empty() || !std::filesystem::is_regular_file(word, error)) continue;
    const auto checkpoint = open_checkpoint(word);
    if (!checkpoint) continue;
    const auto tensors = list_tensors(*checkpoint);
    if (!tensors) continue;
    Candidates names;
    for (const NamedTensor& t : *tensors) {
      // A shell would show a control character to the terminal.
      if (names.size() < kMost && escape(t.name) == t.name && !t.name.empty()) names.push_back({t.name, ""});
    }
    return names;
  }
  return {};
}

Candidates split(const std::string& words) {
  Candidates out;
  for (const std::string& word : CLI::detail::split(words, ' ')) out.push_back({word, ""});
  return out;
}

/// What may follow `option`; none where it is a file, or anything.
Candidates values_of(CLI::Option& option, const std::vector<std::string>& words) {
  if (option.get_type_name() == "GLOB") return tensor_names(words);
  try {
    return split(option.get_validator(0)->get_name());
  } catch (const CLI::OptionNotFound&) {
    return {};
  }
}

CLI::Option* option_with_value(CLI::App& app, const std::string& name) {
  CLI::Option* option = name.size() > 1 && name[0] == '-' ? app.get_option_no_throw(name) : nullptr;
  return option != nullptr && option->get_items_expected_max() > 0 ? option : nullptr;
}

Candidates candidates(const std::vector<std::string>& words) {
  const std::string& word = words.back();
  Candidates found;
  if (words.size() == 1 && (word.empty() || word[0] != '-')) {
    for (const Command& c : commands()) found.push_back({c.name, c.description});
    return found;
  }
  const auto command =
      std::find_if(commands().begin(), commands().end(), [&](const Command& c) { return words[0] == c.name; });
  if (words.size() == 1)
    return {{"--help", "Print the commands and exit"}, {"--version", "Print the version and exit"}};
  if (command == commands().end()) return {};

  CLI::App app;
  const Action run = command->add_options(app);
  const std::string_view name = command->name;
  const std::size_t equals = word.find('=');
  if (word.starts_with("--") && equals != word.npos) {
    if (CLI::Option* option = option_with_value(app, word.substr(0, equals))) found = values_of(*option, words);
    for (Candidate& c : found) c.word = word.substr(0, equals + 1) + c.word;
  } else if (CLI::Option* option = option_with_value(app, words[words.size() - 2])) {
    found = values_of(*option, words);
  } else if (word.starts_with('-')) {
    for (const CLI::Option* o : app.get_options()) {
      for (const std::string& long_name : o->get_lnames()) found.push_back({"--" + long_name, o->get_description()});
    }
  } else if (name == "help") {
    found = candidates({""});
    found.push_back({"formats", "What files hold, byte by byte"});
  } else if (name == "completion" && words.size() == 2) {
    found = split("bash zsh fish");
  }
  return found;
}

/// bash cuts words at ":" and "=", too: "--include", "=", "1", ":", "wei" becomes "--include=1:wei".
std::vector<std::string> join_bash_words(const std::vector<std::string>& words) {
  std::vector<std::string> joined;
  bool glue = false;
  for (const std::string& word : words) {
    const bool separator = word == ":" || word == "=";
    if ((glue || separator) && !joined.empty()) {
      joined.back() += word;
    } else {
      joined.push_back(word);
    }
    glue = separator;
  }
  return joined;
}

/// `text` as one word on the command line of bash, which puts what it is given there as it is.
std::string quoted_for_bash(std::string_view text) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/:=@%,";
  std::string out;
  for (char c : text) {
    if (kPlain.find(c) == kPlain.npos && static_cast<unsigned char>(c) < 0x80) out += '\\';
    out += c;
  }
  return out;
}

std::string line_of(const Candidate& c, Shell shell, const std::string& typed) {
  switch (shell) {
    case Shell::bash: {
      // bash puts the word in the place of what follows the last separator that was typed.
      const std::size_t cut = typed.find_last_of(":=");
      return quoted_for_bash(c.word.substr(cut == typed.npos ? 0 : cut + 1)) + "\n";
    }
    case Shell::zsh: {
      std::string line;
      for (char ch : c.word) line += ch == ':' || ch == '\\' ? std::string("\\") + ch : std::string(1, ch);
      return line + (c.description.empty() ? "" : ":" + c.description) + "\n";
    }
    case Shell::fish: return c.word + (c.description.empty() ? "" : "\t" + c.description) + "\n";
  }
  return "";
}

int run(const Options& options) {
  Output out;
  if (options.words.empty()) {
    out << (options.shell == Shell::bash ? kBash : options.shell == Shell::zsh ? kZsh : kFish);
    return finish(out, kDone);
  }
  const auto words = options.shell == Shell::bash ? join_bash_words(options.words) : options.words;
  for (const Candidate& c : candidates(words)) {
    if (c.word.starts_with(words.back())) out << line_of(c, options.shell, words.back());
  }
  return finish(out, kDone);
}

}  // namespace

Action add_completion_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("SHELL", options->shell, "bash, zsh or fish")
      ->required()
      ->transform(one_of({"bash", "zsh", "fish"}))
      ->type_name("");
  command.add_option("WORD", options->words, "After --: the words of a command line, for what may be the last of them")
      ->allow_extra_args();
  command.footer(
      "Examples:\n"
      "  source <(netcl-ckpt completion bash)        # in ~/.bashrc\n"
      "  source <(netcl-ckpt completion zsh)         # in ~/.zshrc, after compinit\n"
      "  netcl-ckpt completion fish | source         # in ~/.config/fish/config.fish\n");
  return [options] { return run(*options); };
}

}  // namespace netcl::ckpt::app
