#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

/// What kind of failure an Error is. One input always gives one code.
enum class ErrorCode : std::uint8_t {
  io,                 ///< The operating system refused: open, read, write, no space (`os_errno`).
  truncated,          ///< The file ends before the bytes that it promises.
  corrupt,            ///< The bytes contradict their format's rules.
  unsupported,        ///< Well-formed as far as seen, but not something this library reads or writes.
  limit_exceeded,     ///< A cap from limits.h was met before the work was done.
  unsafe,             ///< The result would need something from a pickle to be executed.
  checksum_mismatch,  ///< The payload's CRC-32 is not the recorded one.
  invalid_argument,   ///< The caller's options contradict each other or the file.
  out_of_memory,      ///< An allocation within the limits failed.
  device,             ///< A call of the device failed.
  cancelled,          ///< The caller asked to stop.
  internal,           ///< A bug in this library.
};

/// The code's stable name, as in JSON reports: "checksum-mismatch".
/// Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(ErrorCode code);

/// One failure. Owns all of its text; nothing in it is escaped for a terminal.
struct NETCL_CKPT_EXPORT Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;                        ///< What is wrong.
  std::string file;                           ///< Path as the caller gave it, "" if it is unknown.
  std::string member;                         ///< Zip member, tensor or pickle part; "" for the file itself.
  std::optional<std::uint64_t> offset_bytes;  ///< Counted from the start of `member`, or of `file`.
  int os_errno = 0;
  /// What the caller may do about it, "" if nothing is known; options of the call stand in backquotes: "`exclude`
  /// leaves them out".
  std::string way_out;

  /// "a.npz: CRC-32 does not match (layer1/weight.npy, byte 128)", the way out behind the message, without a newline.
  std::string to_string() const;
};

/// A value or an Error. No function that returns one throws.
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

}  // namespace netcl::ckpt
