// numpy.dtype as its __reduce__ gives it: dtype(code, False, True) with the state
//   (3, byte order, sub-array, names, fields, item size, alignment, flags)
// or version 4 with (metadata, (unit, multiple, 1, 1)) behind, for datetimes. What arraydescr_setstate of
// NumPy refuses is corrupt here. Nesting is bounded by max_dtype_depth, which also ends a dtype in itself.
// https://github.com/numpy/numpy/blob/main/numpy/_core/src/multiarray/descriptor.c
#include "format/pickle_dtype.h"

#include <algorithm>
#include <unordered_set>

#include "base/checked.h"
#include "base/text.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {

Result<PickleDTypes::SubArray> PickleDTypes::parse_sub_array(PickleId id, std::uint32_t depth) const {
  // One dtype is shared by thousands of arrays.
  if (const auto it = known_.find(id); it != known_.end()) {
    view_.pay(it->second.num_fields);
    return it->second;
  }
  CKPT_TRY(SubArray parsed, parse_new_sub_array(id, depth));
  return known_.emplace(id, std::move(parsed)).first->second;
}

Result<PickleDTypes::SubArray> PickleDTypes::parse_new_sub_array(PickleId id, std::uint32_t depth) const {
  if (depth > view_.limits.max_dtype_depth)
    return fail(ErrorCode::limit_exceeded, "the dtype is nested deeper than {}", view_.limits.max_dtype_depth);
  if (view_.called(id) != Meaning::dtype) return bad_pickle("a dtype is not one");
  const auto given = view_.args(id);
  if (given.empty()) return bad_pickle("a dtype has no type code");
  const bool of_ml_dtypes = view_.meaning(given[0]) == Meaning::ml_dtype;
  std::string code;
  if (of_ml_dtypes) {
    code = view_.graph.global(given[0]).name;
  } else if (view_.kind(given[0]) == PickleKind::global) {
    // numpy.record: a structured dtype whose elements have attributes.
    if (view_.graph.global(given[0]).name != "record")
      return fail(ErrorCode::unsupported, "a dtype of {}", to_valid_utf8(view_.graph.global(given[0]).qualified()));
    code = "V";
  } else if (view_.kind(given[0]) == PickleKind::string) {
    code = view_.text(given[0]);
    if (code == "O4" || code == "O8") code = "O";  // the oldest NumPy
  } else {
    return bad_pickle("a dtype has no type code");
  }
  const PickleId state = view_.graph.call(id).state;
  if (state == kNoPickle) {
    CKPT_TRY(DType dtype, parse_type_string(code));
    return SubArray{std::move(dtype), {}};
  }
  if (view_.kind(state) != PickleKind::tuple) return bad_pickle("a dtype's state is no tuple");
  const auto s = view_.items(state);
  if (s.size() < 6 || s.size() > 9 || view_.kind(s[0]) != PickleKind::integer || view_.kind(s[1]) != PickleKind::string)
    return bad_pickle("a dtype's state has the wrong parts");
  constexpr std::int64_t kNewestVersion = 4;
  if (view_.graph.integer(s[0]) < 0 || view_.graph.integer(s[0]) > kNewestVersion)
    return fail(ErrorCode::corrupt, "a dtype's state has version {}, which does not exist", view_.graph.integer(s[0]));
  const std::string order(view_.text(s[1]));
  if (order != "<" && order != ">" && order != "|" && order != "=")
    return bad_pickle("a dtype has an unknown byte order");
  if (view_.kind(s[5]) != PickleKind::integer || view_.graph.integer(s[5]) < -1 ||
      view_.graph.integer(s[5]) > 0x7fffffff)
    return bad_pickle("a dtype has an impossible size");
  const std::int64_t size = view_.graph.integer(s[5]);

  if (view_.kind(s[2]) == PickleKind::tuple) return parse_shaped(s[2], depth);
  if (view_.kind(s[3]) == PickleKind::tuple) {
    std::uint64_t num_fields = 1;
    CKPT_TRY(DType dtype, parse_fields(s[3], s[4], size, depth, num_fields));
    return SubArray{std::move(dtype), {}, num_fields};
  }
  if (view_.kind(s[3]) != PickleKind::none) return bad_pickle("a dtype's field names are no tuple");
  if (s.size() == 9) {
    if (code == "M8" || code == "m8") CKPT_CHECK(append_unit(s[8], code));
  }
  const bool typed = order == "<" || order == ">" || order == "=";
  const std::string prefix = of_ml_dtypes ? "" : typed && !code.starts_with('V') ? order : "|";
  CKPT_TRY(DType dtype, parse_type_string(prefix + code));
  if (of_ml_dtypes) dtype.big_endian = order == ">" && dtype.item_bytes > 1;
  if (size > 0 && static_cast<std::uint64_t>(size) != dtype.item_bytes) {
    const bool flexible =
        dtype.type == ScalarType::bytes || dtype.type == ScalarType::unicode || dtype.type == ScalarType::raw;
    // The size of a type of ml_dtypes is its class's, whatever the state says.
    if (!of_ml_dtypes && (!flexible || dtype.item_bytes != 0)) return bad_pickle("a dtype's size contradicts its type");
    if (!of_ml_dtypes) dtype.item_bytes = static_cast<std::uint64_t>(size);
  }
  return SubArray{std::move(dtype), {}};
}

