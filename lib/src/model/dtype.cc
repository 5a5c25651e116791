// The dtype tables: NumPy's type strings and names, and the byte order of what lies in an element.
//
// A type string is  [<>|=] kind size [unit]:  "<f4", "|b1", "<U3" (3 characters, 12 bytes),
// "<M8[25us]". ml_dtypes registers its types as V of their size, with a byte order: bfloat16 is
// "<V2" where NumPy's own void of two bytes is "|V2"; its one-byte floats are all "|V1" or "<V1",
// which cannot be told apart and stay raw, but for float8_e5m2, its "<f1".
// https://numpy.org/doc/stable/reference/arrays.interface.html#arrays-interface
#include "model/dtype.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <charconv>

#include "base/checked.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

struct ScalarRow {
  ScalarType type;
  char kind;  // NumPy's kind character; 0 where NumPy itself has no such type
  std::uint8_t bytes;
  std::uint8_t word_bytes;  // the unit that byte order reverses
  const char* name;
};

constexpr std::array kScalars = {
    ScalarRow{ScalarType::boolean, 'b', 1, 1, "bool"},
    ScalarRow{ScalarType::int8, 'i', 1, 1, "int8"},
    ScalarRow{ScalarType::int16, 'i', 2, 2, "int16"},
    ScalarRow{ScalarType::int32, 'i', 4, 4, "int32"},
    ScalarRow{ScalarType::int64, 'i', 8, 8, "int64"},
    ScalarRow{ScalarType::uint8, 'u', 1, 1, "uint8"},
    ScalarRow{ScalarType::uint16, 'u', 2, 2, "uint16"},
    ScalarRow{ScalarType::uint32, 'u', 4, 4, "uint32"},
    ScalarRow{ScalarType::uint64, 'u', 8, 8, "uint64"},
    ScalarRow{ScalarType::float16, 'f', 2, 2, "float16"},
    ScalarRow{ScalarType::bfloat16, 0, 2, 2, "bfloat16"},
    ScalarRow{ScalarType::float32, 'f', 4, 4, "float32"},
    ScalarRow{ScalarType::float64, 'f', 8, 8, "float64"},
    ScalarRow{ScalarType::longdouble, 'f', 16, 16, "float128"},
    ScalarRow{ScalarType::complex64, 'c', 8, 4, "complex64"},
    ScalarRow{ScalarType::complex128, 'c', 16, 8, "complex128"},
    ScalarRow{ScalarType::clongdouble, 'c', 32, 16, "complex256"},
    ScalarRow{ScalarType::complex32, 0, 4, 2, "complex32"},
    ScalarRow{ScalarType::float8_e4m3fn, 0, 1, 1, "float8_e4m3fn"},
    ScalarRow{ScalarType::float8_e5m2, 0, 1, 1, "float8_e5m2"},
    ScalarRow{ScalarType::float8_e4m3fnuz, 0, 1, 1, "float8_e4m3fnuz"},
    ScalarRow{ScalarType::float8_e5m2fnuz, 0, 1, 1, "float8_e5m2fnuz"},
    ScalarRow{ScalarType::float8_e8m0fnu, 0, 1, 1, "float8_e8m0fnu"},
    ScalarRow{ScalarType::float8_e3m4, 0, 1, 1, "float8_e3m4"},
    ScalarRow{ScalarType::float8_e4m3, 0, 1, 1, "float8_e4m3"},
    ScalarRow{ScalarType::float8_e4m3b11fnuz, 0, 1, 1, "float8_e4m3b11fnuz"},
    ScalarRow{ScalarType::float6_e2m3fn, 0, 1, 1, "float6_e2m3fn"},
    ScalarRow{ScalarType::float6_e3m2fn, 0, 1, 1, "float6_e3m2fn"},
    ScalarRow{ScalarType::float4_e2m1fn, 0, 1, 1, "float4_e2m1fn"},
    ScalarRow{ScalarType::int4, 0, 1, 1, "int4"},
    ScalarRow{ScalarType::uint4, 0, 1, 1, "uint4"},
    ScalarRow{ScalarType::int2, 0, 1, 1, "int2"},
    ScalarRow{ScalarType::uint2, 0, 1, 1, "uint2"},
    ScalarRow{ScalarType::float4_e2m1fn_x2, 0, 1, 1, "float4_e2m1fn_x2"},
    ScalarRow{ScalarType::datetime64, 'M', 8, 8, "datetime64"},
    ScalarRow{ScalarType::timedelta64, 'm', 8, 8, "timedelta64"},
    ScalarRow{ScalarType::bytes, 'S', 0, 1, "bytes"},
    ScalarRow{ScalarType::unicode, 'U', 0, 4, "str"},
    ScalarRow{ScalarType::raw, 'V', 0, 1, "void"},
    ScalarRow{ScalarType::structured, 'V', 0, 1, "void"},
    ScalarRow{ScalarType::object, 'O', 8, 1, "object"},
};

