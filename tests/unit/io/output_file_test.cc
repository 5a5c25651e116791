#include "netcl/ckpt/output_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "catch.h"
#include "sample.h"

using namespace netcl::ckpt;
namespace fs = std::filesystem;

namespace {

Result<void> write_all(const fs::path& path, bool replace, std::string_view text) {
  auto out = OutputFile::create(path, replace);
  if (!out) return tl::make_unexpected(out.error());
  if (auto done = out->preallocate(1000); !done) return done;
  if (auto done = out->write_at(0, std::as_bytes(std::span(text))); !done) return done;
  return out->commit(text.size());
}

}  // namespace

TEST_CASE("output_file: appears whole on commit, with nothing beside it", "[io]") {
  TemporaryFolder folder;
  const fs::path target = folder.path / "a.bin";
  auto out = OutputFile::create(target, false);
  REQUIRE(out);
  REQUIRE(out->write_at(2, std::as_bytes(std::span("cd", 2))));
  REQUIRE(out->write_at(0, std::as_bytes(std::span("ab", 2))));
  CHECK_FALSE(fs::exists(target));
  auto again = out->reopen(4);
  REQUIRE(again);
  char read[4];
  REQUIRE((*again)->read_at(0, std::as_writable_bytes(std::span(read))));
  CHECK(std::string_view(read, 4) == "abcd");
  REQUIRE(out->commit(4));
  CHECK(read_text(target) == "abcd");
  CHECK(folder.num_files() == 1);
}

TEST_CASE("output_file: dropped without commit it leaves the old file and nothing else", "[io]") {
  TemporaryFolder folder;
  const fs::path target = folder.path / "a.bin";
  write_text(target, "old");
  {
    auto out = OutputFile::create(target, true);
    REQUIRE(out);
    REQUIRE(out->write_at(0, std::as_bytes(std::span("new", 3))));
  }
  CHECK(read_text(target) == "old");
  CHECK(folder.num_files() == 1);
}

