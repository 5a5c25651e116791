#pragma once

#include <regex.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// One OLD=NEW over names: a POSIX extended regular expression and what replaces its matches, in which
/// \1 to \9 are groups and \0 is the whole match.
class Renamer {
 public:
  /// Errors: invalid_argument.
  static Result<Renamer> compile(const std::string& pattern, std::string replacement);

  /// Every match is replaced, as sed's s///g does it.
  /// Errors: limit_exceeded for a name of more than 4 KiB: matching may take its square.
  Result<std::string> apply(const std::string& name) const;

 private:
  struct Free {
    void operator()(regex_t* r) const {
      ::regfree(r);
      delete r;
    }
  };
  std::unique_ptr<regex_t, Free> regex_;
  std::string replacement_;
};

/// Several, one after another, over the names of one checkpoint.
class Renames {
 public:
  /// `num_values`: of the checkpoint's tree. What matching may take grows with it.
  /// Errors: those of Renamer::compile().
  static Result<Renames> compile(const std::vector<std::pair<std::string, std::string>>& pairs, std::size_t num_values);

  bool empty() const { return renamers_.empty(); }
  /// Errors: those of Renamer::apply(); limit_exceeded where sharing or depth gave too many long names.
  Result<std::string> apply(std::string name);

 private:
  std::vector<Renamer> renamers_;
  std::uint64_t work_left_ = 0;  // squares of names' lengths
};

}  // namespace netcl::ckpt
