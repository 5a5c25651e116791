// numpy.dtype as its own __reduce__ writes it: dtype(name, False, True) with the state
//   (3, byte order, sub-array, names, fields, item size, alignment, flags)
// or version 4 with (metadata, (unit, multiple, 1, 1)) behind, for datetimes. Item size and alignment
// are -1 where the name says them. Names are NumPy 1's; NumPy 2 keeps them for exactly this.
#include "format/numpy_pickle.h"

#include <charconv>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::int64_t kNeedsApi = 16;     // a structured dtype's flag: NPY_NEEDS_PYAPI
constexpr std::int64_t kUnicodeFlags = 8;  // NPY_NEEDS_INIT

/// ("ns", 1) of "ns", ("s", 25) of "25s"; "generic" of "".
std::pair<std::string, std::int64_t> split_unit(const std::string& unit) {
  std::int64_t multiple = 1;
  const auto [end, error] = std::from_chars(unit.data(), unit.data() + unit.size(), multiple);
  const std::string name(error == std::errc() ? end : unit.data());
  return {name.empty() ? "generic" : name, error == std::errc() ? multiple : 1};
}

}  // namespace

Result<void> DTypePickler::write(const DType& dtype, PickleWriter& writer) {
  const std::string descr = dtype.descr();
  if (const auto known = memo_.find(descr); known != memo_.end()) {
    writer.get(known->second);
    return {};
  }
  switch (dtype.type) {
    case ScalarType::bfloat16:
    case ScalarType::complex32:
    case ScalarType::float8_e4m3fn:
    case ScalarType::float8_e5m2:
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz:
    case ScalarType::float8_e8m0fnu:
      return fail(
          ErrorCode::unsupported,
          "NumPy has no {}, so a pickle of arrays cannot hold it; --dtype float32, or write npz, torch or safetensors",
          dtype.name());
    default: break;
  }
  const bool flexible = dtype.type == ScalarType::bytes || dtype.type == ScalarType::unicode ||
                        dtype.type == ScalarType::raw || dtype.fields;
  const bool time = dtype.type == ScalarType::datetime64 || dtype.type == ScalarType::timedelta64;
  const std::string code = dtype.fields ? fmt::format("V{}", dtype.item_bytes) : descr.substr(1, descr.find('[') - 1);
  writer.global("numpy", "dtype");
  writer.mark();
  writer.string(code);
  writer.boolean(false);
  writer.boolean(true);
  writer.tuple();
  writer.reduce();
  memo_.emplace(descr, writer.put());

  writer.mark();
  writer.integer(time ? 4 : 3);
  writer.string(dtype.fields ? "|" : descr.substr(0, 1));
  writer.none();
  if (dtype.fields) {
    writer.mark();
    for (const Field& f : *dtype.fields) {
      if (!f.name.empty()) writer.string(f.name);  // '' is padding, which the offsets say
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
        if (f.shape.empty()) {
          CKPT_CHECK(write(f.dtype, writer));
        } else {
          std::uint64_t total = f.dtype.item_bytes;
          for (const std::uint64_t d : f.shape) total *= d;
          writer.global("numpy", "dtype");
          writer.mark();
          writer.string(fmt::format("V{}", total));
          writer.boolean(false);
          writer.boolean(true);
          writer.tuple();
          writer.reduce();
          writer.mark();
          writer.integer(3);
          writer.string("|");
          writer.mark();
          CKPT_CHECK(write(f.dtype, writer));
          writer.mark();
          for (const std::uint64_t d : f.shape) writer.integer(static_cast<std::int64_t>(d));
          writer.tuple();
          writer.tuple();
          writer.none();
          writer.none();
          writer.integer(static_cast<std::int64_t>(total));
          writer.integer(1);
          writer.integer(0);
          writer.tuple();
          writer.build();
        }
        writer.integer(static_cast<std::int64_t>(f.offset_bytes));
        if (!f.title.empty()) writer.string(f.title);
        writer.tuple();
        writer.set_items();
      }
    }
  } else {
    writer.none();
    writer.none();
  }
  const bool unicode = dtype.type == ScalarType::unicode;
  writer.integer(flexible ? static_cast<std::int64_t>(dtype.item_bytes) : -1);
  writer.integer(flexible ? (unicode ? 4 : 1) : -1);
  writer.integer(dtype.fields ? kNeedsApi : unicode ? kUnicodeFlags : 0);
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

}  // namespace netcl::ckpt
