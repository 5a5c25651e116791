// Renaming by regular expressions. POSIX's, because std::regex recurses on the text's length, and names
// come from files.
#include "base/renamer.h"

#include <array>
#include <optional>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {

Result<Renamer> Renamer::compile(const std::string& pattern, std::string replacement) {
  auto regex = std::make_unique<regex_t>();
  if (const int status = ::regcomp(regex.get(), pattern.c_str(), REG_EXTENDED); status != 0) {
    char why[128];
    ::regerror(status, regex.get(), why, sizeof why);
    return fail(ErrorCode::invalid_argument, "'{}' is no regular expression: {}", pattern, why);
  }
  Renamer r;
  r.regex_.reset(regex.release());
  r.replacement_ = std::move(replacement);
  return r;
}

Result<std::string> Renamer::apply(const std::string& name) const {
  constexpr std::size_t kMaxNameBytes = 4096;
  if (name.size() > kMaxNameBytes) {
    return with_way_out(fail_at(ErrorCode::limit_exceeded, to_valid_utf8(name.substr(0, 64)) + "...", std::nullopt,
                                "a name of {} bytes is too long to be matched with a regular expression", name.size()),
                        "leave it out (`exclude`)");
  }
  std::string out;
  std::size_t at = 0;
  std::optional<std::size_t> last_end;
  std::array<regmatch_t, 10> groups;
  const auto group_text = [&](std::size_t group) {
    const auto [begin, end] = groups[group];
    return begin < 0 ? std::string() : name.substr(at + static_cast<std::size_t>(begin), end - begin);
  };
  while (::regexec(regex_.get(), name.c_str() + at, groups.size(), groups.data(), at > 0 ? REG_NOTBOL : 0) == 0) {
    const bool empty = groups[0].rm_eo == groups[0].rm_so;
    out.append(name, at, static_cast<std::size_t>(groups[0].rm_so));
    if (!empty || last_end != at + static_cast<std::size_t>(groups[0].rm_so)) {
      for (std::size_t i = 0; i < replacement_.size(); ++i) {
        if (replacement_[i] != '\\' || i + 1 == replacement_.size()) {
          out += replacement_[i];
        } else if (const char next = replacement_[++i]; next >= '0' && next <= '9') {
          out += group_text(static_cast<std::size_t>(next - '0'));
        } else {
          out += next;
        }
      }
    }
    at += static_cast<std::size_t>(groups[0].rm_eo);
    last_end = at;
    if (empty) {
      if (at >= name.size()) return out;
      out += name[at++];
    }
  }
  return out.append(name, at);
}

Result<Renames> Renames::compile(const std::vector<std::pair<std::string, std::string>>& pairs,
                                 std::size_t num_values) {
  constexpr std::uint64_t kFreeWork = 1'000'000'000, kNameBytes = 160;  // the latter on average, for a key and a tensor
  Renames out;
  for (const auto& [pattern, replacement] : pairs) {
    CKPT_TRY(Renamer renamer, Renamer::compile(pattern, replacement));
    out.renamers_.push_back(std::move(renamer));
  }
  out.work_left_ = pairs.size() * (kFreeWork + kNameBytes * kNameBytes * num_values);
  return out;
}

Result<std::string> Renames::apply(std::string name) {
  for (const Renamer& renamer : renamers_) {
    const std::uint64_t work = std::uint64_t{name.size()} * name.size();
    if (work > work_left_) {
      return with_way_out(
          fail(ErrorCode::limit_exceeded, "the names are too many or too long to be matched with a regular expression"),
          "leave some out (`exclude`)");
    }
    work_left_ -= work;
    CKPT_TRY(name, renamer.apply(name));
  }
  return name;
}

}  // namespace netcl::ckpt
