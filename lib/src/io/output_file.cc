// Durable replacement of a file.
//
//   open(dir, O_TMPFILE)  ->  write  ->  fsync  ->  linkat(target)          new file
//                                               ->  linkat(.tmp), rename    replaced file: linkat cannot
//                                               ->  fsync(dir)
//
// O_TMPFILE leaves nothing behind however the process ends. If the file system lacks it (NFS, some FUSE), or /proc
// through which it gets its name is not mounted (a chroot), the temporary has a name from the start, and a kill -9 can
// leave it, as it can between linkat and rename; a signal that the caller turns into a clean return cannot. rename(2)
// without fsync, which is what most savers do, may leave an empty file after a power cut: ext4 guards that case, XFS
// does not.
//
// In memory (tmpfs, as /dev/shm is) one lock makes writers of one file take turns, whatever their ranges, and
// reserving it costs as much as filling it. There the file is mapped once its size is known, and each writer
// brings in the pages of its own range. MADV_POPULATE_WRITE says where there is no room for them, which a plain
// store would say by SIGBUS. On disks a mapping gains nothing: the disk is slower than one writer.
#include "netcl/ckpt/output_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/try.h"
#include "io/file_attributes.h"
#include "io/file_source.h"
#include "io/temporary.h"

namespace netcl::ckpt {
namespace {

constexpr int kTries = 16;  // names that some other process may hold
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::size_t kWorthMappingBytes = std::size_t{64} << 10;
constexpr std::uint64_t kWorthStartingBytes = std::uint64_t{256} << 10;

std::string name_in_proc(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

/// A write beyond RLIMIT_FSIZE would raise a signal that ends the process; an error can be told.
bool exceeds_limit(std::uint64_t size_bytes) {
  struct rlimit limit;
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size_bytes <= limit.rlim_cur)
    return false;
  errno = EFBIG;
  return true;
}

const char* kind_of(const struct stat& s) {
  return S_ISFIFO(s.st_mode) ? "a pipe" : S_ISSOCK(s.st_mode) ? "a socket" : "a device";
}

}  // namespace

struct OutputFile::State {
  std::filesystem::path target;  // symbolic links resolved
  std::string shown;             // as the caller named it
  bool replace = false;
  int folder = -1;
  int fd = -1;
  std::string temporary;  // its name in the folder; empty while unnamed
  std::optional<std::uint64_t> synced_bytes;

  std::byte* mapped = nullptr;
  std::uint64_t mapped_bytes = 0;
  std::atomic<bool> populates = true;  // the kernel knows how: Linux 5.14

  ~State() {
    unmap();
    if (!temporary.empty()) ::unlinkat(folder, temporary.c_str(), 0);
    if (fd >= 0) ::close(fd);
    if (folder >= 0) ::close(folder);
  }

  tl::unexpected<Error> io_error(std::string_view what) const { return fail_io(errno, shown, what); }

  tl::unexpected<Error> exists() const { return fail_exists(shown); }

