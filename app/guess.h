#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/checkpoint.h"

namespace netcl::ckpt::app {

/// "; did you mean 'inspect'?", or "" where none of the candidates is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

/// Warns of each pattern's nearest name, where no tensor of `checkpoint` was listed.
void warn_no_match(const std::vector<std::string>& patterns, const Checkpoint& checkpoint);

}  // namespace netcl::ckpt::app
