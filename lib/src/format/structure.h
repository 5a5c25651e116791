#pragma once

#include <algorithm>
#include <string_view>

#include "model/dtype.h"
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
/// True for a type that an npz has no name for: the document says it.
inline bool lacks_descr(ScalarType type) { return !known_to_numpy(type) && type != ScalarType::bfloat16; }
/// How every such document begins, and no other comment.
inline constexpr std::string_view kStructureStart = "{\"netcl-ckpt\"";

}  // namespace netcl::ckpt
