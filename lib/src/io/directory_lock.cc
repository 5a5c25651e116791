// A lock that survives nobody. A file that says "locked" by being there (O_EXCL, a pid in it) outlives a
// killed run and then stops the next one; flock goes with its last descriptor.
//
// Two are taken: on the directory itself, which nobody can delete and make anew as he can a file in it, and on a file
// in it, for file systems (NFS) that lock no directories, and to say who the holder is.
//
// A child after fork() shares its parent's locks as long as it has the descriptors, and would hold the directory after
// the parent's death. So they are closed in the child.
#include "io/directory_lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// All descriptors of this process that hold a lock. Never destroyed: fork() may come at any time.
class HeldDescriptors {
 public:
  static HeldDescriptors& all() {
    static HeldDescriptors& one = *new HeldDescriptors;
    return one;
  }

  /// Takes `fd`. Returns a number for drop(): that of a descriptor may be another's in a child.
  std::uint64_t add(int fd) {
    const std::lock_guard held(mutex_);
    held_.push_back({++last_id_, fd});
    return last_id_;
  }

  void drop(std::uint64_t id) {
    const std::lock_guard held(mutex_);
    const auto it = std::find_if(held_.begin(), held_.end(), [&](const Entry& e) { return e.id == id; });
    if (it == held_.end()) return;  // a child's
    ::close(it->fd);
    held_.erase(it);
  }

 private:
  struct Entry {
    std::uint64_t id;
    int fd;
  };

  HeldDescriptors() {
    ::pthread_atfork([] { all().mutex_.lock(); }, [] { all().mutex_.unlock(); },
                     [] {
                       for (const Entry& e : all().held_) ::close(e.fd);
                       all().held_.clear();
                       all().mutex_.unlock();
                     });
  }

  std::mutex mutex_;
  std::vector<Entry> held_;
  std::uint64_t last_id_ = 0;
};

/// What the holder wrote: " (process 123)", or "".
std::string holder(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return "";
  char text[16];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  ::close(fd);
  std::string digits;
  for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; ++i) digits += text[i];
  return digits.empty() ? "" : " (process " + digits + ")";
}

/// Whether `path` still names the file that `fd` is.
bool is_in_place(int fd, const std::filesystem::path& path) {
  struct stat ours, there;
  return ::fstat(fd, &ours) == 0 && ::lstat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
         ours.st_dev == there.st_dev;
}

enum class Taken : std::uint8_t { yes, busy, no_locks, error };

Taken take_flock(int fd) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return Taken::busy;
    // NFS refuses with EBADF a lock on what is not open for writing, as no directory can be.
    const bool none = errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS || errno == EBADF || errno == EINVAL;
    return none ? Taken::no_locks : Taken::error;
  }
  return Taken::yes;
}

}  // namespace

Result<DirectoryLock> DirectoryLock::take(const std::filesystem::path& directory, bool create) {
  return guarded([&]() -> Result<DirectoryLock> {
    constexpr int kTries = 16;  // files that somebody deletes meanwhile
    const std::filesystem::path path = directory / kFileName;
    const auto busy = [&] {
      return fail_in(directory.string(), ErrorCode::invalid_argument,
                     "another run saves into this directory{}; give each its own", holder(path));
    };
    DirectoryLock lock;
    const int folder = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && create) return fail_io(errno, directory.string(), "cannot open the directory");
    if (folder >= 0) {
      lock.folder_ = HeldDescriptors::all().add(folder);
      const Taken taken = take_flock(folder);
      if (taken == Taken::busy) return busy();
      if (taken == Taken::error) return fail_io(errno, directory.string(), "cannot lock the directory");
    }
    for (int i = 0; i < kTries; ++i) {
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0666);
      if (fd < 0 && !create && errno == ENOENT) return lock;
      if (fd < 0) return fail_io(errno, path.string(), "cannot open the lock file");
      HeldDescriptors::all().drop(std::exchange(lock.file_, HeldDescriptors::all().add(fd)));
      const Taken taken = take_flock(fd);
      if (taken == Taken::busy) return busy();
      if (taken == Taken::error) return fail_io(errno, path.string(), "cannot lock it");
      if (!is_in_place(fd, path)) continue;                       // a lock on a removed file excludes nobody
      const std::string pid = std::to_string(::getpid()) + "\n";  // for the message above, nothing else
      if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) return lock;
      return lock;
    }
    return busy();
  });
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept
    : folder_(std::exchange(other.folder_, 0)), file_(std::exchange(other.file_, 0)) {}
DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(file_, other.file_);
  return *this;
}
DirectoryLock::~DirectoryLock() {
  for (const std::uint64_t id : {file_, folder_}) {
    if (id != 0) HeldDescriptors::all().drop(id);
  }
}

}  // namespace netcl::ckpt
