#include "io/directory_lock.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {

namespace fs = std::filesystem;

TEST_CASE("directory_lock: a deleted lock file lets nobody in", "[io]") {
  const TemporaryFolder folder;
  std::optional<DirectoryLock> first(DirectoryLock::take(folder.path, true).value());
  fs::remove(folder.path / DirectoryLock::kFileName);
  for (const bool create : {true, false}) CHECK_FALSE(DirectoryLock::take(folder.path, create));
  first.reset();
  CHECK(DirectoryLock::take(folder.path, true));
  CHECK_FALSE(DirectoryLock::take(folder.path / "missing", true));
  CHECK(DirectoryLock::take(folder.path / "missing", false));
}

TEST_CASE("directory_lock: a child after fork holds nothing", "[io]") {
  const TemporaryFolder folder;
  int ready[2], done[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  char byte = 0;
  // The holder forks, and dies while its child lives on.
  const pid_t holder = ::fork();
  if (holder == 0) {
    auto lock = DirectoryLock::take(folder.path, true);
    const pid_t child = lock ? ::fork() : -1;
    if (child == 0) {
      const bool both = DirectoryLock::take(folder.path, false).has_value();  // the parent still has it
      byte = both ? 'x' : 'y';
      if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
      ::close(done[1]);
      if (::read(done[0], &byte, 1) < 0) ::_exit(1);  // until the test ends
      ::_exit(0);
    }
    ::pause();
  }
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  CHECK_FALSE(DirectoryLock::take(folder.path, true));
  REQUIRE(::kill(holder, SIGKILL) == 0);
  REQUIRE(::waitpid(holder, nullptr, 0) == holder);
  CHECK(DirectoryLock::take(folder.path, true));
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) ::close(fd);
}

TEST_CASE("directory_lock: a child that destroys its copy leaves other descriptors alone", "[io]") {
  const TemporaryFolder folder, other;
  std::optional<DirectoryLock> held(DirectoryLock::take(folder.path, true).value());
  const pid_t child = ::fork();
  if (child == 0) {
    const auto own = DirectoryLock::take(other.path, true);  // gets the numbers that the copy's had
    held.reset();
    ::_exit(own && !DirectoryLock::take(other.path, true) ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK_FALSE(DirectoryLock::take(folder.path, true));
}

}  // namespace netcl::ckpt
