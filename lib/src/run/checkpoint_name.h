#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/directory.h"

namespace netcl::ckpt {

/// What a checkpoint's name tells.
struct NameNumbers {
  std::optional<std::uint64_t> step;   ///< a word says so
  std::optional<std::uint64_t> epoch;  ///< likewise
  std::optional<std::uint64_t> last;   ///< the last number of a name that has neither
  bool apart = false;  ///< whether `last` stands for itself ("model_20"), not behind letters ("resnet50")
  std::string series;  ///< the name with "#" in the place of `last`
  Metrics metrics;     ///< "val_loss=0.25"
};

/// Names in use: a word for a step or an epoch, perhaps one of "-_=." and digits, anywhere in the name;
/// "checkpoint" and "ckpt" count as such words at its end. Without one the last number that is not a date, a decimal, a
/// metric, a version, a rank or "2 of 5". `name` is without an extension.
NameNumbers parse_checkpoint_name(std::string_view name);

/// `name`, with its extension, against a pattern with `{step}`, `{epoch}` or both; nothing where it does not match.
std::optional<NameNumbers> match_checkpoint_name(std::string_view name, std::string_view pattern);

/// True where `pattern` has a place for a number and could be a file's name.
bool is_name_pattern(std::string_view pattern);

/// True if two steps or epochs never get one name: "{step}{epoch}.npz" gives 1, 23 and 12, 3 the same.
bool tells_numbers_apart(std::string_view pattern);

/// The name that `pattern` gives.
std::string format_checkpoint_name(std::string_view pattern, std::uint64_t step, std::uint64_t epoch);

/// Without the extension of a checkpoint's file; nothing where it has none that is known.
std::optional<std::string_view> checkpoint_stem(std::string_view file_name);

}  // namespace netcl::ckpt