const ScalarRow& row(ScalarType type) {
  return *std::find_if(kScalars.begin(), kScalars.end(), [&](const ScalarRow& r) { return r.type == type; });
}

/// [N]UNIT as in "<M8[25us]"; NumPy also takes NUNIT/DIVISOR, which no file that it writes holds.
bool is_time_unit(std::string_view unit) {
  std::size_t digits = 0;
  while (digits < unit.size() && unit[digits] >= '0' && unit[digits] <= '9') ++digits;
  if (digits > 9 || (digits > 0 && unit[0] == '0')) return false;
  unit.remove_prefix(digits);
  constexpr std::array<std::string_view, 14> kUnits = {"Y",  "M",  "W",  "D",  "h",  "m",  "s",
                                                       "ms", "us", "ns", "ps", "fs", "as", "μs"};
  return std::find(kUnits.begin(), kUnits.end(), unit) != kUnits.end();
}

std::string field_list_text(const std::vector<Field>& fields) {
  std::string out = "[";
  for (const Field& f : fields) {
    if (out.size() > 1) out += ", ";
    const std::string name =
        f.title.empty() ? python_repr(f.name) : fmt::format("({}, {})", python_repr(f.title), python_repr(f.name));
    out += fmt::format("({}, {}", name, f.dtype.fields ? f.dtype.descr() : python_repr(f.dtype.descr()));
    if (!f.shape.empty()) out += fmt::format(", ({}{})", fmt::join(f.shape, ", "), f.shape.size() == 1 ? "," : "");
    out += ")";
  }
  return out + "]";
}

std::uint64_t count_of(const Field& field) {
  std::uint64_t n = 1;
  for (std::uint64_t d : field.shape) n *= d;
  return n;
}

bool has_big_endian(const DType& dtype) {
  if (dtype.fields)
    return std::any_of(dtype.fields->begin(), dtype.fields->end(),
                       [](const Field& f) { return has_big_endian(f.dtype); });
  return dtype.big_endian;
}

/// Levels of fields below `dtype`; its parts were made by make_structured, so this is bounded.
std::uint32_t depth_of(const DType& dtype) {
  std::uint32_t deepest = 0;
  if (dtype.fields) {
    for (const Field& f : *dtype.fields) deepest = std::max(deepest, depth_of(f.dtype) + 1);
  }
  return deepest;
}

template <std::size_t kBytes>
void reverse_words(std::byte* p, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) std::reverse(p + i * kBytes, p + (i + 1) * kBytes);
}

void reverse_words(std::byte* p, std::size_t total_bytes, std::size_t word_bytes) {
  switch (word_bytes) {
    case 2: return reverse_words<2>(p, total_bytes / 2);
    case 4: return reverse_words<4>(p, total_bytes / 4);
    case 8: return reverse_words<8>(p, total_bytes / 8);
    case 16: return reverse_words<16>(p, total_bytes / 16);
    default: return;
  }
}

}  // namespace

