// A checkpoint as a folder: NAME.npy for each tensor, which NumPy can map one by one, and the structure
// document, which gives their order and holds all that is no tensor.
#include "format/npy_folder.h"

#include <algorithm>
#include <array>

#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "format/npy.h"
#include "format/structure_decode.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".npy";

Result<void> read_file(const fs::path& path, const std::string& name, const OpenOptions& options, Checkpoint& out,
                       std::vector<Tree::Entry>& entries) {
  CKPT_TRY(const SourcePtr source, reopening_file(path));
  out.file_bytes += source->size_bytes();
  Checkpoint one;
  CKPT_CHECK(read_npy(source, options, one));
  if (one.tree.kind(one.root) != ValueKind::tensor) return fail(ErrorCode::unsupported, "this is no array of numbers");
  std::move(one.problems.begin(), one.problems.end(), std::back_inserter(out.problems));
  const Tensor& tensor = one.tree.tensor(one.root);
  if (options.thorough && tensor.storage) out.members.push_back({path.filename().string(), tensor.storage});
  const ValueId key = out.tree.add_string(to_valid_utf8(name));
  entries.push_back({key, out.tree.add_tensor(tensor)});
  return {};
}

}  // namespace

std::string npy_file_name(std::string_view name) {
  std::string out = name.empty() ? "%" : "";
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool plain = c > 0x20 && c != 0x7f && c != '/' && c != '\\' && c != '%' && !(c == '.' && i == 0);
    out += plain ? std::string(1, name[i]) : fmt::format("%{:02X}", c);
  }
  return out.append(kSuffix);
}

std::optional<std::string> npy_tensor_name(std::string_view file) {
  if (!file.ends_with(kSuffix)) return std::nullopt;
  file.remove_suffix(kSuffix.size());
  std::string out;
  for (std::size_t i = 0; i < file.size() && file != "%"; ++i) {
    if (file[i] != '%') {
      out += file[i];
      continue;
    }
    auto digit = [&](std::size_t at) {
      const char c = at < file.size() ? file[at] : '\0';
      return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const int high = digit(i + 1), low = digit(i + 2);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool is_npy_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) && fs::is_regular_file(path / kStructureMember, ignored);
}

Result<Checkpoint> read_npy_folder(const fs::path& path, const OpenOptions& options) {
  Checkpoint out;
  out.format = Format::npy_folder;
  out.path = path.string();
  out.attributes = out.tree.add_dict({});
  std::vector<std::string> files;
  std::error_code failed;
  for (fs::directory_iterator it(path, failed), end; !failed && it != end; it.increment(failed))
    files.push_back(it->path().filename().string());
  if (failed) return fail_io(failed.value(), path.string(), "cannot read the directory");
  std::sort(files.begin(), files.end());
  if (files.size() > options.limits.max_members)
    return fail(ErrorCode::limit_exceeded, "{} files, more than {}", files.size(), options.limits.max_members);
  std::vector<Tree::Entry> entries;
  for (const std::string& file : files) {
    const auto name = npy_tensor_name(file);
    if (!name) continue;
    // One bad file does not hide the others.
    if (const auto done = read_file(path / file, *name, options, out, entries); !done) {
      const Error& e = done.error();
      if (could_not_look(e.code)) return tl::make_unexpected(e);
      out.problems.push_back(to_problem(e, file));
    }
  }
  out.root = out.tree.add_dict(entries);

  CKPT_TRY(const SourcePtr document, open_file(path / kStructureMember));
  out.file_bytes += document->size_bytes();
  const ValueId flat = out.root;
  const auto decoded = [&]() -> Result<void> {
    if (document->size_bytes() > max_document_bytes(document->size_bytes(), options.limits))
      return fail(ErrorCode::limit_exceeded, "it has {} bytes", document->size_bytes());
    std::string text(document->size_bytes(), '\0');
    CKPT_CHECK(document->read_at(0, std::as_writable_bytes(std::span(text))));
    return decode_structure(text, options.limits, out);
  }();
  if (!decoded) {
    if (could_not_look(decoded.error().code)) return tl::make_unexpected(decoded.error());
    out.root = flat;
    out.problems.push_back(make_problem(ProblemCode::bad_structure, std::string(kStructureMember),
                                        decoded.error().offset_bytes,
                                        "the structure that netcl-ckpt keeps is damaged: " + decoded.error().message));
  }
  return out;
}

}  // namespace netcl::ckpt
