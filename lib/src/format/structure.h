#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"

// Flat formats (npz, safetensors) hold a list of named tensors. What a checkpoint has beyond that is
// carried beside them as one JSON document, the structure, and comes back on the way home:
//
//   {"netcl-ckpt": 1, "state": VALUE, "attributes": VALUE}
//
// where VALUE is plain JSON for None, bool, int, float, str, list and dict with string keys, and
//   {"$tensor": ""}          the tensor whose dotted name is this place's path; not "": its dtype, where
//                            the format cannot say it (float8_e4m3fn in an npz)
//   {"$tuple": [VALUE…]}     likewise $set, $frozenset
//   {"$dict": [[KEY, VALUE]…]}  a dict with other keys, or with a string key that begins with "$"
//   {"$bytes": HEX}          {"$str": HEX} for text that is not Unicode
//   {"$real": "NaN"}         "Infinity", "-Infinity"
//   {"$complex": [RE, IM]}   {"$name": "torch.float32"}
//   {"$scalar": [DESCR, HEX]}  a NumPy scalar, little-endian
//
// npz: the archive's comment, which NumPy and netcl pass over, or from 64 KiB on the member
// `__netcl_ckpt__.json`. A folder of npy files: always a file of that name, which also gives the order. safetensors:
// `__metadata__["netcl-ckpt"]`.

namespace netcl::ckpt {

inline constexpr std::string_view kStructureMember = "__netcl_ckpt__.json";
inline constexpr std::string_view kStructureKey = "netcl-ckpt";

/// A document this small fits every limit of the reader, however well it deflates. A larger one is stored as it is, so
/// that what it takes in the file speaks for its size.
inline constexpr std::uint64_t kMaxDeflatedDocumentBytes = std::uint64_t{4} << 20;
/// How large a document may be of which the file has so many bytes. Parsed, it takes some ten times its size, and a
/// compressed one comes from a thousandth of it.
inline std::uint64_t max_document_bytes(std::uint64_t stored_bytes, const Limits& limits) {
  return std::min(limits.max_json_bytes, std::max(std::uint64_t{8} << 20, stored_bytes));
}
/// How every such document begins, and no other comment.
inline constexpr std::string_view kStructureStart = "{\"netcl-ckpt\"";

/// The structure of `checkpoint`, or "" where a flat list of tensors says it all and `even_if_flat` is
/// not set. `name_dtypes`: write the dtypes that NumPy lacks. `with_attributes`: attributes too, and with
/// `even_if_none` that there are none.
/// Errors: unsafe for an opaque value; unsupported for a value that contains itself.
Result<std::string> encode_structure(const Checkpoint& checkpoint, bool name_dtypes, bool with_attributes,
                                     bool even_if_flat = false, bool even_if_none = false);

/// Rebuilds `checkpoint.root` and, where the document has them, its attributes from the flat dict that
/// root is now. A tensor that the document does not name stays at the top.
/// Errors: corrupt where the text is no such document; limit_exceeded.
Result<void> decode_structure(std::string_view json, const Limits& limits, Checkpoint& checkpoint);

/// `text` as a JSON string, quotes included. `text` is valid UTF-8.
std::string json_string(std::string_view text);

/// A value as plain JSON, for netcl's sidecar: as Python's json.dump writes it (NaN, Infinity).
/// Errors: unsupported, naming the value that JSON cannot hold.
Result<std::string> to_plain_json(const Tree& tree, ValueId id);

}  // namespace netcl::ckpt
