#pragma once

#include <cstdint>
#include <string_view>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt {

/// Receives a JSON document part by part, in document order. An Error that a handler returns stops
/// the reading and gets the byte offset of the part where it has none of its own.
/// Lifetime: views are valid during the call only.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual Result<void> null() = 0;
  virtual Result<void> boolean(bool value) = 0;
  virtual Result<void> integer(std::int64_t value) = 0;
  /// An integer beyond int64, as the document spells it.
  virtual Result<void> big_integer(std::string_view decimal) = 0;
  virtual Result<void> real(double value) = 0;
  virtual Result<void> string(std::string_view text) = 0;
  virtual Result<void> begin_object() = 0;
  virtual Result<void> key(std::string_view text) = 0;
  virtual Result<void> end_object() = 0;
  virtual Result<void> begin_array() = 0;
  virtual Result<void> end_array() = 0;
};

struct JsonOptions {
  /// Containers inside one another.
  std::uint32_t max_depth = 200'000;
  /// Take the NaN, Infinity and -Infinity that Python's json.dump writes as numbers.
  bool allow_nan = false;
};

/// Reads the one JSON value that `text` must be, to its last byte (RFC 8259: UTF-8, no byte order
/// mark, no comments), and refuses an object that has a key twice. Memory: the keys of the objects
/// that are open.
/// Errors, each with offset_bytes in `text`: truncated where it ends too soon; corrupt;
/// limit_exceeded for the depth and for numbers beyond a double's range; the handler's.
Result<void> read_json(std::string_view text, const JsonOptions& options, JsonHandler& handler);

}  // namespace netcl::ckpt
