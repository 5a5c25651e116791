// Files and memory as ByteSource. pread(2) in the caller's thread: from the page cache it runs at
// memory speed, and unlike a mapping it reports a file that shrinks as an error, not as SIGBUS.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/try.h"
#include "io/file_source.h"
#include "io/spool.h"

namespace netcl::ckpt {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(int fd, std::uint64_t size_bytes, std::string name, std::optional<FileId> id = {})
      : fd_(fd), size_bytes_(size_bytes), name_(std::move(name)), id_(id) {}
  ~FileSource() override { ::close(fd_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::uint64_t size_bytes() const override { return size_bytes_; }
  const std::string& name() const override { return name_; }
  std::optional<FileId> file_id() const override { return id_; }

  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    if (offset_bytes > size_bytes_ || dst.size() > size_bytes_ - offset_bytes) return ends_early(size_bytes_);
    while (!dst.empty()) {
      const ssize_t n = ::pread(fd_, dst.data(), dst.size(), static_cast<off_t>(offset_bytes));
      if (n < 0) {
        if (errno == EINTR) continue;
        return fail_io(errno, name_, "cannot read");
      }
      if (n == 0) return ends_early(offset_bytes);
      dst = dst.subspan(static_cast<std::size_t>(n));
      offset_bytes += static_cast<std::uint64_t>(n);
    }
    return {};
  }

 private:
  tl::unexpected<Error> ends_early(std::uint64_t at) const {
    Error e;
    e.code = ErrorCode::truncated;
    e.message = "the file ends early";
    e.file = name_;
    e.offset_bytes = at;
    return tl::make_unexpected(std::move(e));
  }

  int fd_;
  std::uint64_t size_bytes_;
  std::string name_;
  std::optional<FileId> id_;
};

/// A file that is opened anew for each read.
class ReopeningSource final : public ByteSource {
 public:
  using Open = Result<SourcePtr> (*)(const std::filesystem::path& path);

  /// `id`: what file_id() gives.
  ReopeningSource(Open open, std::filesystem::path path, std::uint64_t size_bytes, std::optional<FileId> id = {})
      : open_(open), path_(std::move(path)), name_(path_.string()), size_bytes_(size_bytes), id_(id) {}
  std::uint64_t size_bytes() const override { return size_bytes_; }
  const std::string& name() const override { return name_; }
  std::optional<FileId> file_id() const override { return id_; }
  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    CKPT_TRY(const SourcePtr source, open_(path_));
    return source->read_at(offset_bytes, dst);
  }

 private:
  Open open_;
  std::filesystem::path path_;
  std::string name_;
  std::uint64_t size_bytes_;
  std::optional<FileId> id_;
};

/// A descriptor of a regular file that is no link. A pipe of this name is not waited for.
Result<SourcePtr> open_regular(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return fail(ErrorCode::corrupt, "there is no such file");
  if (fd < 0 && errno == ELOOP) return fail(ErrorCode::unsupported, "it is a link, which is not followed");
  if (fd < 0) return fail_io(errno, path.string(), "cannot open");
  struct stat st;
  if (::fstat(fd, &st) != 0) {
    const int number = errno;
    ::close(fd);
    return fail_io(number, path.string(), "cannot open");
  }
  if (!S_ISREG(st.st_mode)) {
    ::close(fd);
    return fail(ErrorCode::unsupported, "it is no regular file");
  }
  return SourcePtr(std::make_shared<FileSource>(fd, static_cast<std::uint64_t>(st.st_size), path.string(),
                                                FileId{st.st_dev, st.st_ino}));
}

class MemorySource final : public ByteSource {
 public:
  MemorySource(std::vector<std::byte> bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    if (offset_bytes > bytes_.size() || dst.size() > bytes_.size() - offset_bytes) {
      Error e;
      e.code = ErrorCode::truncated;
      e.message = "the data ends early";
      e.file = name_;
      e.offset_bytes = bytes_.size();
      return tl::make_unexpected(std::move(e));
    }
    if (!dst.empty()) std::memcpy(dst.data(), bytes_.data() + offset_bytes, dst.size());
    return {};
  }

