// A glance at a checkpoint among ten thousand. Writers put an archive's directory last, so where it is whole
// and all that it lists fits before it, the file was written to its end; whether its bytes are still the
// same only reading all of it (verify) can tell. Opening the file as for loading would read a header for each
// tensor: a millisecond for five hundred, too much for a list.
#include "format/peek.h"

#include <algorithm>
#include <array>

#include "base/try.h"
#include "container/zip_member.h"
#include "format/npy.h"
#include "format/other_files.h"
#include "format/structure.h"

namespace netcl::ckpt {
namespace {

/// A longer sidecar holds arrays as text; only its last character is looked at.
constexpr std::uint64_t kMaxParsedSidecarBytes = std::uint64_t{1} << 20;
/// A 0-d array of a number: an npy header and 8 bytes.
constexpr std::uint64_t kMaxNumberBytes = 256;

Result<void> check_extents(const ZipDirectory& directory) {
  constexpr std::uint64_t kLocalBytes = 30;
  for (const ZipMember& m : directory.members) {
    const std::uint64_t end = directory.central_offset;
    if (m.header_offset > end || end - m.header_offset < kLocalBytes ||
        m.stored_bytes > end - m.header_offset - kLocalBytes) {
      return fail_at(ErrorCode::corrupt, m.name, m.header_offset, "its data would reach into the directory");
    }
  }
  return {};
}

class NpzPeek {
 public:
  NpzPeek(const SourcePtr& source, const ZipDirectoryPtr& directory, const PeekOptions& options, Checkpoint& out)
      : source_(source), directory_(directory), options_(options), out_(out) {}

  Result<void> read() {
    std::vector<Tree::Entry> entries;
    std::string structure = directory_->comment;
    for (const ZipMember& m : directory_->members) {
      if (m.name == kStructureMember && m.size_bytes <= max_document_bytes(m.stored_bytes, options_.limits)) {
        CKPT_TRY(const auto bytes, read_member(m, m.size_bytes));
        structure.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      } else if (m.size_bytes <= kMaxNumberBytes && m.name.ends_with(".npy")) {
        const std::string name = m.name.substr(0, m.name.size() - 4);
        if (!options_.wanted || !options_.wanted(name)) continue;
        CKPT_TRY(const Tensor tensor, read_number(m));
        if (!tensor.shape.empty() || !tensor.storage) continue;
        const ValueId key = out_.tree.add_string(name);
        entries.push_back({key, out_.tree.add_scalar(tensor)});
      }
    }
    if (structure.starts_with(kStructureStart)) {
      CKPT_TRY(const ValueId document, parse_json(structure, options_.limits, out_.tree));
      append(document, "state", entries);
      std::vector<Tree::Entry> attributes;
      append(document, "attributes", attributes);
      out_.attributes = out_.tree.add_dict(attributes);
    }
    out_.root = out_.tree.add_dict(entries);
    return {};
  }

 private:
  Result<std::vector<std::byte>> read_member(const ZipMember& member, std::uint64_t num_bytes) {
    CKPT_TRY(const auto data, locate_zip_member(source_, *directory_, member, num_bytes, out_.problems));
    CKPT_TRY(const StoragePtr storage, zip_member_storage(source_, directory_, member, data.offset_bytes, 0));
    return read_member_start(member, data, storage, num_bytes);
  }

  Result<Tensor> read_number(const ZipMember& member) {
    CKPT_TRY(const auto bytes, read_member(member, member.size_bytes));
    CKPT_TRY(const std::uint64_t header_bytes, npy_header_bytes(bytes, options_.limits));
    if (header_bytes > bytes.size())
      return fail_at(ErrorCode::truncated, member.name, bytes.size(), "the npy header is cut short");
    CKPT_TRY(const NpyHeader header, parse_npy_header(std::span(bytes).first(header_bytes), options_.limits));
    const auto payload = std::span(bytes).subspan(header_bytes);
    const StoragePtr storage =
        file_storage(memory_source({payload.begin(), payload.end()}, member.name), 0, payload.size());
    CKPT_TRY(const ValueId value, add_npy_array(header, storage, member.name, {}, out_));
    return out_.tree.kind(value) == ValueKind::tensor ? out_.tree.tensor(value) : Tensor();
  }

