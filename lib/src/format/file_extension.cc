// Which format a file gets that is written under a name. What a file is that is read, its content tells.
#include "format/file_extension.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace netcl::ckpt {

std::optional<Format> written_format(const std::filesystem::path& path) {
  constexpr std::array<std::pair<std::string_view, Format>, 8> kFormats = {{{".npz", Format::npz},
                                                                            {".npy", Format::npy},
                                                                            {".netcl", Format::netcl},
                                                                            {".pkl", Format::pickle},
                                                                            {".pickle", Format::pickle},
                                                                            {".pt", Format::torch},
                                                                            {".pth", Format::torch},
                                                                            {".safetensors", Format::safetensors}}};
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [known, format] : kFormats) {
    if (extension == known) return format;
  }
  return std::nullopt;
}

}  // namespace netcl::ckpt
