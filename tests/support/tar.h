#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

namespace netcl::ckpt {

/// A header block of a tar, with its checksum.
struct TarHeader {
  std::string name;
  char type = '0';
  std::string size;  ///< the field's bytes
  std::string magic = std::string("ustar\0", 6) + "00";
  std::string prefix;

  std::string block() const {
    std::string out(512, '\0');
    out.replace(0, name.size(), name);
    out.replace(124, size.size(), size);
    out[156] = type;
    out.replace(257, magic.size(), magic);
    out.replace(345, prefix.size(), prefix);
    out.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (const char c : out) sum += static_cast<unsigned char>(c);
    out.replace(148, 7, fmt::format("{:06o}", sum) + '\0');
    return out;
  }
};

inline std::string tar_padding(std::size_t size) { return std::string((512 - size % 512) % 512, '\0'); }

/// A member: its header, its data, and what pads them.
inline std::string tar_member(const std::string& name, const std::string& data, char type = '0') {
  return TarHeader{name, type, fmt::format("{:011o}", data.size()), std::string("ustar\0", 6) + "00", ""}.block() +
         data + tar_padding(data.size());
}

inline const std::string kTarEnd(1024, '\0');

inline std::string tar_of(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out;
  for (const auto& [name, data] : members) out += tar_member(name, data);
  return out + kTarEnd;
}

}  // namespace netcl::ckpt
