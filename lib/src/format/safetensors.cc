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

/// Bits of an element of a dtype that packs several into a byte; 0 for every other.
unsigned packed_bits(std::string_view dtype) {
  return dtype == "F4" ? 4 : dtype == "F6_E2M3" || dtype == "F6_E3M2" ? 6 : 0;
}

/// The packed bytes as they lie there: the last dimension counts bytes, where its elements fill whole ones.
Result<void> describe_packed(const SafetensorsEntry& entry, unsigned bits, Tensor& tensor, Checkpoint& out) {
  const std::uint64_t stored = entry.end_bytes - entry.begin_bytes;
  const auto all = checked_product(entry.shape, bits);
  if (!all || *all % 8 != 0 || *all / 8 != stored)
    return fail_at(ErrorCode::corrupt, entry.name, {}, "its {} bytes of data are not what {} ({}) needs", stored,
                   entry.dtype, fmt::join(entry.shape, ", "));
  tensor.dtype = make_dtype(ScalarType::uint8);
  tensor.shape = entry.shape;
  const bool whole = !entry.shape.empty() && entry.shape.back() % 8 * bits % 8 == 0;
  if (whole) {
    tensor.shape.back() = entry.shape.back() / 8 * bits + entry.shape.back() % 8 * bits / 8;
  } else {
    tensor.shape = {stored};
  }
  out.problems.push_back({"packed-elements", Severity::note, entry.name, std::nullopt,
                          fmt::format("listed as the bytes that its elements of {} are packed into", entry.dtype), ""});
  return {};
}

Result<DType> parse_dtype(const SafetensorsEntry& entry) {
  for (const DTypeName& row : kDTypeNames) {
    if (row.text == entry.dtype) return make_dtype(row.type);
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
    if (const unsigned bits = packed_bits(entry.dtype); bits > 0) {
      CKPT_CHECK(describe_packed(entry, bits, t, out));
    } else {
      CKPT_TRY(t.dtype, parse_dtype(entry));
      t.shape = entry.shape;
    }
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
