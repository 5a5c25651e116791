// safetensors: the header's entries as tensors of the file. The layout is in
// container/safetensors_header.cc; here the dtype names and the sizes get their meaning.
// Tensors are listed in the order of their data, as the reference reader lists them.
#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/endian.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/safetensors_header.h"
#include "format/readers.h"
#include "format/structure_decode.h"
#include "format/write_plan.h"

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
  out.problems.push_back(
      make_problem(ProblemCode::packed_elements, entry.name, std::nullopt,
                   fmt::format("listed as the bytes that its elements of {} are packed into", entry.dtype)));
  return {};
}

Result<DType> parse_dtype(const SafetensorsEntry& entry) {
  for (const DTypeName& row : kDTypeNames) {
    if (row.text == entry.dtype) return make_dtype(row.type);
  }
  return fail_at(ErrorCode::corrupt, entry.name, {}, "its dtype '{}' is none of safetensors'",
                 entry.dtype.substr(0, 40));
}

/// Why a tensor's data cannot be what its entry says; "" where it may. `next`: where the tensor before it ends.
std::string fault_of(const SafetensorsEntry& entry, std::uint64_t next, std::uint64_t data_bytes) {
  if (entry.end_bytes < entry.begin_bytes) return "its data ends before it begins";
  const std::uint64_t size = entry.end_bytes - entry.begin_bytes;
  if (entry.end_bytes > data_bytes)
    return fmt::format("cut short: {} of {} bytes are there", data_bytes - std::min(data_bytes, entry.begin_bytes),
                       size);
  if (entry.begin_bytes < next) return "its data overlaps that of the tensor before it";
  const auto dtype = parse_dtype(entry);
  const unsigned bits = packed_bits(entry.dtype);
  const auto needed = bits > 0 ? checked_product(entry.shape, bits)
                      : dtype  ? checked_product(entry.shape, std::uint64_t{dtype->item_bytes} * 8)
                               : checked_mul(size, 8);  // of a dtype of a later version
  if (!needed || *needed % 8 != 0 || *needed / 8 != size)
    return fmt::format("its {} bytes of data are not what {} ({}) needs", size, entry.dtype,
                       fmt::join(entry.shape, ", "));
  return "";
}

}  // namespace

Result<SafetensorsRepair> plan_safetensors_repair(const SourcePtr& source, const Limits& limits) {
  CKPT_TRY(SafetensorsHeader header, parse_safetensors_header(*source, limits));
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin_bytes, a.end_bytes) < std::pair(b.begin_bytes, b.end_bytes);
  });
  const std::uint64_t data_bytes = source->size_bytes() - header.data_offset;
  SafetensorsRepair out;
  std::string metadata, entries;
  for (const auto& [key, value] : header.metadata)
    metadata += fmt::format("{}{}:{}", metadata.empty() ? "" : ",", json_string(key), json_string(value));
  std::vector<WritePart> parts;
  std::uint64_t next = 0, at = 0;  // in the data of the source, and of the result
  for (const SafetensorsEntry& entry : header.tensors) {
    if (std::string fault = fault_of(entry, next, data_bytes); !fault.empty()) {
      const auto offset = checked_add(header.data_offset, entry.begin_bytes);
      out.lost.push_back({entry.name, offset.value_or(source->size_bytes()), std::move(fault)});
      continue;
    }
    const std::uint64_t size = entry.end_bytes - entry.begin_bytes;
    next = entry.end_bytes;
    entries += fmt::format(",{}:{{\"dtype\":{},\"shape\":[{}],\"data_offsets\":[{},{}]}}", json_string(entry.name),
                           json_string(entry.dtype), fmt::join(entry.shape, ","), at, at + size);
    at += size;
    out.kept.push_back(entry.name);
    WritePart part;
    part.name = entry.name;
    part.payload.emplace();
    part.payload->dtype = make_dtype(ScalarType::uint8);
    part.payload->shape = {size};
    part.payload->strides = c_strides(part.payload->shape);
    part.payload->storage = file_storage(source, header.data_offset + entry.begin_bytes, size);
    parts.push_back(std::move(part));
  }
  out.unused_bytes = data_bytes - at;
  std::string text = metadata.empty() ? entries : fmt::format(",\"__metadata__\":{{{}}}{}", metadata, entries);
  text = "{" + text.substr(std::min<std::size_t>(text.size(), 1)) + "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  char length[8];
  store_le(length, std::uint64_t{text.size()});
  WritePart head;
  head.head = std::string(length, sizeof length) + text;
  out.plan.parts.push_back(std::move(head));
  std::move(parts.begin(), parts.end(), std::back_inserter(out.plan.parts));
  return out;
}

Result<void> read_safetensors(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
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
    out.problems.push_back(make_problem(ProblemCode::bad_structure, "__metadata__", std::nullopt,
                                        "the structure that netcl-ckpt keeps is damaged: " + decoded.error().message));
  }
  return {};
}

}  // namespace netcl::ckpt
