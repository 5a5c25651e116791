// npz and `.netcl`: a zip of npy files. NumPy decides by a member's first bytes whether it is an array;
// so does this reader. `.netcl` is an npz whose `__netcl_meta__` holds the model's architecture as JSON.
#include <algorithm>
#include <unordered_set>

#include "base/endian.h"
#include "base/text.h"
#include "base/try.h"
#include "format/npy.h"
#include "format/structure.h"

namespace netcl::ckpt {
namespace {

// Of the JSON that netcl and this library keep in an archive: a few hundred bytes a layer or tensor. Parsed, a
// document takes some ten times its size, and a compressed one comes from a thousandth of it.
constexpr std::uint64_t kMaxDocumentBytes = std::uint64_t{8} << 20;
constexpr std::string_view kNetclMeta = "__netcl_meta__";
// Enough for nearly every npy header, stored or compressed, in the read that brings the local header.
constexpr std::size_t kHeadBytes = 320;
// NumPy pads the header of a plain array to this; inflating twice to learn the size first takes longer.
constexpr std::size_t kUsualHeaderBytes = 128;

class NpzReader {
 public:
  NpzReader(const SourcePtr& source, const ZipDirectory& directory, const ReadOptions& options, Checkpoint& out)
      : source_(source), directory_(directory), options_(options), out_(out) {}

  Result<void> read() {
    std::vector<std::uint64_t> data_offsets(directory_.members.size(), 0);
    for (std::size_t i = 0; i < directory_.members.size(); ++i) {
      auto done = read_member(directory_.members[i], data_offsets[i]);
      if (done) continue;
      const Error& e = done.error();
      if (e.code == ErrorCode::io || e.code == ErrorCode::out_of_memory) return done;
      // One bad member does not hide the others.
      out_.problems.push_back(
          {to_string(e.code), Severity::error, directory_.members[i].name, e.offset_bytes, e.message, ""});
    }
    out_.root = out_.tree.add_dict(entries_);
    if (options_.thorough) check_zip_layout(source_, directory_, data_offsets, out_.problems);
    read_structure();
    if (const auto* meta = out_.tree.find(out_.root, kNetclMeta)) CKPT_CHECK(read_architecture(meta->value));
    return {};
  }

 private:
  Result<void> read_member(const ZipMember& member, std::uint64_t& data_offset) {
    if (member.name.ends_with('/') && member.size_bytes == 0) return {};  // a folder
    CKPT_TRY(const ZipMemberData data, locate_zip_member(source_, directory_, member, kHeadBytes, out_.problems));
    data_offset = data.offset_bytes;
    CKPT_TRY(const StoragePtr whole, zip_member_storage(source_, member, data.offset_bytes, 0));
    if (options_.thorough) out_.members.push_back({member.name, whole});
    if (member.name == kStructureMember) {
      structure_ = whole;
      return {};
    }
    CKPT_TRY(std::vector<std::byte> head, read_member_start(member, data, whole, kUsualHeaderBytes));
    const bool named = member.name.ends_with(".npy");
    if (!has_npy_magic(head)) {
      out_.problems.push_back({named ? "not-npy" : "raw-member", named ? Severity::error : Severity::note, member.name,
                               0, named ? "no npy data, though its name says so" : "raw bytes, no array", ""});
      return {};
    }
    CKPT_TRY(const std::uint64_t header_bytes, npy_header_bytes(head, options_.limits));
    if (header_bytes > member.size_bytes)
      return fail_at(ErrorCode::truncated, member.name, member.size_bytes, "the npy header is cut short");
    if (header_bytes > head.size()) {
      CKPT_TRY(head, read_member_start(member, data, whole, header_bytes));
    }
    head.resize(header_bytes);
    CKPT_TRY(const NpyHeader header, parse_npy_header(head, options_.limits));
    CKPT_TRY(const StoragePtr payload, zip_member_storage(source_, member, data.offset_bytes, header_bytes));
    CKPT_TRY(Tensor tensor, make_npy_tensor(header, payload, member.name, options_, out_));

    const std::string name = to_valid_utf8(named ? member.name.substr(0, member.name.size() - 4) : member.name);
    if (!names_.insert(name).second) {
      out_.problems.push_back({"duplicate-name", Severity::error, member.name, member.header_offset,
                               "two members give an array of this name: NumPy reads only one", ""});
    }
    const ValueId key = out_.tree.add_string(name);
    entries_.push_back({key, out_.tree.add_tensor(std::move(tensor))});
    return {};
  }

  /// The structure document, in the archive's comment or in a member of its own.
  void read_structure() {
    std::string text = directory_.comment;
    if (structure_) {
      if (structure_->size_bytes() > kMaxDocumentBytes) return;
      text.resize(structure_->size_bytes());
      auto reader = structure_->open();
      if (!reader || !(*reader)->read(0, std::as_writable_bytes(std::span(text)))) return;  // verify reports it
    }
    if (!text.starts_with("{\"netcl-ckpt\"")) return;  // somebody else's comment
    const ValueId flat = out_.root;
    if (auto decoded = decode_structure(text, options_.limits, out_); !decoded) {
      out_.root = flat;
      out_.problems.push_back({"bad-structure", Severity::error, structure_ ? std::string(kStructureMember) : "",
                               std::nullopt,
                               "the structure that netcl-ckpt keeps is damaged: " + decoded.error().message, ""});
    }
  }

  /// `__netcl_meta__`: a 0-d array of UCS-4 text that is JSON.
  Result<void> read_architecture(ValueId id) {
    out_.format = Format::netcl;
    if (out_.tree.kind(id) != ValueKind::tensor) return {};
    const Tensor tensor = out_.tree.tensor(id);
    auto damaged = [&](std::string message) {
      out_.problems.push_back(
          {"bad-architecture", Severity::error, std::string(kNetclMeta), std::nullopt, std::move(message), ""});
    };
    if (tensor.dtype.type != ScalarType::unicode || !tensor.shape.empty() || tensor.size_bytes() > kMaxDocumentBytes) {
      damaged("not the text that netcl writes");
      return {};
    }
    std::vector<std::byte> bytes(tensor.size_bytes());
    CKPT_TRY(auto reader, TensorReader::open(tensor));
    if (auto read = reader.read(bytes); !read) {
      damaged(read.error().message);
      return {};
    }
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 4) append_utf8(text, load_le<std::uint32_t>(bytes.data() + i));
    while (text.ends_with('\0')) text.pop_back();  // NumPy pads with NUL
    auto json = parse_json(text, options_.limits, out_.tree);
    if (!json) {
      damaged("not JSON: " + json.error().message);
      return {};
    }
    std::vector<Tree::Entry> attributes(out_.tree.entries(out_.attributes).begin(),
                                        out_.tree.entries(out_.attributes).end());
    const ValueId key = out_.tree.add_string(kNetclMeta);
    attributes.push_back({key, *json});
    out_.attributes = out_.tree.add_dict(attributes);
    return {};
  }

  const SourcePtr& source_;
  const ZipDirectory& directory_;
  const ReadOptions& options_;
  Checkpoint& out_;
  std::vector<Tree::Entry> entries_;
  std::unordered_set<std::string> names_;
  StoragePtr structure_;
};

}  // namespace

Result<void> read_npz(const SourcePtr& source, const ZipDirectory& directory, const ReadOptions& options,
                      Checkpoint& out) {
  return NpzReader(source, directory, options, out).read();
}

}  // namespace netcl::ckpt
