#pragma once

#include <regex.h>

#include <memory>
#include <string>

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

}  // namespace netcl::ckpt
