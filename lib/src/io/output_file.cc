// Durable replacement of a file.
//
//   open(dir, O_TMPFILE)  ->  write  ->  fsync  ->  linkat(target)          new file
//                                               ->  linkat(.tmp), rename    replaced file: linkat cannot
//                                               ->  fsync(dir)
//
// O_TMPFILE leaves nothing behind however the process ends. Where the file system lacks it (NFS,
// some FUSE) the temporary has a name from the start, and a kill -9 can leave it, as it can between linkat and
// rename; a signal that the caller turns into a clean return cannot. rename(2) without fsync, which is what most savers
// do, may leave an empty file after a power cut: ext4 guards that case, XFS does not.
//
// In memory (tmpfs, as /dev/shm is) one lock makes writers of one file take turns, whatever their ranges, and
// reserving it costs as much as filling it. There the file is mapped once its size is known, and each writer
// brings in the pages of its own range. MADV_POPULATE_WRITE says where there is no room for them, which a plain
// store would say by SIGBUS. On disks a mapping gains nothing: the disk is slower than one writer.
#include "netcl/ckpt/output_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr int kTries = 16;  // names that some other process may hold
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::size_t kWorthMappingBytes = std::size_t{64} << 10;
constexpr std::uint64_t kWorthStartingBytes = std::uint64_t{256} << 10;

constexpr std::string_view kTemporaryPrefix = ".netcl-ckpt-", kTemporarySuffix = ".tmp";

std::string random_name() {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{}", kTemporaryPrefix, device(), device(), kTemporarySuffix);
}

/// Says to remove_abandoned() that somebody still writes it: the kernel's lock ends with the process.
/// Where a file system has no locks, nothing is taken for abandoned.
bool lock_temporary(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) == 0; }

}  // namespace

struct OutputFile::State {
  std::filesystem::path target;  // symbolic links resolved
  std::string shown;             // as the caller named it
  bool replace = false;
  int folder = -1;
  int fd = -1;
  std::string temporary;  // its name in the folder; empty while unnamed

  std::byte* mapped = nullptr;
  std::uint64_t mapped_bytes = 0;
  std::atomic<bool> populates = true;  // the kernel knows how: Linux 5.14

  ~State() {
    unmap();
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
    if (fd >= 0) {
      lock_temporary(fd);
      return {};
    }
    for (int i = 0; i < kTries; ++i) {
      std::string name = random_name();
      fd = ::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd >= 0) {
        lock_temporary(fd);
        temporary = std::move(name);
        return {};
      }
      if (errno != EEXIST) break;
    }
    return io_error("cannot write into its folder");
  }

  void unmap() {
    if (mapped != nullptr) ::munmap(mapped, mapped_bytes);
    mapped = nullptr;
  }

  bool in_memory() const {
    struct statfs system;
    return ::fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
  }

  /// Without it, writing takes the ordinary way.
  void map(std::uint64_t size_bytes) {
    if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) return;
    void* const at = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return;
    mapped = static_cast<std::byte*>(at);
    ::madvise(at, size_bytes, MADV_HUGEPAGE);  // where the file system was mounted with huge=advise
    mapped_bytes = size_bytes;
  }

  /// False where `bytes` have to be written in the ordinary way.
  Result<bool> write_mapped(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
    const bool possible = mapped != nullptr && bytes.size() >= kWorthMappingBytes && offset_bytes <= mapped_bytes &&
                          bytes.size() <= mapped_bytes - offset_bytes && populates.load(std::memory_order_relaxed);
    if (!possible) return false;
    const std::uint64_t first = offset_bytes / kPageBytes * kPageBytes;
    const std::uint64_t end = offset_bytes + bytes.size();
    while (::madvise(mapped + first, end - first, MADV_POPULATE_WRITE) != 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      if (errno == EINVAL || errno == ENOSYS) {
        populates = false;
        return false;
      }
      if (errno == EFAULT) errno = ENOSPC;
      return io_error("cannot write");
    }
    std::memcpy(mapped + offset_bytes, bytes.data(), bytes.size());
    // Whole pages leave the page tables again here, on this thread: at the end one thread would take all out.
    const std::uint64_t inner = (offset_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    const std::uint64_t inner_end = end / kPageBytes * kPageBytes;
    if (inner < inner_end) ::madvise(mapped + inner, inner_end - inner, MADV_DONTNEED);
    return true;
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

void OutputFile::remove_abandoned(const std::filesystem::path& directory) {
  std::error_code failed;
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kTemporaryPrefix) || !name.ends_with(kTemporarySuffix)) continue;
    const int fd = ::open(it->path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    if (lock_temporary(fd)) ::unlink(it->path().c_str());
    ::close(fd);
  }
}

Result<void> OutputFile::preallocate(std::uint64_t size_bytes) {
  if (size_bytes == 0) return {};
  if (state_->in_memory()) {
    struct statfs system;
    if (::fstatfs(state_->fd, &system) == 0 && system.f_blocks > 0 &&
        size_bytes / static_cast<std::uint64_t>(system.f_bsize) > system.f_bavail) {
      errno = ENOSPC;
      return state_->io_error(fmt::format("cannot reserve {} bytes", size_bytes));
    }
    state_->map(size_bytes);
    return {};
  }
  while (::fallocate(state_->fd, 0, 0, static_cast<off_t>(size_bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return {};
    return state_->io_error(fmt::format("cannot reserve {} bytes", size_bytes));
  }
  return {};
}

void OutputFile::expect_at_most(std::uint64_t size_bytes) {
  if (size_bytes > 0 && state_->mapped == nullptr && state_->in_memory()) state_->map(size_bytes);
}

Result<void> OutputFile::write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  CKPT_TRY(const bool written, state_->write_mapped(offset_bytes, bytes));
  if (written) return {};
  const std::uint64_t begin = offset_bytes;
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(state_->fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (n < 0) {
      if (errno == EINTR) continue;
      return state_->io_error("cannot write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset_bytes += static_cast<std::uint64_t>(n);
  }
  // The disk begins now, while the rest is made, so that commit() has less to wait for.
  if (offset_bytes - begin >= kWorthStartingBytes)
    ::sync_file_range(state_->fd, static_cast<off_t>(begin), static_cast<off_t>(offset_bytes - begin),
                      SYNC_FILE_RANGE_WRITE);
  return {};
}

Result<SourcePtr> OutputFile::reopen(std::uint64_t size_bytes) const {
  state_->unmap();  // pages beyond the cut could not be brought in
  if (::ftruncate(state_->fd, static_cast<off_t>(size_bytes)) != 0) return state_->io_error("cannot write");
  auto source = open_file(fmt::format("/proc/self/fd/{}", state_->fd));
  if (!source) source.error().file = state_->shown;
  return source;
}

Result<void> OutputFile::commit(std::uint64_t size_bytes) {
  return guarded([&]() -> Result<void> {
    State& s = *state_;
    s.unmap();
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
