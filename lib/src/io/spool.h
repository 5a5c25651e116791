#pragma once

#include <string>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {

/// A temporary file without a name, in TMPDIR or /tmp: bytes that come once, in order, and are wanted at any place.
class Spool {
 public:
  /// `name`: what errors and the source call it.
  /// Errors: io.
  static Result<Spool> create(std::string name);
  Spool(Spool&& other) noexcept;
  Spool& operator=(Spool&&) = delete;
  ~Spool();

  /// Errors: io.
  Result<void> write(std::span<const std::byte> bytes);
  std::uint64_t size_bytes() const { return size_bytes_; }
  /// All that was written. `id`: of the file that the bytes came from.
  SourcePtr finish(std::optional<FileId> id) &&;

 private:
  Spool(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  int fd_;
  std::string name_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace netcl::ckpt