  Result<void> open_temporary() {
    fd = ::openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (fd >= 0 && ::access(name_in_proc(fd).c_str(), F_OK) == 0) {
      ::flock(fd, LOCK_EX | LOCK_NB);  // for the moment at which it has a name: see io/temporary.h
      return {};
    }
    for (int i = 0; i < kTries; ++i) {
      if (fd >= 0) ::close(fd);
      std::string name = temporary_name();
      fd = ::openat(folder, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd < 0) {
        if (errno == EEXIST) continue;
        return io_error("cannot write into its folder");
      }
      if (!claim_temporary(fd)) continue;
      temporary = std::move(name);
      return {};
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
    if (exceeds_limit(size_bytes)) return;
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
    return ::linkat(AT_FDCWD, name_in_proc(fd).c_str(), folder, name, AT_SYMLINK_FOLLOW) == 0;
  }

  Result<void> name_temporary() {
    for (int i = 0; i < kTries; ++i) {
      std::string name = temporary_name();
      if (link_as(name.c_str())) {
        temporary = std::move(name);
        return {};
      }
      if (errno != EEXIST) break;
    }
    return io_error("cannot name the temporary file");
  }

  /// Renames the temporary, and refuses to replace, so that two writers cannot overwrite each other unseen.
  bool rename_to_new(const char* name) {
    const char* const from = temporary.c_str();
    if (::renameat2(folder, from, folder, name, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return false;
    // NFS has no such flag, but links; FAT through FUSE has neither: there the name is claimed first.
    if (::linkat(folder, from, folder, name, 0) == 0) {
      ::unlinkat(folder, from, 0);
      return true;
    }
    if (errno == EEXIST) return false;
    const int claim = ::openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (claim < 0) return false;
    ::close(claim);
    if (::renameat(folder, from, folder, name) == 0) return true;
    const int number = errno;
    ::unlinkat(folder, name, 0);
    errno = number;
    return false;
  }

  Result<void> put_in_place() {
    const std::string name = target.filename().string();
    if (replace && temporary.empty()) CKPT_CHECK(name_temporary());
    const bool done = replace             ? ::renameat(folder, temporary.c_str(), folder, name.c_str()) == 0
                      : temporary.empty() ? link_as(name.c_str())
                                          : rename_to_new(name.c_str());
    if (!done) return errno == EEXIST ? exists() : io_error("cannot put it in place");
    temporary.clear();
    return {};
  }

  /// Where `target` leads: the last of its links. One that leads nowhere is as good as none.
  Result<void> follow_links() {
    struct stat st;
    for (int links = 0; ::lstat(target.c_str(), &st) == 0 && S_ISLNK(st.st_mode); ++links) {
      errno = ELOOP;
      if (links == 40) return io_error("cannot follow the link");
      std::error_code error;
      const auto next = std::filesystem::read_symlink(target, error);
      errno = error.value();
      if (error) return io_error("cannot follow the link");
      target = target.parent_path() / next;  // an absolute `next` replaces the whole path
    }
    return {};
  }
};

namespace {

tl::unexpected<Error> moved_from() { return fail(ErrorCode::invalid_argument, "this output file was moved from"); }

}  // namespace

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
    struct stat old;
    const bool present = ::stat(target.c_str(), &old) == 0;
    if (!present && (errno == ENAMETOOLONG || errno == ELOOP || errno == EIO)) return s.io_error("cannot write");
    if (present && !S_ISREG(old.st_mode) && !S_ISDIR(old.st_mode)) {
      return fail_in(s.shown, ErrorCode::invalid_argument,
                     "is {}, which no file may replace; the output '-' is standard output", kind_of(old));
    }
    CKPT_CHECK(s.follow_links());
    const auto parent = s.target.has_parent_path() ? s.target.parent_path() : std::filesystem::path(".");
    s.folder = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s.folder < 0) return s.io_error("cannot open its folder");
    if ((present && S_ISDIR(old.st_mode)) || !s.target.has_filename()) {
      errno = EISDIR;
      return s.io_error("cannot replace it");
    }
    if (present && !replace) return s.exists();
    CKPT_CHECK(s.open_temporary());
    if (present) CKPT_CHECK(keep_attributes(s.fd, s.target, old, s.shown));
    return OutputFile(std::move(state));
  });
}

Result<OutputFile> OutputFile::scratch() {
  return guarded([&]() -> Result<OutputFile> {
    auto state = std::make_unique<State>();
    const char* const folder = std::getenv("TMPDIR");
    state->shown = folder != nullptr && *folder != '\0' ? folder : "/tmp";
    state->folder = ::open(state->shown.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state->folder < 0) return state->io_error("cannot make a temporary file there (TMPDIR)");
    CKPT_CHECK(state->open_temporary());
    if (!state->temporary.empty()) ::unlinkat(state->folder, state->temporary.c_str(), 0);
    state->temporary.clear();
    return OutputFile(std::move(state));
  });
}

void OutputFile::remove_abandoned(const std::filesystem::path& directory) { remove_abandoned_in(directory); }

Result<void> OutputFile::preallocate(std::uint64_t size_bytes) {
  if (!state_) return moved_from();
  if (size_bytes == 0) return {};
  if (exceeds_limit(size_bytes)) return state_->io_error(fmt::format("cannot reserve {} bytes", size_bytes));
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
  if (state_ && size_bytes > 0 && state_->mapped == nullptr && state_->in_memory()) state_->map(size_bytes);
}

Result<void> OutputFile::write_at(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  if (!state_) return moved_from();
  if (exceeds_limit(offset_bytes + bytes.size())) return state_->io_error("cannot write");
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
  if (!state_) return moved_from();
  state_->unmap();  // pages beyond the cut could not be brought in
  if (::ftruncate(state_->fd, static_cast<off_t>(size_bytes)) != 0) return state_->io_error("cannot write");
  const int copy = ::fcntl(state_->fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return state_->io_error("cannot read it back");
  return source_of_descriptor(copy, state_->shown);
}

Result<void> OutputFile::sync(std::uint64_t size_bytes) {
  State& s = *state_;
  s.unmap();
  if (exceeds_limit(size_bytes) || ::ftruncate(s.fd, static_cast<off_t>(size_bytes)) != 0)
    return s.io_error("cannot write");
  while (::fsync(s.fd) != 0) {
    if (errno != EINTR) return s.io_error("cannot write it to the disk");
  }
  s.synced_bytes = size_bytes;
  return {};
}

Result<void> OutputFile::commit(std::uint64_t size_bytes, bool sync_folder) {
  return guarded([&]() -> Result<void> {
    if (!state_) return moved_from();
    State& s = *state_;
    if (s.synced_bytes != size_bytes) CKPT_CHECK(sync(size_bytes));
    CKPT_CHECK(s.put_in_place());
    // Some file systems cannot sync a folder; the file itself is safe by now.
    while (sync_folder && ::fsync(s.folder) != 0 && errno != EINVAL) {
      if (errno != EINTR)
        return s.io_error(
            "the new file is in place, but perhaps not after a power cut: cannot write its folder to the disk");
    }
    return {};
  });
}

}  // namespace netcl::ckpt
