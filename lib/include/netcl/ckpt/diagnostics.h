#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "netcl/ckpt/export.h"

namespace netcl::ckpt {

enum class Severity : std::uint8_t {
  note,     ///< Worth knowing; the file is sound.
  warning,  ///< Odd or lossy; readers may disagree. `verify` still calls the file sound.
  error,    ///< The file is not what its format demands. `verify` exits 1.
  unsafe,   ///< Loading it elsewhere may run code. `verify` exits 1; writers refuse.
};

/// "note", "warning", "error", "unsafe". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(Severity severity);

/// What kind of finding a Problem is. netcl-ckpt-verify(1) says what each means and how grave it is; more may come, so
/// a switch needs a default.
enum class ProblemCode : std::uint8_t {
  // What is an ErrorCode if it stops the reading.
  truncated,
  corrupt,
  checksum_mismatch,
  limit_exceeded,
  unsupported,
  io,
  unsafe,
  invalid_argument,
  out_of_memory,
  device,
  cancelled,
  internal,
  // Any format.
  extension_mismatch,
  trailing_bytes,
  // Zip: npz, .netcl, torch.
  zip_end,
  zip_count,
  zip_local_differs,
  zip_descriptor,
  zip_overlap,
  zip_gap,
  zip_mark,
  zip_prefix,
  no_arrays,
  duplicate_name,
  absolute_name,
  parent_name,
  // Arrays: npy, npz, .netcl.
  not_npy,
  raw_member,
  several_pickles,
  doubtful_pickle,
  no_tensors,
  packed_elements,
  trailing_payload,
  bad_architecture,
  bad_structure,
  // Pickles, torch and Flax files.
  unsafe_global,
  foreign_global,
  unreadable_tensor,
  unknown_extension,
  local_shard,
  pickled_bytes,
  foreign_member,
  no_checksums,
  torch_roots,
  missing_storage,
  torch_version,
  // The pair of .npz and .json.
  stale_sidecar,
  torn_pair,
  sidecar_mismatch,
  sidecar_unread,
  foreign_sidecar,
  shared_sidecar,
  // What is asked for with VerifyOptions::expected and VerifyOptions::finite.
  missing_tensor,
  unexpected_tensor,
  shape_mismatch,
  dtype_mismatch,
  not_finite,
  // What is asked for with VerifyOptions::loaders.
  not_for_loader,
  // On a device.
  device_memory,
  device_allocation,
  device_mismatch,
  device_dtype,
};

/// The code's stable name, as in JSON reports: "zip-overlap", "unsafe-global". Lifetime: static storage.
NETCL_CKPT_EXPORT const char* to_string(ProblemCode code);

/// One finding about a file that could nevertheless be read.
struct Problem {
  ProblemCode code = ProblemCode::internal;
  Severity severity = Severity::error;
  std::string where;  ///< Member or tensor; "" for the file itself.
  std::optional<std::uint64_t> offset_bytes;
  std::string message;
  std::string global;  ///< For unsafe_global and foreign_global: `module.name`; "" otherwise.
};

using Problems = std::vector<Problem>;

}  // namespace netcl::ckpt
