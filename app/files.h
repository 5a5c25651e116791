#pragma once

#include <functional>
#include <string>
#include <vector>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt::app {

/// The files that arguments name: a directory stands for the checkpoints in it, by name; "-" stays.
struct FileList {
  std::vector<std::string> paths;
  bool many = false;  ///< more than one was asked for, or a directory: JSON is {"files": […]}
};

/// Errors: io, where a directory cannot be read or has no checkpoint in it.
Result<FileList> expand_files(const std::vector<std::string>& arguments);

}  // namespace netcl::ckpt::app
