// safetensors: the header's entries as tensors of the file. The layout is in
// container/safetensors_header.cc; here the dtype names and the sizes get their meaning.
// Tensors are listed in the order of their data, as the reference reader lists them.
#include <array>

#include "base/checked.h"
#include "base/try.h"
#include "container/safetensors_header.h"
#include "format/readers.h"
#include "format/structure.h"

namespace netcl::ckpt {
namespace {

struct DTypeName {
  std::string_view text;
  ScalarType type;
};
constexpr std::array kDTypeNames = {
    DTypeName{"BOOL", ScalarType::boolean},
    DTypeName{"U8", ScalarType::uint8},
    DTypeName{"I8", ScalarType::int8},
    DTypeName{"U16", ScalarType::uint16},
    DTypeName{"I16", ScalarType::int16},
    DTypeName{"U32", ScalarType::uint32},
    DTypeName{"I32", ScalarType::int32},
    DTypeName{"U64", ScalarType::uint64},
    DTypeName{"I64", ScalarType::int64},
    DTypeName{"F16", ScalarType::float16},
    DTypeName{"BF16", ScalarType::bfloat16},
    DTypeName{"F32", ScalarType::float32},
    DTypeName{"F64", ScalarType::float64},
    DTypeName{"C64", ScalarType::complex64},
    DTypeName{"F8_E4M3", ScalarType::float8_e4m3fn},
    DTypeName{"F8_E5M2", ScalarType::float8_e5m2},
    DTypeName{"F8_E4M3FNUZ", ScalarType::float8_e4m3fnuz},
    DTypeName{"F8_E5M2FNUZ", ScalarType::float8_e5m2fnuz},
    DTypeName{"F8_E8M0", ScalarType::float8_e8m0fnu},
};

Result<DType> parse_dtype(const SafetensorsEntry& entry) {
  for (const DTypeName& row : kDTypeNames) {
    if (row.text == entry.dtype) return make_dtype(row.type);
  }
  for (std::string_view packed : {"F4", "F6_E2M3", "F6_E3M2"}) {
    if (packed == entry.dtype) {
      return fail_at(ErrorCode::unsupported, entry.name, {},
                     "its dtype {} packs several elements into a byte, which netcl-ckpt does not read", packed);
    }
  }
  return fail_at(ErrorCode::corrupt, entry.name, {}, "its dtype '{}' is none of safetensors'",
                 entry.dtype.substr(0, 40));
}

}  // namespace

Result<void> read_safetensors(const SourcePtr& source, const ReadOptions& options, Checkpoint& out) {
  CKPT_TRY(const SafetensorsHeader header, read_safetensors_header(*source, options.limits));
  std::vector<Tree::Entry> tensors;
  tensors.reserve(header.tensors.size());
  for (const SafetensorsEntry& entry : header.tensors) {
    Tensor t;
    CKPT_TRY(t.dtype, parse_dtype(entry));
    t.shape = entry.shape;
    const std::uint64_t stored = entry.end_bytes - entry.begin_bytes;
    if (checked_product(t.shape, t.dtype.item_bytes) != stored) {
      return fail_at(ErrorCode::corrupt, entry.name, {}, "its {} bytes of data are not what {} ({}) needs", stored,
                     entry.dtype, fmt::join(entry.shape, ", "));
    }
    t.strides = c_strides(t.shape);
    t.storage = file_storage(source, header.data_offset + entry.begin_bytes, stored);
    if (options.thorough) out.members.push_back({entry.name, t.storage});
    const ValueId name = out.tree.add_string(entry.name);
    tensors.push_back({name, out.tree.add_tensor(std::move(t))});
  }
  out.root = out.tree.add_dict(tensors);

  std::vector<Tree::Entry> metadata;
  std::string_view structure;
  for (const auto& [key, value] : header.metadata) {
    if (key == kStructureKey) {
      structure = value;
      continue;
    }
    const ValueId name = out.tree.add_string(key);
    metadata.push_back({name, out.tree.add_string(value)});
  }
  if (!metadata.empty()) out.attributes = out.tree.add_dict(metadata);
  if (structure.empty()) return {};
  const ValueId flat = out.root;
  if (auto decoded = decode_structure(structure, options.limits, out); !decoded) {
    out.root = flat;
    out.problems.push_back({"bad-structure", Severity::error, "__metadata__", std::nullopt,
                            "the structure that netcl-ckpt keeps is damaged: " + decoded.error().message, ""});
  }
  return {};
}

}  // namespace netcl::ckpt