TEST_CASE("output_file: keeps the mode of what it replaces", "[io]") {
  TemporaryFolder folder;
  const fs::path target = folder.path / "a.bin";
  write_text(target, "old");
  REQUIRE(::chmod(target.c_str(), 0640) == 0);
  REQUIRE(write_all(target, true, "new"));
  struct stat st;
  REQUIRE(::stat(target.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0640);
  CHECK(read_text(target) == "new");
}

TEST_CASE("output_file: keeps the access list and the attributes of what it replaces", "[io]") {
  TemporaryFolder folder;
  const fs::path listed = folder.path / "listed", plain = folder.path / "plain";
  // Version 2; then tag, permissions, id: the owner rw-, the user 12345 rw-, the group ---, the mask rw-, others ---.
  const auto entry = [](char tag, char permissions, const char* id) {
    return std::string{tag, 0, permissions, 0} + std::string(id, 4);
  };
  const char* const none = "\xff\xff\xff\xff";
  const std::string list = std::string("\2\0\0\0", 4) + entry(1, 6, none) + entry(2, 6, "\x39\x30\0\0") +
                           entry(4, 0, none) + entry(16, 6, none) + entry(32, 0, none);
  write_text(listed, "old");
  write_text(plain, "old");
  REQUIRE(::chmod(plain.c_str(), 0640) == 0);
  const char* const name = "system.posix_acl_access";
  if (::setxattr(listed.c_str(), name, list.data(), list.size(), 0) != 0) return;  // a file system without them
  // What the folder gives to new files is not what the old one had.
  REQUIRE(::setxattr(folder.path.c_str(), "system.posix_acl_default", list.data(), list.size(), 0) == 0);
  const bool users = ::setxattr(listed.c_str(), "user.note", "mine", 4, 0) == 0;
  for (const fs::path& target : {listed, plain}) REQUIRE(write_all(target, true, "new"));
  char value[256];
  const ssize_t n = ::getxattr(listed.c_str(), name, value, sizeof value);
  REQUIRE(n >= 0);
  CHECK(std::string(value, static_cast<std::size_t>(n)) == list);
  if (users) {
    CHECK(::getxattr(listed.c_str(), "user.note", value, sizeof value) == 4);
    CHECK(std::string_view(value, 4) == "mine");
  }
  struct stat st;
  REQUIRE(::stat(plain.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0640);
  CHECK(::getxattr(plain.c_str(), name, value, sizeof value) < 0);
}

TEST_CASE("output_file: replaces no device, no pipe and no socket", "[io]") {
  TemporaryFolder folder;
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  fs::create_symlink("pipe", folder.path / "link");
  for (const fs::path& target : {fs::path("/dev/null"), folder.path / "pipe", folder.path / "link"}) {
    CAPTURE(target);
    for (const bool replace : {true, false}) {
      const auto out = OutputFile::create(target, replace);
      REQUIRE_FALSE(out);
      CHECK(out.error().code == ErrorCode::invalid_argument);
      CHECK(out.error().file == target.string());
    }
  }
  CHECK(fs::is_fifo(folder.path / "pipe"));
  CHECK(folder.num_files() == 2);
}

TEST_CASE("output_file: beyond the limit on a file's size is an error, not a signal", "[io]") {
  TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const struct rlimit limit = {1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    bool right = true;
    for (const fs::path& target : {folder.path / "a", fs::path("/dev/shm/netcl-ckpt-test-limit")}) {
      auto out = OutputFile::create(target, true);
      const std::vector<std::byte> bytes(1001);
      out->expect_at_most(5000);
      const auto reserved = out->preallocate(1001), written = out->write_at(0, bytes), synced = out->sync(1001);
      for (const auto* result : {&reserved, &written, &synced})
        right = right && !*result && result->error().code == ErrorCode::io && result->error().os_errno == EFBIG;
    }
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

TEST_CASE("output_file: names of any length are right or an error", "[io]") {
  TemporaryFolder folder;
  REQUIRE(write_all(folder.path / std::string(255, 'a'), false, "x"));
  REQUIRE(write_all(folder.path / std::string(255, 'a'), true, "y"));
  CHECK(read_text(folder.path / std::string(255, 'a')) == "y");
  for (const fs::path& target : {folder.path / std::string(256, 'a'), folder.path / std::string(5000, 'a'),
                                 folder.path / "", folder.path / "a" / ""}) {
    CAPTURE(target);
    const auto out = OutputFile::create(target, true);
    REQUIRE_FALSE(out);
    CHECK(out.error().code == ErrorCode::io);
    CHECK(out.error().file == target.string());
  }
}

TEST_CASE("output_file: a scratch file is in TMPDIR and leaves nothing", "[io]") {
  TemporaryFolder folder;
  const char* const before = ::getenv("TMPDIR");
  const std::string old = before == nullptr ? "" : before;
  ::setenv("TMPDIR", folder.path.c_str(), 1);
  {
    auto out = OutputFile::scratch();
    REQUIRE(out);
    REQUIRE(out->write_at(0, std::as_bytes(std::span("ab", 2))));
    const auto back = out->reopen(2);
    REQUIRE(back);
    CHECK((*back)->size_bytes() == 2);
    CHECK(folder.num_files() == 0);
  }
  ::setenv("TMPDIR", (folder.path / "missing").c_str(), 1);
  const auto missing = OutputFile::scratch();
  before == nullptr ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", old.c_str(), 1);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().os_errno == ENOENT);
  CHECK(missing.error().file == (folder.path / "missing").string());
}

TEST_CASE("output_file: a new file gets the mode that umask leaves", "[io]") {
  TemporaryFolder folder;
  const mode_t old = ::umask(027);
  REQUIRE(write_all(folder.path / "a.bin", false, "x"));
  ::umask(old);
  struct stat st;
  REQUIRE(::stat((folder.path / "a.bin").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0640);
}

TEST_CASE("output_file: refuses an existing target unless told to replace it", "[io]") {
  TemporaryFolder folder;
  const fs::path target = folder.path / "a.bin";
  auto early = OutputFile::create(target, false);
  REQUIRE(early);
  write_text(target, "old");
  const auto late = OutputFile::create(target, false);
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::invalid_argument);
  const auto committed = early->commit(0);  // the target appeared after create()
  REQUIRE_FALSE(committed);
  CHECK(committed.error().code == ErrorCode::invalid_argument);
  CHECK(read_text(target) == "old");
}

TEST_CASE("output_file: follows a symbolic link and leaves it a link", "[io]") {
  TemporaryFolder folder;
  fs::create_directory(folder.path / "real");
  write_text(folder.path / "real" / "a.bin", "old");
  fs::create_symlink("real/a.bin", folder.path / "link");
  fs::create_symlink("real/b.bin", folder.path / "dangling");
  REQUIRE(write_all(folder.path / "link", true, "new"));
  REQUIRE(write_all(folder.path / "dangling", false, "made"));
  CHECK(fs::is_symlink(folder.path / "link"));
  CHECK(read_text(folder.path / "real" / "a.bin") == "new");
  CHECK(read_text(folder.path / "real" / "b.bin") == "made");
  fs::create_symlink("loop", folder.path / "loop");
  CHECK_FALSE(write_all(folder.path / "loop", true, "x"));
}

TEST_CASE("output_file: names the target and the reason where it cannot write", "[io]") {
  TemporaryFolder folder;
  CHECK(OutputFile::create(folder.path, true).error().code == ErrorCode::io);
  const auto missing = OutputFile::create(folder.path / "no" / "a.bin", false);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::io);
  CHECK(missing.error().file == (folder.path / "no" / "a.bin").string());
  auto out = OutputFile::create(folder.path / "a.bin", false);
  REQUIRE(out);
  CHECK(out->preallocate(std::uint64_t{1} << 60).error().code == ErrorCode::io);
}

TEST_CASE("output_file: in memory, ranges are written in any order and whatever their alignment", "[io]") {
  struct statfs system;
  if (::statfs("/dev/shm", &system) != 0 || system.f_type != TMPFS_MAGIC) return;
  const std::filesystem::path path = "/dev/shm/netcl-ckpt-test-" + std::to_string(::getpid());
  std::vector<std::byte> bytes(3'000'001);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 253);
  {
    OutputFile out = OutputFile::create(path, false).value();
    REQUIRE(out.preallocate(bytes.size()));
    std::atomic<bool> written = true;  // Catch's assertions are for one thread
    std::vector<std::jthread> writers;
    for (std::size_t begin = 0; begin < bytes.size(); begin += 700'001) {
      writers.emplace_back([&, begin] {
        const std::size_t n = std::min<std::size_t>(700'001, bytes.size() - begin);
        if (!out.write_at(begin, std::span(bytes).subspan(begin, n))) written = false;
      });
    }
    writers.clear();
    REQUIRE(written);
    REQUIRE(out.write_at(5, std::span(bytes).subspan(5, 10)));
    // Beyond what was announced, and less than that in the end.
    REQUIRE(out.write_at(bytes.size() - 1, std::span(bytes).first(100'000)));
    REQUIRE(out.commit(bytes.size() - 1));
  }
  const auto source = open_file(path).value();
  REQUIRE(source->size_bytes() == bytes.size() - 1);
  std::vector<std::byte> back(bytes.size() - 1);
  REQUIRE(source->read_at(0, back));
  CHECK(std::equal(back.begin(), back.end(), bytes.begin()));
  std::filesystem::remove(path);
  OutputFile too_large = OutputFile::create(path, false).value();
  const auto refused = too_large.preallocate(std::uint64_t{1} << 50);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().os_errno == ENOSPC);
}

TEST_CASE("output_file: what a killed writer left goes, what is being written stays", "[io]") {
  const TemporaryFolder folder;
  const fs::path abandoned = folder.path / ".netcl-ckpt-0123456789abcdef.tmp",
                 written = folder.path / ".netcl-ckpt-1.tmp";
  for (const fs::path& p : {abandoned, written, folder.path / ".netcl-ckpt.lock", folder.path / "a.tmp"})
    write_text(p, "half");
  const int fd = ::open(written.c_str(), O_RDONLY);
  REQUIRE(::flock(fd, LOCK_EX) == 0);
  OutputFile::remove_abandoned(folder.path);
  CHECK_FALSE(fs::exists(abandoned));
  CHECK(folder.num_files() == 3);
  ::close(fd);
  OutputFile::remove_abandoned(folder.path);
  CHECK(folder.num_files() == 2);
  OutputFile::remove_abandoned(folder.path / "missing");
}
