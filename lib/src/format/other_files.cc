// What files are that people take for checkpoints: programs have their marks, archives the names of their members.
// The message names it and says what to do, which "corrupt" never does.
#include "format/other_files.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// Some of the members, those first that may be checkpoints themselves.
std::string list_names(std::vector<std::string_view> order) {
  constexpr std::size_t kMostNames = 4, kLongestName = 60;
  auto is_checkpoint = [](std::string_view name) {
    constexpr std::array<std::string_view, 13> kEndings = {".pth",         ".pt",  ".npz",      ".npy", ".ckpt",
                                                           ".bin",         ".pkl", ".tar",      ".h5",  ".onnx",
                                                           ".safetensors", ".zip", "parameters"};
    return std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view e) { return name.ends_with(e); });
  };
  std::stable_partition(order.begin(), order.end(), is_checkpoint);
  std::string out;
  for (std::size_t i = 0; i < std::min(order.size(), kMostNames); ++i) {
    const std::string name = to_valid_utf8(order[i]);
    out += (i > 0 ? ", " : "") + (name.size() > kLongestName ? name.substr(0, kLongestName) + "..." : name);
  }
  return order.size() > kMostNames ? fmt::format("{} and {} more", out, order.size() - kMostNames) : out;
}

std::string list_members(const ZipDirectory& directory) {
  std::vector<std::string_view> names;
  for (const ZipMember& m : directory.members) {
    if (!is_folder(m)) names.push_back(m.name);
  }
  return list_names(std::move(names));
}

}  // namespace

std::optional<std::string> describe_other_file(std::string_view head) {
  auto has = [&](std::string_view word, std::size_t from = 0) {
    return head.size() > from && head.substr(from).starts_with(word);
  };
  if (head.empty()) return "the file is empty";
  if (has("version https://git-lfs")) return "a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'";
  if (has("\x04\x22\x4d\x18")) return "LZ4 data; unpack it first with 'lz4 -d'";
  if (has("GGUF")) return "a GGUF file of llama.cpp, which is not a format read here";
  if (has("TFL3", 4)) return "a TensorFlow Lite model, which is not a format read here";
  if (has("\x1f\x8b")) return "gzip data; unpack it first with gunzip";
  if (has("BZh") && has("1AY&SY", 4)) return "bzip2 data; unpack it first with bunzip2";
  if (has("\x28\xb5\x2f\xfd")) return "zstd data; unpack it first with 'zstd -d'";
  if (has("\xfd"
          "7zXZ"))
    return "xz data; unpack it first with unxz";
  if (has("\x89HDF\r\n")) return "an HDF5 file (Keras .h5), which is not a format read here";
  if (has("ustar", 257)) return "a tar archive whose first header is damaged";
  const auto start = head.find_first_not_of(" \t\r\n");
  if (start == head.npos) return "nothing but spaces";
  if (head[start] == '<') return "a web page or XML, perhaps what a download was answered with";
  if (head[start] == '{' || head[start] == '[') return "JSON text; if it is a sidecar, name the .npz beside it";
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; })) return "nothing but zeros";
  return std::nullopt;
}

bool is_torch_remainder(const ZipDirectory& directory) {
  return !directory.members.empty() &&
         std::all_of(directory.members.begin(), directory.members.end(), [](const ZipMember& m) {
           const std::string_view n = m.name;
           return is_folder(m) || n.ends_with("/version") || n.ends_with("/byteorder") ||
                  n.ends_with("/.format_version") || n.ends_with("/.storage_alignment") ||
                  n.ends_with("/.data/serialization_id") || n.find("/data/") != n.npos;
         });
}

std::optional<std::string> describe_archive(const ZipDirectory& directory) {
  const auto& members = directory.members;
  auto any = [&](auto&& matches) {
    return std::any_of(members.begin(), members.end(),
                       [&](const ZipMember& m) { return matches(std::string_view(m.name)); });
  };
  auto has = [&](std::string_view name) { return any([&](std::string_view n) { return n == name; }); };
  auto ends = [&](std::string_view end) { return any([&](std::string_view n) { return n.ends_with(end); }); };

  if (members.empty()) return "an empty zip archive: a save that was cut short, or np.savez() of nothing";
  if (has("[Content_Types].xml")) return "an office document";
  if (has("mimetype") && ends("META-INF/manifest.xml")) return "an office document (OpenDocument)";
  if (has("mimetype") && has("META-INF/container.xml")) return "an e-book (EPUB)";
  if (ends(".data/extern_modules"))
    return "a torch.package archive, which brings its own code; load it with torch.package and save its state dict";
  if (ends(".weights.h5") || (has("metadata.json") && has("config.json")))
    return "a Keras file, whose weights are HDF5; save them with NumPy to read them here";
  if (has("AndroidManifest.xml")) return "an Android package";
  if (has("META-INF/MANIFEST.MF")) return "a Java archive";
  if (ends(".dist-info/RECORD")) return "a Python wheel";
  if (has("policy.pth") || (has("data") && has("parameters")))
    return fmt::format("a Stable-Baselines archive ({}); unpack it and name the part that is wanted",
                       list_members(directory));
  if (is_torch_remainder(directory)) return "a torch file without its data.pkl: the save was cut short";
  return std::nullopt;
}

std::string describe_tar(std::span<const std::string_view> files) {
  if (files.empty()) return "a tar archive; it holds no file";
  return fmt::format("a tar archive; it holds {}; extract it first", list_names({files.begin(), files.end()}));
}

std::string describe_plain_archive(const ZipDirectory& directory) {
  return fmt::format("a zip archive without arrays ({}); if one of these is a checkpoint, unpack it",
                     list_members(directory));
}

}  // namespace netcl::ckpt