 private:
  std::vector<std::byte> bytes_;
  std::string name_;
};

/// A copy of everything that `fd` gives.
Result<SourcePtr> spool(int fd, const std::string& name) {
  CKPT_TRY(Spool copy, Spool::create(name));
  std::vector<std::byte> block(std::size_t{1} << 20);
  for (;;) {
    const ssize_t n = ::read(fd, block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_io(errno, name, "cannot read");
    if (n == 0) return std::move(copy).finish(std::nullopt);
    CKPT_CHECK(copy.write(std::span(block).first(static_cast<std::size_t>(n))));
  }
}

}  // namespace

Result<SourcePtr> source_of_descriptor(int fd, const std::string& name) {
  struct stat st;
  if (::fstat(fd, &st) != 0) {
    const int number = errno;
    ::close(fd);
    return fail_io(number, name, "cannot open");
  }
  if (S_ISDIR(st.st_mode)) {
    ::close(fd);
    return fail_io(EISDIR, name, "");
  }
  if (S_ISREG(st.st_mode)) {
    return SourcePtr(
        std::make_shared<FileSource>(fd, static_cast<std::uint64_t>(st.st_size), name, FileId{st.st_dev, st.st_ino}));
  }
  auto copy = spool(fd, name);
  ::close(fd);
  return copy;
}

Result<SourcePtr> open_beside(const std::filesystem::path& path, std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos)
    return fail(ErrorCode::unsupported, "it is no name of a file in the same folder");
  const std::filesystem::path beside = path.parent_path() / std::string(name);
  CKPT_TRY(const SourcePtr source, open_regular(beside));
  // Thousands may lie beside one file: none stays open.
  return SourcePtr(std::make_shared<ReopeningSource>(open_regular, beside, source->size_bytes(), source->file_id()));
}

Result<Spool> Spool::create(std::string name) {
  const char* dir = std::getenv("TMPDIR");
  std::string pattern = fmt::format("{}/netcl-ckpt-XXXXXX", dir != nullptr && *dir != '\0' ? dir : "/tmp");
  const int fd = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (fd < 0) return fail_io(errno, name, "cannot make a temporary file to hold it (TMPDIR)");
  ::unlink(pattern.c_str());
  return Spool(fd, std::move(name));
}

Spool::Spool(Spool&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)), size_bytes_(other.size_bytes_) {}

Spool::~Spool() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> Spool::write(std::span<const std::byte> bytes) {
  size_bytes_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_io(errno, name_, "cannot hold it in a temporary file (TMPDIR)");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

SourcePtr Spool::finish(std::optional<FileId> id) && {
  return std::make_shared<FileSource>(std::exchange(fd_, -1), size_bytes_, std::move(name_), id);
}

Result<SourcePtr> open_file(const std::filesystem::path& path) {
  return guarded([&]() -> Result<SourcePtr> {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_io(errno, path.string(), "cannot open");
    return source_of_descriptor(fd, path.string());
  });
}

Result<SourcePtr> open_standard_input() {
  return guarded([&]() -> Result<SourcePtr> {
    const int fd = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return fail_io(errno, "(standard input)", "cannot open");
    return source_of_descriptor(fd, "(standard input)");
  });
}

Result<SourcePtr> reopening_file(const std::filesystem::path& path) {
  CKPT_TRY(const SourcePtr source, open_file(path));
  return SourcePtr(std::make_shared<ReopeningSource>(open_file, path, source->size_bytes()));
}

SourcePtr memory_source(std::vector<std::byte> bytes, std::string name) {
  return std::make_shared<MemorySource>(std::move(bytes), std::move(name));
}

}  // namespace netcl::ckpt
