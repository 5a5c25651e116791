#include "io/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {

namespace fs = std::filesystem;

TEST_CASE("output_folder: replaces a folder as a whole, and keeps its permissions", "[io]") {
  const TemporaryFolder folder;
  const fs::path target = folder.path / "out";
  fs::create_directory(target);
  write_text(target / "old", "1");
  REQUIRE(::chmod(target.c_str(), 0750) == 0);
  CHECK(OutputFolder::create(target, false).error().code == ErrorCode::invalid_argument);
  {
    const auto dropped = OutputFolder::create(target, true);
    REQUIRE(dropped);
    write_text(dropped->path() / "new", "2");
  }
  CHECK(fs::exists(target / "old"));
  CHECK(folder.num_files() == 1);
  auto out = OutputFolder::create(target / "", true);
  REQUIRE(out);
  write_text(out->path() / "new", "2");
  REQUIRE(out->commit());
  CHECK(read_text(target / "new") == "2");
  CHECK_FALSE(fs::exists(target / "old"));
  CHECK(folder.num_files() == 1);
  struct stat st;
  REQUIRE(::stat(target.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0750);
}

TEST_CASE("output_folder: what a killed one left goes with the next, what is being written stays", "[io]") {
  const TemporaryFolder folder;
  for (const char* name : {".netcl-ckpt-0123456789abcdef.tmp", ".netcl-ckpt-1.tmp"}) {
    fs::create_directory(folder.path / name);
    write_text(folder.path / name / "a.npy", "half");
  }
  const int held = ::open((folder.path / ".netcl-ckpt-1.tmp").c_str(), O_RDONLY | O_DIRECTORY);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  auto first = OutputFolder::create(folder.path / "a", false);
  REQUIRE(first);
  CHECK_FALSE(fs::exists(folder.path / ".netcl-ckpt-0123456789abcdef.tmp"));
  CHECK(fs::exists(folder.path / ".netcl-ckpt-1.tmp" / "a.npy"));
  auto second = OutputFolder::create(folder.path / "b", false);  // leaves the first one's alone
  REQUIRE(second);
  REQUIRE(first->commit());
  REQUIRE(second->commit());
  ::close(held);
  CHECK(fs::is_directory(folder.path / "a"));
  CHECK(fs::is_directory(folder.path / "b"));
}

TEST_CASE("output_folder: names what is in its way", "[io]") {
  const TemporaryFolder folder;
  write_text(folder.path / "file", "");
  CHECK(OutputFolder::create(folder.path / "file", true).error().os_errno == ENOTDIR);
  const auto missing = OutputFolder::create(folder.path / "no" / "out", true);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().os_errno == ENOENT);
  CHECK(missing.error().file == (folder.path / "no" / "out").string());
}

}  // namespace netcl::ckpt
