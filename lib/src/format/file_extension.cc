// The formats that extensions promise. What a file that is read really is, its content tells.
#include "format/file_extension.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace netcl::ckpt {

std::optional<Format> format_of_extension(const std::filesystem::path& path) {
  constexpr std::array<std::pair<std::string_view, Format>, 9> kFormats = {{{".npz", Format::npz},
                                                                            {".npy", Format::npy},
                                                                            {".netcl", Format::netcl},
                                                                            {".pkl", Format::pickle},
                                                                            {".pickle", Format::pickle},
                                                                            {".pt", Format::torch},
                                                                            {".pth", Format::torch},
                                                                            {".safetensors", Format::safetensors},
                                                                            {".msgpack", Format::flax}}};
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [known, format] : kFormats) {
    if (extension == known) return format;
  }
  return std::nullopt;
}

std::optional<Format> written_format(const std::filesystem::path& path) {
  const auto format = format_of_extension(path);
  return format == Format::flax ? std::nullopt : format;
}

}  // namespace netcl::ckpt
