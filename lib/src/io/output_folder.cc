// A folder replaced as a whole: mkdir(.tmp) -> files -> fsync -> renameat2(EXCHANGE) -> remove the old.
//
// If the file system cannot exchange two names (FUSE, NFS), the old folder steps aside under a name that is not hidden
// and that nobody clears away: whoever is killed between the two renames finds it there.
#include "io/output_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/try.h"
#include "io/file_attributes.h"
#include "io/temporary.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Some file systems cannot sync a folder (EINVAL); the files in it are safe by then.
Result<void> sync_folder(const fs::path& path, const fs::path& shown, std::string_view what) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int number = fd < 0 ? errno : 0;
  while (fd >= 0 && ::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    if (errno != EINVAL) number = errno;
    break;
  }
  if (fd >= 0) ::close(fd);
  if (number != 0) return fail_io(number, shown.string(), what);
  return {};
}

}  // namespace

Result<OutputFolder> OutputFolder::create(const fs::path& target, bool replace) {
  return guarded([&]() -> Result<OutputFolder> {
    // "folder/" is the folder; a link is followed, so that it stays one.
    fs::path place = target.has_filename() ? target : target.parent_path();
    std::error_code ignored, error;
    if (fs::is_symlink(place, ignored)) place = fs::weakly_canonical(place, error);
    struct stat old;
    const bool present = ::stat(place.c_str(), &old) == 0;
    if (present && !S_ISDIR(old.st_mode)) return fail_io(ENOTDIR, target.string(), "cannot replace it by a folder");
    const bool empty = !present || fs::is_empty(place, error);
    if (error) return fail_io(error.value(), target.string(), "cannot look into it");
    if (!empty && !replace) {
      return fail_exists(target.string());
    }
    remove_abandoned_in(parent_of(place));
    for (;;) {
      const fs::path temporary = parent_of(place) / temporary_name();
      if (::mkdir(temporary.c_str(), 0777) != 0) {
        if (errno == EEXIST) continue;
        return fail_io(errno, target.string(), "cannot write into its folder");
      }
      const int lock = ::open(temporary.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      const int number = errno;
      if (lock < 0 && number == ENOENT) continue;  // taken for abandoned before it could be claimed
      OutputFolder out(std::move(place), temporary, lock);
      if (lock < 0) return fail_io(number, target.string(), "cannot write into its folder");
      if (!claim_temporary(lock)) {
        place = std::move(out.target_);
        continue;
      }
      if (present) CKPT_CHECK(keep_attributes(lock, out.target_, old, target.string()));
      return out;
    }
  });
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      lock_(std::exchange(other.lock_, -1)) {}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

Result<void> OutputFolder::exchange() {
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
    return fail_io(errno, target_.string(), "cannot put it in place");
  const fs::path aside = target_.string() + ".replaced-" + random_suffix();
  if (::rename(target_.c_str(), aside.c_str()) != 0) return fail_io(errno, target_.string(), "cannot put it in place");
  if (::rename(temporary_.c_str(), target_.c_str()) == 0) {
    temporary_ = aside;
    return {};
  }
  const int number = errno;
  if (::rename(aside.c_str(), target_.c_str()) == 0) return fail_io(number, target_.string(), "cannot put it in place");
  return fail_io(number, target_.string(),
                 fmt::format("cannot put it in place; the old folder is now '{}'", aside.string()));
}

Result<void> OutputFolder::commit() {
  return guarded([&]() -> Result<void> {
    constexpr std::string_view kNotDurable =
        "the new folder is in place, but perhaps not after a power cut: cannot write its folder to the disk";
    CKPT_CHECK(sync_folder(temporary_, target_, "cannot write the folder to the disk"));
    // Onto nothing, or onto an empty folder, a plain rename does; it refuses a folder with something in it.
    if (::rename(temporary_.c_str(), target_.c_str()) == 0) {
      temporary_.clear();
      return sync_folder(parent_of(target_), target_, kNotDurable);
    }
    if (errno != ENOTEMPTY && errno != EEXIST) return fail_io(errno, target_.string(), "cannot put it in place");
    CKPT_CHECK(exchange());
    const fs::path old = std::exchange(temporary_, {});
    std::error_code failed;
    auto synced = sync_folder(parent_of(target_), target_, kNotDurable);
    if (!synced) return synced;  // and the old one stays
    fs::remove_all(old, failed);
    if (!failed) return {};
    return fail_io(
        failed.value(), target_.string(),
        fmt::format("the new folder is in place; what it replaced cannot be removed and is now '{}'", old.string()));
  });
}

}  // namespace netcl::ckpt
