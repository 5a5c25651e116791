// numpy.dtype as its own __reduce__ writes it: dtype(name, False, True) with the state
//   (3, byte order, sub-array, names, fields, item size, alignment, flags)
// or version 4 with (metadata, (unit, multiple, 1, 1)) behind, for datetimes. Item size and alignment
// are -1 where the name says them. NumPy 1 and 2 write and read the same. For a type that NumPy lacks the
// name is ml_dtypes' class, `ml_dtypes.bfloat16`, as pickle.dumps of such an array has it.
// https://github.com/numpy/numpy/blob/main/numpy/_core/src/multiarray/descriptor.c, arraydescr_setstate
#include "format/numpy_pickle.h"

#include <charconv>

#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

// NumPy's flags of a dtype, which a pickle carries and a structured dtype has from its fields.
constexpr std::int64_t kNeedsInit = 8;
constexpr std::int64_t kNeedsPythonApi = 16;
constexpr std::int64_t kUseSetItem = 64;

std::int64_t flags_of(const DType& dtype) {
  if (dtype.type == ScalarType::unicode) return kNeedsInit;
  if (!known_to_numpy(dtype.type)) return kUseSetItem;
  if (!dtype.fields) return 0;
  std::int64_t flags = kNeedsPythonApi;
  for (const Field& f : *dtype.fields) flags |= flags_of(f.dtype);
  return flags;
}

/// ("ns", 1) of "ns", ("s", 25) of "25s"; "generic" of "".
std::pair<std::string, std::int64_t> split_unit(const std::string& unit) {
  if (unit.empty()) return {"generic", 1};
  std::int64_t multiple = 1;
  const auto [end, error] = std::from_chars(unit.data(), unit.data() + unit.size(), multiple);
  return error == std::errc() ? std::pair(std::string(end), multiple) : std::pair(unit, std::int64_t{1});
}

/// numpy.dtype(code, False, True), before its state. `code` is the name of a class where `module` is given.
void call_dtype(const std::string& code, PickleWriter& writer, const char* module = nullptr) {
  writer.global("numpy", "dtype");
  writer.mark();
  if (module != nullptr) {
    writer.global(module, code);
  } else {
    writer.string(code);
  }
  writer.boolean(false);
  writer.boolean(true);
  writer.tuple();
  writer.reduce();
}

}  // namespace

Result<void> DTypePickler::write(const DType& dtype, PickleWriter& writer) {
  const bool foreign = !known_to_numpy(dtype.type);  // ml_dtypes'
  const std::string descr = foreign ? (dtype.big_endian ? ">" : "<") + dtype.name() : dtype.descr();
  if (const auto known = memo_.find(descr); known != memo_.end()) {
    writer.get(known->second);
    return {};
  }
  const bool flexible = dtype.type == ScalarType::bytes || dtype.type == ScalarType::unicode ||
                        dtype.type == ScalarType::raw || dtype.fields;
  const bool time = dtype.type == ScalarType::datetime64 || dtype.type == ScalarType::timedelta64;
  call_dtype(dtype.fields ? fmt::format("V{}", dtype.item_bytes) : descr.substr(1, descr.find('[') - 1), writer,
             foreign ? "ml_dtypes" : nullptr);
  memo_.emplace(descr, writer.put());

  writer.mark();
  writer.integer(time ? 4 : 3);
  writer.string(dtype.fields ? "|" : descr.substr(0, 1));
  writer.none();
  if (dtype.fields) {
    CKPT_CHECK(write_fields(dtype, writer));
  } else {
    writer.none();
    writer.none();
  }
  const auto item_bytes = static_cast<std::int64_t>(dtype.item_bytes);
  writer.integer(flexible || foreign ? item_bytes : -1);
  writer.integer(foreign ? item_bytes : !flexible ? -1 : dtype.type == ScalarType::unicode ? 4 : 1);
  writer.integer(flags_of(dtype));
  if (time) {
    const auto [unit, multiple] = split_unit(dtype.unit);
    writer.mark();
    writer.empty_dict();
    writer.mark();
    writer.bytes(unit);
    writer.integer(multiple);
    writer.integer(1);
    writer.integer(1);
    writer.tuple();
    writer.tuple();
  }
  writer.tuple();
  writer.build();
  return {};
}

/// (name, …) and {name: (dtype, offset[, title])}; a field without a name is padding, which the
/// offsets say.
Result<void> DTypePickler::write_fields(const DType& dtype, PickleWriter& writer) {
  writer.mark();
  for (const Field& f : *dtype.fields) {
    if (!f.name.empty()) writer.string(f.name);
  }
  writer.tuple();
  writer.empty_dict();
  for (const Field& f : *dtype.fields) {
    if (f.name.empty()) continue;
    // NumPy finds a field by its title as well.
    for (const std::string& key : {f.name, f.title}) {
      if (key.empty()) continue;
      writer.mark();
      writer.string(key);
      writer.mark();
      CKPT_CHECK(write_field_type(f, writer));
      writer.integer(static_cast<std::int64_t>(f.offset_bytes));
      if (!f.title.empty()) writer.string(f.title);
      writer.tuple();
      writer.set_items();
    }
  }
  return {};
}

/// A sub-array is a dtype of its own, whose state has (dtype, shape).
Result<void> DTypePickler::write_field_type(const Field& field, PickleWriter& writer) {
  if (field.shape.empty()) return write(field.dtype, writer);
  std::uint64_t total = field.dtype.item_bytes;
  for (const std::uint64_t d : field.shape) total *= d;
  call_dtype(fmt::format("V{}", total), writer);
  writer.mark();
  writer.integer(3);
  writer.string("|");
  writer.mark();
  CKPT_CHECK(write(field.dtype, writer));
  writer.mark();
  for (const std::uint64_t d : field.shape) writer.integer(static_cast<std::int64_t>(d));
  writer.tuple();
  writer.tuple();
  writer.none();
  writer.none();
  writer.integer(static_cast<std::int64_t>(total));
  writer.integer(1);
  writer.integer(flags_of(field.dtype));
  writer.tuple();
  writer.build();
  return {};
}

}  // namespace netcl::ckpt
