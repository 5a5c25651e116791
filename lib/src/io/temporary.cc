#include "io/temporary.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <string_view>

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPrefix = ".netcl-ckpt-", kSuffix = ".tmp";

}  // namespace

std::string random_suffix() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

std::string temporary_name() { return fmt::format("{}{}{}", kPrefix, random_suffix(), kSuffix); }

bool claim_temporary(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat st;
  return ::fstat(fd, &st) == 0 && st.st_nlink > 0;  // not removed between its making and the lock
}

void remove_abandoned_in(const fs::path& directory) {
  std::error_code failed;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const int fd = ::open(it->path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    std::error_code ignored;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) fs::remove_all(it->path(), ignored);
    ::close(fd);
  }
}

}  // namespace netcl::ckpt