/// (dtype, shape) in a state.
Result<PickleDTypes::SubArray> PickleDTypes::parse_shaped(PickleId sub_array, std::uint32_t depth) const {
  const auto sub = view_.items(sub_array);
  if (sub.size() != 2) return bad_pickle("a sub-array dtype has the wrong parts");
  CKPT_TRY(SubArray inner, parse_sub_array(sub[0], depth + 1));
  std::vector<std::uint64_t> shape;
  if (view_.is_integer(sub[1])) {
    if (!view_.size(sub[1])) return bad_pickle("a sub-array has a negative size");
    shape.push_back(*view_.size(sub[1]));
  } else {
    CKPT_TRY(shape, sizes(sub[1]));
  }
  shape.insert(shape.end(), inner.shape.begin(), inner.shape.end());
  return SubArray{std::move(inner.dtype), std::move(shape), inner.num_fields};
}

/// ({}, (b'ns', 1, 1, 1)) -> "[ns]"
Result<void> PickleDTypes::append_unit(PickleId metadata, std::string& code) const {
  if (view_.kind(metadata) != PickleKind::tuple || view_.items(metadata).size() != 2)
    return bad_pickle("a datetime dtype has no unit");
  const PickleId unit = view_.items(metadata)[1];
  if (view_.kind(unit) != PickleKind::tuple || view_.items(unit).size() < 2)
    return bad_pickle("a datetime dtype has no unit");
  const auto parts = view_.items(unit);
  std::string name;
  if (view_.kind(parts[0]) == PickleKind::bytes) {
    if (view_.graph.range(parts[0]).size_bytes > 16) return bad_pickle("a datetime dtype has an unknown unit");
    CKPT_TRY(name, view_.read(view_.graph.range(parts[0])));
  } else if (view_.kind(parts[0]) == PickleKind::string) {
    name = view_.text(parts[0]);
  } else {
    CKPT_TRY(name, view_.encoded_bytes(parts[0]));
  }
  if (view_.kind(parts[1]) != PickleKind::integer || view_.graph.integer(parts[1]) < 1)
    return bad_pickle("a datetime dtype has an impossible unit");
  if (name == "generic") return {};
  const std::int64_t multiple = view_.graph.integer(parts[1]);
  code += multiple == 1 ? fmt::format("[{}]", name) : fmt::format("[{}{}]", multiple, name);
  return {};
}

