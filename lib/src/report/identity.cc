// The content identity: SHA-256 of
//
//   "netcl-ckpt.identity/1\n"
//   for each tensor, by name in the order of its bytes:
//     u64 length of the name, name in UTF-8
//     u64 length of the dtype's name, that name ("float32"; a structured dtype's with little-endian numbers)
//     u64 number of dimensions, u64 for each
//     64 lower-case hexadecimal digits: the SHA-256 of the elements in C order, little-endian
//
// u64 is little-endian. It is made of the tensors' own hashes, so that hashing goes in parallel and a manifest
// can be checked against it without the file. Lengths stand before everything that varies: no two lists of
// tensors give the same bytes. The order of the file is left out because formats sort differently, and netcl's
// architecture (`__netcl_meta__`) because it is an array in one format alone.
#include "report/identity.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/endian.h"
#include "codec/sha256.h"
#include "format/architecture.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

void add(Sha256& hash, std::string_view text) { hash.update(std::as_bytes(std::span(text))); }

void add(Sha256& hash, std::uint64_t number) {
  std::byte bytes[sizeof number];
  store_le(bytes, number);
  hash.update(bytes);
}

/// One tensor's part.
struct Line {
  std::string_view name;
  std::string dtype;
  const TensorInfo* tensor;
};

}  // namespace

std::string content_identity(std::span<const TensorInfo> tensors) {
  std::vector<Line> lines;
  for (const TensorInfo& t : tensors) {
    if (t.name == kArchitecture) continue;
    if (t.sha256.empty()) return "";
    lines.push_back({t.name, little_endian(t.dtype).name(), &t});
  }
  // Two tensors of one name are a defect; their order must not depend on the file all the same.
  std::sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return std::tie(a.name, a.dtype, a.tensor->shape, a.tensor->sha256) <
           std::tie(b.name, b.dtype, b.tensor->shape, b.tensor->sha256);
  });
  Sha256 hash;
  add(hash, "netcl-ckpt.identity/1\n");
  for (const Line& line : lines) {
    for (const std::string_view text : {line.name, std::string_view(line.dtype)}) {
      add(hash, std::uint64_t{text.size()});
      add(hash, text);
    }
    add(hash, std::uint64_t{line.tensor->shape.size()});
    for (const std::uint64_t d : line.tensor->shape) add(hash, d);
    add(hash, line.tensor->sha256);
  }
  return hash.hex_digest();
}

}  // namespace netcl::ckpt