  void append(ValueId document, std::string_view part, std::vector<Tree::Entry>& entries) const {
    const Tree::Entry* found = out_.tree.find(document, part);
    if (found == nullptr || out_.tree.kind(found->value) != ValueKind::dict) return;
    const auto more = out_.tree.entries(found->value);
    entries.insert(entries.end(), more.begin(), more.end());
  }

  const SourcePtr& source_;
  const ZipDirectoryPtr& directory_;
  const PeekOptions& options_;
  Checkpoint& out_;
};

/// netcl's `.json` beside an npz, half-written where the process died between the two or in the second.
Result<void> peek_sidecar(const std::filesystem::path& path, const PeekOptions& options, Checkpoint& out) {
  const std::filesystem::path sidecar = find_sidecar(path);
  if (sidecar.empty()) return {};
  const std::string name = sidecar.filename().string();
  CKPT_TRY(const SourcePtr source, open_file(sidecar));
  const std::uint64_t size = source->size_bytes();
  if (size > kMaxParsedSidecarBytes) {
    std::array<char, 16> tail;
    CKPT_CHECK(source->read_at(size - tail.size(), std::as_writable_bytes(std::span(tail))));
    const std::string_view end(tail.data(), tail.size());
    const auto last = end.find_last_not_of(" \t\r\n");
    if (last == end.npos || end[last] != '}')
      return fail_at(ErrorCode::truncated, name, size, "the pair is torn: its sidecar is cut short");
    return {};
  }
  std::string text(size, '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(text))));
  const auto parsed = parse_json(text, options.limits, out.tree);
  if (!parsed) {
    const Error& e = parsed.error();
    if (e.code != ErrorCode::truncated && e.code != ErrorCode::corrupt) return {};  // too large: not torn
    return fail_at(e.code, name, e.offset_bytes, "the pair is torn: its sidecar is {}",
                   e.code == ErrorCode::truncated ? "cut short" : "damaged");
  }
  if (out.tree.kind(*parsed) != ValueKind::dict) return {};
  const auto before = out.tree.entries(out.attributes);
  std::vector<Tree::Entry> entries(before.begin(), before.end());
  const auto added = out.tree.entries(*parsed);
  entries.insert(entries.end(), added.begin(), added.end());
  out.attributes = out.tree.add_dict(entries);
  return {};
}

Result<Checkpoint> peek(const std::filesystem::path& path, const PeekOptions& options) {
  CKPT_TRY(const SourcePtr source, open_file(path));
  OpenOptions read;
  read.limits = options.limits;
  CKPT_TRY(const bool zip, looks_like_zip(*source));
  if (!zip) return open_checkpoint(source, path, read);

  Checkpoint out;
  out.path = path.string();
  out.file_bytes = source->size_bytes();
  out.attributes = out.tree.add_dict({});
  out.root = out.attributes;
  CKPT_TRY(const ZipDirectoryPtr directory, read_zip_directory(source, options.limits, out.problems));
  CKPT_CHECK(check_extents(*directory));
  if (is_torch_zip(*directory)) {
    out.format = Format::torch;
    if (options.values) CKPT_CHECK(read_torch_zip(source, directory, read, out));
    return out;
  }
  // What holds no array may be anything, or a save that was cut short: nothing to go on from.
  const bool has_array = std::any_of(directory->members.begin(), directory->members.end(), [](const ZipMember& m) {
    return m.name.ends_with(".npy") || m.name == kStructureMember;
  });
  if (!has_array && !directory->comment.starts_with(kStructureStart))
    return fail(is_torch_remainder(*directory) ? ErrorCode::truncated : ErrorCode::unsupported, "{}",
                describe_archive(*directory).value_or("it holds no array"));
  if (options.values) CKPT_CHECK(NpzPeek(source, directory, options, out).read());
  CKPT_CHECK(peek_sidecar(path, options, out));
  return out;
}

}  // namespace

Result<Checkpoint> peek_checkpoint(const std::filesystem::path& path, const PeekOptions& options) {
  return guarded([&]() -> Result<Checkpoint> { return in_file(peek(path, options), path.string()); });
}

}  // namespace netcl::ckpt
