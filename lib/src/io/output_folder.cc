// A folder replaced as a whole: mkdir(.tmp) -> files -> fsync -> renameat2(EXCHANGE) -> remove the old.
#include "io/output_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> io_error(const fs::path& file, int number, std::string_view what) {
  Error e;
  e.os_errno = number;
  e.code = ErrorCode::io;
  e.message = fmt::format("{}: {}", what, std::strerror(number));
  e.file = file.string();
  return tl::make_unexpected(std::move(e));
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Some file systems cannot sync a folder (EINVAL); the files in it are safe by then.
Result<void> sync_folder(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && (::fsync(fd) == 0 || errno == EINVAL);
  const int number = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) return io_error(path, number, "cannot write the folder to the disk");
  return {};
}

}  // namespace

Result<OutputFolder> OutputFolder::create(const fs::path& target, bool replace) {
  // "folder/" is the folder; a link is followed, so that it stays one.
  fs::path place = target.has_filename() ? target : target.parent_path();
  std::error_code error;
  if (fs::is_symlink(place, error)) place = fs::weakly_canonical(place, error);
  const bool present = fs::exists(place, error);
  if (present && !fs::is_directory(place, error)) return io_error(target, ENOTDIR, "cannot replace it by a folder");
  if (present && !replace && !fs::is_empty(place, error)) {
    Error e;
    e.code = ErrorCode::invalid_argument;
    e.message = "exists already; --force replaces it";
    e.file = target.string();
    return tl::make_unexpected(std::move(e));
  }
  std::random_device device;
  fs::path temporary;
  for (;;) {
    temporary = parent_of(place) / fmt::format(".netcl-ckpt-{:08x}{:08x}.tmp", device(), device());
    if (::mkdir(temporary.c_str(), 0777) == 0) break;
    if (errno != EEXIST) return io_error(target, errno, "cannot write into its folder");
  }
  OutputFolder out(std::move(place), std::move(temporary));
  if (present) fs::permissions(out.temporary_, fs::status(out.target_, error).permissions(), error);
  if (error) return io_error(target, error.value(), "cannot keep its permissions");
  return out;
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : target_(std::move(other.target_)), temporary_(std::exchange(other.temporary_, {})) {}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

Result<void> OutputFolder::commit() {
  CKPT_CHECK(sync_folder(temporary_));
  // Onto nothing, or onto an empty folder, a plain rename does; it refuses a folder with something in it.
  if (::rename(temporary_.c_str(), target_.c_str()) == 0) {
    temporary_.clear();
    return sync_folder(parent_of(target_));
  }
  if (errno != ENOTEMPTY && errno != EEXIST) return io_error(target_, errno, "cannot put it in place");
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) != 0)
    return io_error(target_, errno, "cannot replace the folder; remove it first");
  return sync_folder(parent_of(target_));  // what is removed now is the old one
}

}  // namespace netcl::ckpt
