#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt::app {

/// The files that arguments name: a directory stands for the checkpoints in it, by name; "-" stays.
struct FileList {
  std::vector<std::string> paths;
  std::unordered_set<std::string> listed;  ///< those that a directory stands for
  bool many = false;                       ///< more than one was asked for, or a directory: JSON is {"files": […]}

  /// Whether what a directory listed was removed since, as prune does: nothing that anybody asked for by name.
  bool was_removed(const std::string& path, const Error& error) const;
};

/// Errors: io, where a directory cannot be read or has no checkpoint in it.
Result<FileList> expand_files(const std::vector<std::string>& arguments);

}  // namespace netcl::ckpt::app
