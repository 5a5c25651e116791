// Which files a command is to work on.
#include "files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "netcl/ckpt/open.h"

namespace netcl::ckpt::app {
namespace {

namespace fs = std::filesystem;

/// By its name, so that a damaged one is not passed over in silence, or else by its content.
bool is_checkpoint(const fs::path& path) {
  constexpr std::array kExtensions = {".npz", ".npy", ".netcl", ".pkl",         ".pickle",
                                      ".pt",  ".pth", ".ckpt",  ".safetensors", ".msgpack"};
  return std::find(kExtensions.begin(), kExtensions.end(), path.extension()) != kExtensions.end() ||
         looks_like_checkpoint(path);
}

Error io_error(const std::string& path, std::string message) {
  Error e;
  e.code = ErrorCode::io;
  e.file = path;
  e.message = std::move(message);
  return e;
}

}  // namespace

bool FileList::was_removed(const std::string& path, const Error& error) const {
  return error.os_errno == ENOENT && error.file == path && listed.contains(path);
}

Result<FileList> expand_files(const std::vector<std::string>& arguments) {
  FileList out;
  out.many = arguments.size() > 1;
  for (const std::string& argument : arguments) {
    std::error_code failed;
    if (argument == "-" || !fs::is_directory(argument, failed) || is_npy_folder(argument)) {
      out.paths.push_back(argument);
      continue;
    }
    out.many = true;
    const std::size_t before = out.paths.size();
    for (fs::directory_iterator it(argument, failed), end; !failed && it != end; it.increment(failed)) {
      std::error_code ignored;
      if (it->is_regular_file(ignored) && is_checkpoint(it->path())) out.paths.push_back(it->path().string());
    }
    if (failed) return tl::make_unexpected(io_error(argument, "cannot read the directory: " + failed.message()));
    if (out.paths.size() == before) return tl::make_unexpected(io_error(argument, "no checkpoint in this directory"));
    std::sort(out.paths.begin() + static_cast<std::ptrdiff_t>(before), out.paths.end());
    out.listed.insert(out.paths.begin() + static_cast<std::ptrdiff_t>(before), out.paths.end());
  }
  return out;
}

}  // namespace netcl::ckpt::app
