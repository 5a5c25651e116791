#pragma once

#include <optional>
#include <string>
#include <vector>

#include "codec/crc32.h"
#include "container/zip_writer.h"

namespace netcl::ckpt {

/// A stored member of a test's archive.
struct ArchivePart {
  std::string name;
  std::string data;
  std::optional<std::uint32_t> crc32;  ///< in place of the right one
};

/// A zip of these, one after another.
inline std::string zip_of(const std::vector<ArchivePart>& parts, const std::string& comment = "") {
  std::string out;
  std::vector<ZipEntry> entries;
  for (const ArchivePart& part : parts) {
    ZipEntry e;
    e.name = part.name;
    e.size_bytes = e.stored_bytes = part.data.size();
    e.crc32 = part.crc32.value_or(crc32(0, std::as_bytes(std::span(part.data))));
    e.header_offset = out.size();
    place_zip_data(e, 1);
    out += zip_local_header(e) + part.data;
    entries.push_back(e);
  }
  return out + zip_central_directory(entries, out.size(), comment);
}

}  // namespace netcl::ckpt
