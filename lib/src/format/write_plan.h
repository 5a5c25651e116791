#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/try.h"
#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/open.h"

namespace netcl::ckpt {

/// One piece of the file to be written: literal bytes, then a payload that is pulled when its turn
/// comes. In a zip a part is a member, elsewhere parts follow one another.
struct WritePart {
  std::string name;  ///< zip: the member's name; folder: the file's. Elsewhere the tensor's, for messages
  std::string head;  ///< literal bytes: an npy header, a format's header, opcodes
  /// Bytes of the payload's storage from offset_bytes on, size_bytes() of them, as they lie there; or,
  /// with `in_c_order`, the tensor's elements in C order, little-endian.
  std::optional<Tensor> payload;
  bool in_c_order = false;
  std::string tail;      ///< literal bytes after the payload
  std::string extra;     ///< zip: extra fields for the central directory
  bool deflate = false;  ///< zip: compress, where it shrinks; otherwise stored

  /// Zip: the member as it is stored elsewhere, header and CRC included, moved without decoding.
  std::optional<StoredForm> moved;
  std::uint64_t moved_size_bytes = 0;  ///< decoded

  std::uint64_t size_bytes() const {
    return moved ? moved_size_bytes : head.size() + (payload ? payload->size_bytes() : 0) + tail.size();
  }
};

/// All of one file, in order, or for a folder its files. Sizes are exact before the first byte is pulled.
struct WritePlan {
  bool zip = false;
  bool best = false;            ///< zip: deflate with the better and slower codec
  std::string comment;          ///< zip: the archive's comment, under 64 KiB
  std::deque<WritePart> parts;  // not a vector: growing one of 200,000 would hold them twice
};

/// Errors: unsupported, for a tensor that is listed and cannot be read.
inline Result<void> check_readable(const Tensor& tensor, const std::string& name = "") {
  if (tensor.why_unreadable.empty()) return {};
  return with_way_out(
      fail_at(ErrorCode::unsupported, name, std::nullopt, "it cannot be read: {}", tensor.why_unreadable),
      "exclude it");
}

/// How a checkpoint is laid out in a target format. Nothing is read of the payloads.
/// Errors: unsupported, naming the tensor or value that the format cannot hold.
struct LayoutOptions {
  CompressionChoice compression = CompressionChoice::keep;
  bool compact = false;  ///< torch: each tensor gets a storage of its own size
  /// npz: say that there are no attributes if there are none, so that an earlier sidecar beside it has no say.
  bool no_sidecar = false;
};
Result<WritePlan> plan_npz(const Checkpoint& checkpoint, const LayoutOptions& options);
Result<WritePlan> plan_npy(const Checkpoint& checkpoint);
/// Each part is a file of the folder, `name` its name there.
Result<WritePlan> plan_npy_folder(const Checkpoint& checkpoint);
Result<WritePlan> plan_safetensors(const Checkpoint& checkpoint);
/// What is whole of a damaged safetensors file, as it lies there.
struct SafetensorsRepair {
  WritePlan plan;
  std::vector<std::string> kept;  ///< tensors, in the order of their data
  struct Loss {
    std::string name;
    std::uint64_t offset_bytes = 0;  ///< of its data in the file
    std::string message;
  };
  std::vector<Loss> lost;
  std::uint64_t unused_bytes = 0;  ///< of the data, that no tensor has
};
/// Errors: those of the header, without which nothing is known; io.
Result<SafetensorsRepair> plan_safetensors_repair(const SourcePtr& source, const Limits& limits);
Result<WritePlan> plan_pickle(const Checkpoint& checkpoint);
Result<WritePlan> plan_torch(const Checkpoint& checkpoint, const LayoutOptions& options);

}  // namespace netcl::ckpt
