#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

/// What tells a file from every other one while it is open.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileId&) const = default;
};

/// Bytes that can be read at any position: a file, or memory.
/// Threads: all members may be called concurrently.
class NETCL_CKPT_EXPORT ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Size when the source was opened.
  virtual std::uint64_t size_bytes() const = 0;

  /// Fills all of `dst` from `offset_bytes` on.
  /// Errors: truncated if the source ends first (also when another process has cut the file
  /// since it was opened), io.
  virtual Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const = 0;

  /// What errors call it: the path, or "(standard input)".
  virtual const std::string& name() const = 0;

  /// Nothing for memory, and for a pipe's copy.
  virtual std::optional<FileId> file_id() const { return std::nullopt; }
};

using SourcePtr = std::shared_ptr<const ByteSource>;

/// Opens `path` for positioned reads (pread, not mmap: a mapped file that a training run truncates
/// is a SIGBUS). A pipe or other unseekable file is first copied to an unlinked temporary file.
/// Errors: io (missing, a directory, no permission).
NETCL_CKPT_EXPORT Result<SourcePtr> open_file(const std::filesystem::path& path);

/// `path`, opened for each read anew: a folder may have more files than a process may hold open.
/// Errors: io; truncated if the file has become shorter since.
NETCL_CKPT_EXPORT Result<SourcePtr> reopening_file(const std::filesystem::path& path);

/// Standard input, as open_file() treats a pipe.
NETCL_CKPT_EXPORT Result<SourcePtr> open_standard_input();

/// Owns `bytes`.
NETCL_CKPT_EXPORT SourcePtr memory_source(std::vector<std::byte> bytes, std::string name);

}  // namespace netcl::ckpt
