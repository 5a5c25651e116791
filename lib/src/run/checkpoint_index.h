#pragma once

#include <filesystem>
#include <unordered_map>

#include "netcl/ckpt/directory.h"

namespace netcl::ckpt {

/// What was seen at the last look into a directory's checkpoints, so that ten thousand old ones are not opened
/// again at every save. Never the truth: a file whose size, time or inode is another is looked at anew, and so is
/// one so young that it may have been replaced within one tick of the file system's clock.
class CheckpointIndex {
 public:
  static constexpr const char* kFileName = "index.json";

  /// The directory's index; an empty one where there is none, or a wrong one.
  static CheckpointIndex read(const std::filesystem::path& directory);

  /// Fills in what is known of this very file; false if somebody has to look at it.
  bool recall(CheckpointInfo& checkpoint) const;

  /// Replaces all that is known, and writes it where it is new. Only valid ones are worth a note.
  /// Errors: io; invalid_argument where a file of that name is somebody else's.
  Result<void> update(const std::filesystem::path& directory, const std::vector<CheckpointInfo>& checkpoints);

 private:
  void find_youngest();

  std::unordered_map<std::string, CheckpointInfo> by_name_;
  std::int64_t youngest_ns_ = 0;  // no later than the look that it is from
  std::string text_;              // as it is on the disk
};

}  // namespace netcl::ckpt
