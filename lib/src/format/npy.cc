// One array in an npy file, and what an npy header means wherever it stands.
#include "format/npy.h"

#include <algorithm>
#include <unordered_set>

#include "base/checked.h"
#include "base/problem.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

tl::unexpected<Error> bad_descr() {
  return fail(ErrorCode::corrupt, "the header's descr is not one that NumPy writes");
}

Result<DType> parse_descr(const PyLiteral& descr, const Limits& limits, std::uint32_t depth);

/// (name, descr) or (name, descr, shape); name may be (title, name).
Result<Field> parse_field(const PyLiteral& item, const Limits& limits, std::uint32_t depth) {
  using Kind = PyLiteral::Kind;
  if (item.kind != Kind::tuple || item.items.size() < 2 || item.items.size() > 3) return bad_descr();
  Field field;
  const PyLiteral& name = item.items[0];
  if (name.kind == Kind::string) {
    field.name = name.text;
  } else if (name.kind == Kind::tuple && name.items.size() == 2 && name.items[0].kind == Kind::string &&
             name.items[1].kind == Kind::string) {
    field.title = name.items[0].text;
    field.name = name.items[1].text;
  } else {
    return bad_descr();
  }
  CKPT_TRY(field.dtype, parse_descr(item.items[1], limits, depth + 1));
  if (item.items.size() == 3) {
    const PyLiteral& shape = item.items[2];
    const auto dims = shape.kind == Kind::integer ? std::span(&shape, 1) : std::span(shape.items);
    if (shape.kind != Kind::integer && shape.kind != Kind::tuple) return bad_descr();
    if (dims.size() > limits.max_dimensions)
      return fail(ErrorCode::limit_exceeded, "a field has {} dimensions", dims.size());
    for (const PyLiteral& d : dims) {
      if (d.kind != Kind::integer) return bad_descr();
      field.shape.push_back(d.integer);
    }
  }
  return field;
}

Result<DType> parse_descr(const PyLiteral& descr, const Limits& limits, std::uint32_t depth) {
  if (descr.kind == PyLiteral::Kind::string) return parse_type_string(descr.text);
  if (descr.kind != PyLiteral::Kind::list) return bad_descr();
  if (depth > limits.max_dtype_depth)
    return fail(ErrorCode::limit_exceeded, "the dtype is nested deeper than {}", limits.max_dtype_depth);
  std::vector<Field> fields;
  std::unordered_set<std::string> names;
  for (const PyLiteral& item : descr.items) {
    CKPT_TRY(Field field, parse_field(item, limits, depth));
    for (const std::string& name : {field.name, field.title}) {
      if (!name.empty() && !names.insert(name).second)
        return fail(ErrorCode::corrupt, "the dtype has two fields '{}'", name);
    }
    fields.push_back(std::move(field));
  }
  return make_structured(std::move(fields), limits.max_dtype_depth);
}

}  // namespace

Result<ValueId> add_npy_array(const NpyHeader& header, const StoragePtr& payload, const std::string& where,
                              const OpenOptions& options, Checkpoint& out) {
  Tensor tensor;
  CKPT_TRY(tensor.dtype, parse_descr(header.descr, options.limits, 0));
  tensor.shape = header.shape;
  const auto size = checked_product(header.shape, tensor.dtype.item_bytes);
  constexpr std::uint64_t kMaxEmptyElements = 1 << 20;  // elements of no bytes cost nothing to claim
  if (!size || (tensor.dtype.item_bytes == 0 && tensor.num_elements() > kMaxEmptyElements)) {
    return fail_at(ErrorCode::corrupt, where, std::nullopt, "the shape describes more elements than there can be");
  }
  tensor.strides = header.fortran_order ? f_strides(header.shape) : c_strides(header.shape);
  if (has_object(tensor.dtype)) {
    // NumPy reads the pickle whatever the shape says.
    CKPT_TRY(const ValueId elements, read_object_pickle(payload, where, options, out));
    // Of plain objects it is an array; arrays, dicts and lists in it are listed as what they are.
    const bool listed = out.tree.kind(elements) == ValueKind::tensor && out.tree.tensor(elements).storage == nullptr;
    if (!listed) return elements;
    return out.tree.add_tensor(std::move(tensor));
  }
  if (*size > payload->size_bytes()) {
    return fail_at(ErrorCode::truncated, where, header.header_bytes, "the header describes {} bytes, {} are there",
                   *size, payload->size_bytes());
  }
  if (*size < payload->size_bytes()) {
    out.problems.push_back(
        make_problem(ProblemCode::trailing_payload, where, header.header_bytes + *size,
                     fmt::format("{} bytes follow the array; NumPy ignores them", payload->size_bytes() - *size)));
  }
  tensor.storage = payload;
  return out.tree.add_tensor(std::move(tensor));
}