/// names: (name, …); fields: {name: (dtype, offset[, title])}. Gaps become fields without a name.
Result<DType> PickleDTypes::parse_fields(PickleId names, PickleId fields, std::int64_t size, std::uint32_t depth,
                                         std::uint64_t& num_fields) const {
  if (view_.kind(fields) != PickleKind::dict) return bad_pickle("a structured dtype has no fields");
  std::unordered_map<std::string, PickleId> by_name;
  const auto entries = view_.items(fields);
  for (std::size_t i = 0; i + 1 < entries.size(); i += 2) {
    if (view_.kind(entries[i]) == PickleKind::string) by_name[std::string(view_.text(entries[i]))] = entries[i + 1];
  }
  struct Placed {
    Field field;
    std::uint64_t offset, bytes;
  };
  std::vector<Placed> placed;
  std::unordered_set<std::string> seen;
  for (const PickleId n : view_.items(names)) {
    if (view_.kind(n) != PickleKind::string || !seen.insert(std::string(view_.text(n))).second)
      return bad_pickle("a structured dtype has a bad field name");
    const auto it = by_name.find(std::string(view_.text(n)));
    if (it == by_name.end() || view_.kind(it->second) != PickleKind::tuple)
      return bad_pickle("a structured dtype names a field that it lacks");
    const auto parts = view_.items(it->second);
    if (parts.size() < 2 || view_.kind(parts[1]) != PickleKind::integer || view_.graph.integer(parts[1]) < 0)
      return bad_pickle("a field has no offset");
    CKPT_TRY(SubArray type, parse_sub_array(parts[0], depth + 1));
    if (!known_to_numpy(type.dtype.type) && type.dtype.type != ScalarType::bfloat16)
      return fail(ErrorCode::unsupported, "a structured dtype with a field of {}", type.dtype.name());
    constexpr std::uint64_t kMaxFields = std::uint64_t{1} << 16;
    num_fields += type.num_fields;
    if (num_fields > kMaxFields)
      return fail(ErrorCode::limit_exceeded, "a structured dtype has more than {} fields, nested ones counted",
                  kMaxFields);
    Placed p;
    p.field.name = view_.text(n);
    if (parts.size() > 2 && view_.kind(parts[2]) == PickleKind::string) p.field.title = view_.text(parts[2]);
    const auto bytes = checked_product(type.shape, type.dtype.item_bytes);
    if (!bytes) return bad_pickle("a field is too large");
    p.bytes = *bytes;
    p.offset = static_cast<std::uint64_t>(view_.graph.integer(parts[1]));
    p.field.dtype = std::move(type.dtype);
    p.field.shape = std::move(type.shape);
    placed.push_back(std::move(p));
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.offset < b.offset; });
  std::vector<Field> out;
  std::uint64_t at = 0;
  auto pad_to = [&](std::uint64_t offset) {
    if (offset == at) return;
    Field gap;
    gap.dtype = DType{ScalarType::raw, false, offset - at, "", nullptr};
    out.push_back(std::move(gap));
    at = offset;
  };
  for (Placed& p : placed) {
    if (p.offset < at) return fail(ErrorCode::unsupported, "a structured dtype has fields that overlap");
    pad_to(p.offset);
    at += p.bytes;
    out.push_back(std::move(p.field));
  }
  if (size >= 0) {
    if (static_cast<std::uint64_t>(size) < at) return bad_pickle("a field reaches beyond its dtype");
    pad_to(static_cast<std::uint64_t>(size));
  }
  return make_structured(std::move(out), view_.limits.max_dtype_depth);
}

Result<DType> PickleDTypes::parse(PickleId id) const {
  CKPT_TRY(SubArray whole, parse_sub_array(id, 0));
  if (!whole.shape.empty()) return bad_pickle("a dtype that is a sub-array stands where a plain one belongs");
  return std::move(whole.dtype);
}

Result<std::vector<std::uint64_t>> PickleDTypes::sizes(PickleId id) const {
  while (view_.called(id) == Meaning::size && !view_.spent()) {
    const auto given = view_.args(id);
    if (given.size() != 1) return bad_pickle("a torch.Size of something that is no tuple");
    id = given[0];
  }
  if (view_.kind(id) != PickleKind::tuple && view_.kind(id) != PickleKind::list)
    return bad_pickle("a shape is no tuple");
  const auto items = view_.items(id);
  if (items.size() > view_.limits.max_dimensions)
    return fail(ErrorCode::corrupt, "an array of {} dimensions", items.size());
  std::vector<std::uint64_t> out;
  for (const PickleId i : items) {
    const auto size = view_.size(i);
    if (!size) return bad_pickle("a shape holds something other than sizes");
    out.push_back(*size);
  }
  return out;
}

}  // namespace netcl::ckpt
