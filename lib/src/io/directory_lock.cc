// A lock that survives nobody. A file that says "locked" by being there (O_EXCL, a pid in it) outlives a
// killed run and then stops the next one; flock goes with its last descriptor.
#include "io/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

tl::unexpected<Error> lock_error(const std::filesystem::path& path) {
  Error e;
  e.code = ErrorCode::io;
  e.os_errno = errno;
  e.message = fmt::format("cannot open the lock file: {}", std::strerror(e.os_errno));
  e.file = path.string();
  return tl::make_unexpected(std::move(e));
}

/// What the holder wrote: " (process 123)", or "".
std::string holder(int fd) {
  char text[16];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  std::string digits;
  for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; ++i) digits += text[i];
  return digits.empty() ? "" : " (process " + digits + ")";
}

}  // namespace

Result<DirectoryLock> DirectoryLock::take(const std::filesystem::path& directory, bool create) {
  return guarded([&]() -> Result<DirectoryLock> {
    const std::filesystem::path path = directory / kFileName;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0666);
    if (fd < 0 && !create && errno == ENOENT) return DirectoryLock(-1);
    if (fd < 0) return lock_error(path);
    DirectoryLock lock(fd);
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) {
        auto busy =
            fail(ErrorCode::invalid_argument, "another run saves into this directory{}; give each its own", holder(fd));
        busy.value().file = directory.string();
        return busy;
      }
      if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS) return lock;
      return lock_error(path);
    }
    const std::string pid = std::to_string(::getpid()) + "\n";  // for the message above, nothing else
    if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) return lock;
    return lock;
  });
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace netcl::ckpt
