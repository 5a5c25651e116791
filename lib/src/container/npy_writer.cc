// The npy header as numpy.lib.format writes it: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
// Version 1.0 wherever it fits, 2.0 beyond 64 KiB, 3.0 where a field's name is not ASCII.
#include "container/npy_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/endian.h"

namespace netcl::ckpt {

std::string npy_header(std::string_view descr, bool fortran_order, std::span<const std::uint64_t> shape) {
  std::string header =
      fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': ({}{}), }}", descr, fortran_order ? "True" : "False",
                  fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  const bool ascii =
      std::all_of(descr.begin(), descr.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  // Magic, version and length take 10 bytes in version 1.0 and 12 after; the newline ends the padding.
  const bool wide = !ascii || header.size() + 1 + 64 > 0xffff;
  const std::size_t prefix = wide ? 12 : 10;
  header.append((64 - (prefix + header.size() + 1) % 64) % 64, ' ');
  header += '\n';

  std::string out = "\x93NUMPY";
  out += static_cast<char>(!wide ? 1 : ascii ? 2 : 3);
  out += '\0';
  char length[4];
  store_le(length, static_cast<std::uint32_t>(header.size()));
  out.append(length, wide ? 4 : 2);
  return out + header;
}

}  // namespace netcl::ckpt
