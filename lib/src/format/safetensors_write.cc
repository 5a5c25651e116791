// safetensors as a plan: u64 header length, JSON header, payloads side by side without holes.
// https://github.com/huggingface/safetensors#format
// The header lists tensors in the checkpoint's order. Payloads lie by descending element size, which
// aligns each of them, as the reference implementation does.
#include <algorithm>
#include <unordered_set>

#include "base/endian.h"
#include "base/text.h"
#include "base/try.h"
#include "format/structure_encode.h"
#include "format/write_plan.h"

namespace netcl::ckpt {
namespace {

const char* dtype_code(ScalarType type) {
  switch (type) {
    case ScalarType::boolean: return "BOOL";
    case ScalarType::int8: return "I8";
    case ScalarType::int16: return "I16";
    case ScalarType::int32: return "I32";
    case ScalarType::int64: return "I64";
    case ScalarType::uint8: return "U8";
    case ScalarType::uint16: return "U16";
    case ScalarType::uint32: return "U32";
    case ScalarType::uint64: return "U64";
    case ScalarType::float16: return "F16";
    case ScalarType::bfloat16: return "BF16";
    case ScalarType::float32: return "F32";
    case ScalarType::float64: return "F64";
    case ScalarType::complex64: return "C64";
    case ScalarType::float8_e4m3fn: return "F8_E4M3";
    case ScalarType::float8_e5m2: return "F8_E5M2";
    case ScalarType::float8_e8m0fnu: return "F8_E8M0";
    default: return nullptr;
  }
}

}  // namespace

Result<WritePlan> plan_safetensors(const Checkpoint& checkpoint) {
  const Tree& tree = checkpoint.tree;
  CKPT_TRY(const auto tensors, list_tensors(checkpoint));

  // Attributes that are texts are what safetensors' own metadata is; anything else needs the structure.
  const auto attributes = tree.entries(checkpoint.attributes);
  std::unordered_set<std::string_view> keys;
  const bool plain = std::all_of(attributes.begin(), attributes.end(), [&](const Tree::Entry& e) {
    return tree.kind(e.key) == ValueKind::string && tree.kind(e.value) == ValueKind::string &&
           tree.text(e.key) != kStructureKey && is_utf8(tree.text(e.key)) && is_utf8(tree.text(e.value)) &&
           keys.insert(tree.text(e.key)).second;
  });
  std::string header = "{";
  std::string metadata;
  if (plain) {
    for (const Tree::Entry& e : attributes) {
      metadata += fmt::format("{}{}:{}", metadata.empty() ? "" : ",", json_string(tree.text(e.key)),
                              json_string(tree.text(e.value)));
    }
  }
  const auto* format = plain ? nullptr : tree.find(checkpoint.attributes, "format");
  if (format != nullptr && tree.kind(format->value) == ValueKind::string && is_utf8(tree.text(format->value)))
    metadata = fmt::format("\"format\":{}", json_string(tree.text(format->value)));
  CKPT_TRY(const std::string structure, encode_structure(checkpoint, false, !plain));
  if (!structure.empty()) {
    metadata += fmt::format("{}{}:{}", metadata.empty() ? "" : ",", json_string(kStructureKey), json_string(structure));
  }
  if (!metadata.empty()) header += fmt::format("\"__metadata__\":{{{}}}", metadata);

  std::vector<std::size_t> order(tensors.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  auto item_bytes = [&](std::size_t i) { return tree.tensor(tensors[i].value).dtype.item_bytes; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return item_bytes(a) > item_bytes(b); });
  std::vector<std::uint64_t> begins(tensors.size());
  std::uint64_t at = 0;
  for (const std::size_t i : order) {
    begins[i] = at;
    at += tree.tensor(tensors[i].value).size_bytes();
  }

  std::unordered_set<std::string> taken;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tree.tensor(tensors[i].value);
    const std::string name = tensors[i].path.empty() ? "arr_0" : tensors[i].name;
    CKPT_CHECK(check_readable(t, name));
    const char* code = dtype_code(t.dtype.type);
    if (code == nullptr || !t.storage) {
      return fail_at(ErrorCode::unsupported, name, std::nullopt,
                     "safetensors cannot hold {}; exclude it, or write an npz", t.dtype.name());
    }
    if (name == "__metadata__" || !taken.insert(name).second) {
      return with_way_out(
          fail_at(ErrorCode::unsupported, name, std::nullopt, "this name cannot be used here, or is used twice"),
          "rename it (`renames`)");
    }
    header +=
        fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", header.size() > 1 ? "," : "",
                    json_string(name), code, fmt::join(t.shape, ","), begins[i], begins[i] + t.size_bytes());
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  char length[8];
  store_le(length, std::uint64_t{header.size()});

  WritePlan plan;
  WritePart head;
  head.head = std::string(length, sizeof length) + header;
  plan.parts.push_back(std::move(head));
  for (const std::size_t i : order) {
    WritePart part;
    part.name = tensors[i].name;
    part.payload = tree.tensor(tensors[i].value);
    part.in_c_order = true;
    plan.parts.push_back(std::move(part));
  }
  return plan;
}

}  // namespace netcl::ckpt
