// Durable replacement of a file.
//
//   open(dir, O_TMPFILE)  ->  write  ->  fsync  ->  linkat(target)          new file
//                                               ->  linkat(.tmp), rename    replaced file: linkat cannot
//                                               ->  fsync(dir)
//
// O_TMPFILE leaves nothing behind however the process ends. Where the file system lacks it (NFS,
// some FUSE) the temporary has a name from the start, and a kill -9 can leave it; a signal that
// the caller turns into a clean return cannot. rename(2) without fsync, which is what most savers
// do, may leave an empty file after a power cut: ext4 guards that case, XFS does not.
#include "netcl/ckpt/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr int kTries = 16;  // names that some other process may hold

std::string random_name() {
  std::random_device device;
  return fmt::format(".netcl-ckpt-{:08x}{:08x}.tmp", device(), device());
}

}  // namespace

struct OutputFile::State {
  std::filesystem::path target;  // symbolic links resolved
  std::string shown;             // as the caller named it
  bool replace = false;
  int folder = -1;
  int fd = -1;
  std::string temporary;  // its name in the folder; empty while unnamed

  ~State() {
    if (!temporary.empty()) ::unlinkat(folder, temporary.c_str(), 0);
    if (fd >= 0) ::close(fd);
    if (folder >= 0) ::close(folder);
  }

  tl::unexpected<Error> io_error(std::string_view what) const {
    Error e;
    e.os_errno = errno;
    e.code = ErrorCode::io;
    e.message = fmt::format("{}: {}", what, std::strerror(e.os_errno));
    e.file = shown;
    return tl::make_unexpected(std::move(e));
  }

  tl::unexpected<Error> exists() const {
    Error e;
    e.code = ErrorCode::invalid_argument;
    e.message = "exists already; --force replaces it";
    e.file = shown;
    return tl::make_unexpected(std::move(e));
  }

  Result<void> open_temporary() {
    fd = ::openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (fd >= 0) return {};
    for (int i = 0; i < kTries; ++i) {
      std::string name = random_name();
      fd = ::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0) {
        temporary = std::move(name);
        return {};
      }
      if (errno != EEXIST) break;
    }
    return io_error("cannot write into its folder");
  }

  /// Gives the unnamed file the name `name`; EEXIST in errno where that is taken.
  bool link_as(const char* name) const {
    const std::string self = fmt::format("/proc/self/fd/{}", fd);
    return ::linkat(AT_FDCWD, self.c_str(), folder, name, AT_SYMLINK_FOLLOW) == 0;
  }

  Result<void> name_temporary() {
    for (int i = 0; i < kTries; ++i) {
      std::string name = random_name();
      if (link_as(name.c_str())) {
        temporary = std::move(name);
        return {};
      }
      if (errno != EEXIST) break;
    }
    return io_error("cannot name the temporary file");
  }

  Result<void> put_in_place() {
    const std::string name = target.filename().string();
    if (!replace) {
      // link(2) refuses to replace, so two writers cannot overwrite each other unseen.
      const bool linked =
          temporary.empty() ? link_as(name.c_str()) : ::linkat(folder, temporary.c_str(), folder, name.c_str(), 0) == 0;
      if (linked) return {};
      if (errno == EEXIST) return exists();
      if (temporary.empty()) return io_error("cannot put it in place");
    } else if (temporary.empty()) {
      CKPT_CHECK(name_temporary());
    }
    if (::renameat(folder, temporary.c_str(), folder, name.c_str()) != 0) return io_error("cannot put it in place");
    temporary.clear();
    return {};
  }
};

OutputFile::OutputFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
OutputFile::OutputFile(OutputFile&&) noexcept = default;
OutputFile& OutputFile::operator=(OutputFile&&) noexcept = default;
OutputFile::~OutputFile() = default;

Result<OutputFile> OutputFile::create(const std::filesystem::path& target, bool replace) {
  return guarded([&]() -> Result<OutputFile> {
    auto state = std::make_unique<State>();
    State& s = *state;
    s.shown = target.string();
    s.target = target;
    s.replace = replace;
    for (int links = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(s.target)); ++links) {
      errno = ELOOP;
      if (links == 40) return s.io_error("cannot follow the link");
      std::error_code error;
      const auto next = std::filesystem::read_symlink(s.target, error);
      errno = error.value();
      if (error) return s.io_error("cannot follow the link");
      s.target = s.target.parent_path() / next;  // an absolute `next` replaces the whole path
    }
    const auto parent = s.target.has_parent_path() ? s.target.parent_path() : std::filesystem::path(".");
    s.folder = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s.folder < 0) return s.io_error("cannot open its folder");

    struct stat old;
    const bool present = ::fstatat(s.folder, s.target.filename().c_str(), &old, 0) == 0;
    if (present && S_ISDIR(old.st_mode)) {
      errno = EISDIR;
      return s.io_error("cannot replace it");
    }
    if (present && !replace) return s.exists();
    CKPT_CHECK(s.open_temporary());
    if (present) {
      // Ownership first: chown clears set-id bits. Only root may give a file away, so that one may fail.
      [[maybe_unused]] const int given = ::fchown(s.fd, old.st_uid, old.st_gid);
      if (::fchmod(s.fd, old.st_mode & 07777) != 0) return s.io_error("cannot keep its permissions");
    }
    return OutputFile(std::move(state));
  });
}

Result<void> OutputFile::preallocate(std::uint64_t size_bytes) {
  if (size_bytes == 0) return {};
  while (::fallocate(state_->fd, 0, 0, static_cast<off_t>(size_bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return {};
    return state_->io_error(fmt::format("cannot reserve {} bytes", size_bytes));
  }
  return {};
}

Result<void> OutputFile::write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(state_->fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (n < 0) {
      if (errno == EINTR) continue;
      return state_->io_error("cannot write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset_bytes += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<SourcePtr> OutputFile::reopen(std::uint64_t size_bytes) const {
  if (::ftruncate(state_->fd, static_cast<off_t>(size_bytes)) != 0) return state_->io_error("cannot write");
  auto source = open_file(fmt::format("/proc/self/fd/{}", state_->fd));
  if (!source) source.error().file = state_->shown;
  return source;
}

Result<void> OutputFile::commit(std::uint64_t size_bytes) {
  return guarded([&]() -> Result<void> {
    State& s = *state_;
    if (::ftruncate(s.fd, static_cast<off_t>(size_bytes)) != 0) return s.io_error("cannot write");
    while (::fsync(s.fd) != 0) {
      if (errno != EINTR) return s.io_error("cannot write it to the disk");
    }
    CKPT_CHECK(s.put_in_place());
    // Some file systems cannot sync a folder; the file itself is safe by now.
    if (::fsync(s.folder) != 0 && errno != EINVAL && errno != EINTR)
      return s.io_error("cannot write its folder to the disk");
    return {};
  });
}

}  // namespace netcl::ckpt