std::string python_repr(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string DType::name() const {
  switch (type) {
    case ScalarType::structured: return descr();
    case ScalarType::bytes:
    case ScalarType::unicode:
    case ScalarType::raw: return item_bytes == 0 ? row(type).name : fmt::format("{}{}", row(type).name, item_bytes * 8);
    case ScalarType::datetime64:
    case ScalarType::timedelta64: return unit.empty() ? row(type).name : fmt::format("{}[{}]", row(type).name, unit);
    default: return row(type).name;
  }
}

std::string DType::descr() const {
  if (type == ScalarType::structured) return fields ? field_list_text(*fields) : "[]";
  const ScalarRow& r = row(type);
  const char order = type == ScalarType::object || r.word_bytes == 1 ? '|' : big_endian ? '>' : '<';
  if (type == ScalarType::object) return "|O";
  if (type == ScalarType::unicode) return fmt::format("{}U{}", order, item_bytes / 4);
  // The types that NumPy lacks look as ml_dtypes writes them, or as raw bytes.
  if (r.kind == 0) return type == ScalarType::bfloat16 ? fmt::format("{}V2", order) : fmt::format("|V{}", item_bytes);
  std::string out = fmt::format("{}{}{}", order, r.kind, item_bytes);
  if (!unit.empty()) out += fmt::format("[{}]", unit);
  return out;
}

bool DType::operator==(const DType& other) const {
  if (type != other.type || big_endian != other.big_endian || item_bytes != other.item_bytes || unit != other.unit)
    return false;
  if (!fields || !other.fields) return fields == other.fields;
  return fields == other.fields || *fields == *other.fields;
}

DType make_dtype(ScalarType type) {
  DType d;
  d.type = type;
  d.item_bytes = row(type).bytes;
  return d;
}

Result<DType> parse_type_string(std::string_view text) {
  const std::string_view whole = text;
  auto bad = [&] { return fail(ErrorCode::corrupt, "'{}' is not a dtype that NumPy knows", whole.substr(0, 40)); };
  if (text.empty()) return bad();
  for (const ScalarRow& r : kScalars) {
    if (r.bytes > 0 && text == r.name) return make_dtype(r.type);
  }
  DType d;
  const char order = text[0];
  const bool has_order = order == '<' || order == '>' || order == '|' || order == '=';
  if (has_order) text.remove_prefix(1);
  if (text.empty()) return bad();
  const char kind = text[0];
  text.remove_prefix(1);

  std::string_view unit;
  if (kind == 'M' || kind == 'm') {
    if (const auto open = text.find('['); open != std::string_view::npos) {
      if (text.back() != ']') return bad();
      unit = text.substr(open + 1, text.size() - open - 2);
      text = text.substr(0, open);
      if (!unit.empty() && unit != "generic" && !is_time_unit(unit)) return bad();
      if (unit == "generic") unit = {};
    }
  }

  std::uint64_t size = 0;
  if (kind == 'O') {
    if (!text.empty() && text != "8" && text != "4") return bad();
    return make_dtype(ScalarType::object);
  }
  if (kind == '?' && text.empty()) return make_dtype(ScalarType::boolean);
  if (text.empty()) {
    if (kind != 'S' && kind != 'U' && kind != 'V') return bad();
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
    if (error != std::errc() || end != text.data() + text.size()) return bad();
  }

  constexpr std::uint64_t kMaxItemBytes = 0x7fffffff;  // NumPy's elsize is a C int
  d.big_endian = order == '>';
  d.unit = unit;
  switch (kind) {
    case 'S':
    case 'a': d.type = ScalarType::bytes; break;
    case 'U':
      d.type = ScalarType::unicode;
      if (size > kMaxItemBytes / 4) return bad();
      size *= 4;
      break;
    case 'V':
      if (size == 2 && (order == '<' || order == '>')) {
        d.type = ScalarType::bfloat16;
      } else {
        d.type = ScalarType::raw;
      }
      break;
    case 'f':
      if (size == 1) {  // what ml_dtypes, alone of all, calls it
        d.type = ScalarType::float8_e5m2;
        break;
      }
      [[fallthrough]];
    default: {
      const auto it = std::find_if(kScalars.begin(), kScalars.end(),
                                   [&](const ScalarRow& r) { return r.kind == kind && r.bytes == size; });
      if (it == kScalars.end()) return bad();
      d.type = it->type;
    }
  }
  if (size > kMaxItemBytes) return bad();
  d.item_bytes = size;
  if (row(d.type).word_bytes == 1) d.big_endian = false;
  return d;
}

Result<DType> make_structured(std::vector<Field> fields, std::uint32_t max_depth) {
  std::uint64_t total = 0;
  for (Field& f : fields) {
    if (depth_of(f.dtype) >= max_depth) {
      return fail(ErrorCode::limit_exceeded, "the structured dtype is nested deeper than {}", max_depth);
    }
    f.offset_bytes = total;
    const auto bytes = checked_product(f.shape, f.dtype.item_bytes);
    const auto next = bytes ? checked_add(total, *bytes) : std::nullopt;
    if (!next || *next > 0x7fffffff) return fail(ErrorCode::corrupt, "the structured dtype is too large");
    total = *next;
  }
  DType d;
  d.type = ScalarType::structured;
  d.item_bytes = total;
  d.fields = std::make_shared<const std::vector<Field>>(std::move(fields));
  return d;
}

bool known_to_numpy(ScalarType type) { return row(type).kind != 0; }

bool has_object(const DType& dtype) {
  if (dtype.fields)
    return std::any_of(dtype.fields->begin(), dtype.fields->end(), [](const Field& f) { return has_object(f.dtype); });
  return dtype.type == ScalarType::object;
}

void to_little_endian(const DType& dtype, std::span<std::byte> items) {
  if (dtype.item_bytes == 0 || !has_big_endian(dtype)) return;
  if (!dtype.fields) return reverse_words(items.data(), items.size(), row(dtype.type).word_bytes);
  for (std::size_t at = 0; at < items.size(); at += dtype.item_bytes) {
    for (const Field& f : *dtype.fields) {
      to_little_endian(f.dtype, items.subspan(at + f.offset_bytes, count_of(f) * f.dtype.item_bytes));
    }
  }
}

DType little_endian(const DType& dtype) {
  DType d = dtype;
  d.big_endian = false;
  if (d.fields) {
    auto fields = *d.fields;
    for (Field& f : fields) f.dtype = little_endian(f.dtype);
    d.fields = std::make_shared<const std::vector<Field>>(std::move(fields));
  }
  return d;
}

}  // namespace netcl::ckpt
