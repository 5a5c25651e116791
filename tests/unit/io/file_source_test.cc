#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "bytes.h"
#include "catch.h"
#include "io/file_source.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

Result<std::string> read(const ByteSource& source, std::uint64_t offset_bytes, std::size_t size_bytes) {
  std::string text(size_bytes, '\0');
  const auto done = source.read_at(offset_bytes, std::as_writable_bytes(std::span(text)));
  if (!done) return tl::make_unexpected(done.error());
  return text;
}

}  // namespace

TEST_CASE("file_source: files and memory read alike", "[io]") {
  TemporaryFolder folder;
  const std::string bytes = "0123456789";
  for (const SourcePtr& source : {open_file(folder.write("a", bytes)).value(), source_of(bytes)}) {
    CAPTURE(source->name());
    CHECK(source->size_bytes() == 10);
    CHECK(read(*source, 0, 10).value() == bytes);
    CHECK(read(*source, 4, 3).value() == "456");
    CHECK(read(*source, 10, 0).value().empty());
    for (auto [offset, size] :
         {std::pair<std::uint64_t, std::size_t>{0, 11}, {10, 1}, {11, 0}, {~std::uint64_t{0}, 1}}) {
      CAPTURE(offset, size);
      const auto got = read(*source, offset, size);
      REQUIRE_FALSE(got);
      CHECK(got.error().code == ErrorCode::truncated);
      CHECK(got.error().file == source->name());
      CHECK(got.error().offset_bytes == 10);
    }
  }
}

TEST_CASE("file_source: what cannot be opened says so by its errno", "[io]") {
  TemporaryFolder folder;
  const auto missing = open_file(folder / "missing");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::io);
  CHECK(missing.error().os_errno == ENOENT);
  CHECK(missing.error().file == (folder / "missing").string());
  const auto directory = open_file(folder.path);
  REQUIRE_FALSE(directory);
  CHECK(directory.error().os_errno == EISDIR);
}

TEST_CASE("file_source: a file that shrinks while it is open is truncated, not a signal", "[io][hostile]") {
  TemporaryFolder folder;
  const auto path = folder.write("a", std::string(10'000, 'x'));
  const auto source = open_file(path).value();
  std::filesystem::resize_file(path, 5'000);
  CHECK(read(*source, 0, 5'000));
  const auto got = read(*source, 4'000, 6'000);
  REQUIRE_FALSE(got);
  CHECK(got.error().code == ErrorCode::truncated);
  CHECK(got.error().offset_bytes == 5'000);
}

TEST_CASE("file_source: a file that is replaced while it is open stays the old one", "[io]") {
  TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  const auto source = open_file(path).value();
  std::filesystem::rename(folder.write("b", "new"), path);
  CHECK(read(*source, 0, 3).value() == "old");
}

TEST_CASE("file_source: a pipe is read to its end and can then be read anywhere", "[io]") {
  TemporaryFolder folder;
  const auto path = folder / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const std::string bytes = std::string(3'000'000, 'a') + "end";
  std::thread writer([&] { std::ofstream(path, std::ios::binary) << bytes; });
  const auto source = open_file(path);
  writer.join();
  REQUIRE(source);
  CHECK((*source)->size_bytes() == bytes.size());
  CHECK(read(**source, bytes.size() - 3, 3).value() == "end");
  CHECK(read(**source, 0, 1).value() == "a");
}

TEST_CASE("file_source: standard input is a file or a pipe", "[io]") {
  TemporaryFolder folder;
  const int saved = ::dup(STDIN_FILENO);
  const int file = ::open(folder.write("a", "in a file").c_str(), O_RDONLY);
  REQUIRE(::dup2(file, STDIN_FILENO) == STDIN_FILENO);
  ::close(file);
  const auto source = open_standard_input();
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  REQUIRE(source);
  CHECK((*source)->name() == "(standard input)");
  CHECK(read(**source, 5, 4).value() == "file");
}

TEST_CASE("file_source: only a plain name finds a file beside another", "[io][hostile]") {
  TemporaryFolder folder;
  const auto file = folder.write("m.pkl", "m");
  folder.write("a", "0123456789");
  const auto beside = open_beside(file, "a");
  REQUIRE(beside);
  CHECK((*beside)->size_bytes() == 10);
  CHECK((*beside)->file_id().has_value());
  CHECK(read(**beside, 2, 3) == "234");
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_symlink("a", folder / "link");
  for (const char* name : {"", ".", "..", "sub", "link", "sub/../a", "./a", "/etc/passwd", "a\\b"}) {
    INFO(name);
    const auto refused = open_beside(file, name);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
  }
  const auto absent = open_beside(file, "b");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == ErrorCode::corrupt);
  // A link that takes its place later is not followed either.
  std::filesystem::rename(folder / "link", folder / "a");
  CHECK_FALSE(read(**beside, 0, 1));
}