namespace {

/// True where another array begins at `offset_bytes`.
Result<bool> another_array(const ByteSource& source, std::uint64_t offset_bytes) {
  std::vector<std::byte> start(std::min<std::uint64_t>(source.size_bytes() - offset_bytes, kNpyPreambleBytes));
  CKPT_CHECK(source.read_at(offset_bytes, start));
  return has_npy_magic(start);
}

/// The array whose header begins at `offset_bytes`, which becomes the place behind it.
Result<ValueId> read_array(const SourcePtr& source, std::uint64_t& offset_bytes, const std::string& where,
                           const OpenOptions& options, Checkpoint& out) {
  const std::uint64_t left = source->size_bytes() - offset_bytes;
  std::vector<std::byte> head(std::min<std::uint64_t>(left, kNpyPreambleBytes));
  CKPT_CHECK(source->read_at(offset_bytes, head));
  CKPT_TRY(const std::uint64_t header_bytes, npy_header_bytes(head, options.limits));
  if (header_bytes > left) {
    return fail_at(ErrorCode::truncated, "", source->size_bytes(), "the file ends inside the npy header");
  }
  head.resize(header_bytes);
  CKPT_CHECK(source->read_at(offset_bytes, head));
  CKPT_TRY(const NpyHeader header, parse_npy_header(head, options.limits));
  const StoragePtr payload = file_storage(source, offset_bytes + header_bytes, left - header_bytes);
  const std::size_t problems = out.problems.size();
  CKPT_TRY(const ValueId array, add_npy_array(header, payload, where, options, out));
  // How long an object array is only its pickle says; what follows it is not looked for.
  const bool plain = out.tree.kind(array) == ValueKind::tensor && out.tree.tensor(array).storage == payload;
  offset_bytes = plain ? offset_bytes + header_bytes + out.tree.tensor(array).size_bytes() : source->size_bytes();
  if (offset_bytes < source->size_bytes()) {
    CKPT_TRY(const bool another, another_array(*source, offset_bytes));
    if (another) out.problems.resize(problems);  // what follows is no trailing rest
  }
  return array;
}

}  // namespace

Result<ValueId> add_npy_file(const SourcePtr& source, const std::string& where, const OpenOptions& options,
                             Checkpoint& out) {
  std::uint64_t at = 0;
  auto array = read_array(source, at, where, options, out);
  if (!array && array.error().member.empty()) array.error().member = where;
  return array;
}

// numpy.save to an open file may be called again and again, and numpy.load likewise.
Result<void> read_npy(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  std::uint64_t at = 0;
  CKPT_TRY(out.root, read_array(source, at, "", options, out));
  std::vector<Tree::Entry> arrays;
  while (at < source->size_bytes()) {
    CKPT_TRY(const bool another, another_array(*source, at));
    if (!another) break;
    if (arrays.empty()) arrays.push_back({out.tree.add_string("(array)"), out.root});
    if (arrays.size() >= options.limits.max_names)
      return fail_at(ErrorCode::limit_exceeded, "", at, "more than {} arrays in one file", options.limits.max_names);
    auto next = read_array(source, at, "", options, out);
    if (!next) {
      Error& e = next.error();
      if (could_not_look(e.code)) return tl::make_unexpected(std::move(e));
      e.offset_bytes = e.offset_bytes.value_or(0) + at;
      out.problems.push_back(to_problem(e, fmt::format("(array {})", arrays.size() + 1)));
      break;
    }
    const ValueId name = out.tree.add_string(fmt::format("(array {})", arrays.size() + 1));
    arrays.push_back({name, *next});
  }
  if (!arrays.empty()) out.root = out.tree.add_dict(arrays);
  return {};
}

}  // namespace netcl::ckpt
