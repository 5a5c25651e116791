// npz and `.netcl`: a zip of npy files. NumPy decides by a member's first bytes whether it is an array;
// so does this reader. `.netcl` is an npz whose `__netcl_meta__` holds the model's architecture as JSON.
#include <algorithm>
#include <unordered_set>

#include "base/endian.h"
#include "base/parallel.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/zip_layout.h"
#include "container/zip_member.h"
#include "format/npy.h"
#include "format/other_files.h"
#include "format/pickle_search.h"
#include "format/structure_decode.h"

namespace netcl::ckpt {
namespace {

constexpr std::string_view kNetclMeta = "__netcl_meta__";
// Enough for nearly every npy header, stored or compressed, in the read that brings the local header.
constexpr std::size_t kHeadBytes = 320;
// NumPy pads the header of a plain array to this; inflating twice to learn the size first takes longer.
constexpr std::size_t kUsualHeaderBytes = 128;
// Headers longer than usual, of all members together: a thousand that inflate to the most that one may
// have take 4 KiB each in the file and seconds to read.
constexpr std::uint64_t kMaxLongHeaderBytes = std::uint64_t{16} << 20;
// After so many members that met a limit the rest is not looked at: each may cost what the limit allows.
constexpr int kMaxLimitsMet = 16;
constexpr std::size_t kTextStepBytes = std::size_t{64} << 10;
// Members whose starts one thread reads in a row, and those that are held at a time.
constexpr std::size_t kMembersPerThread = 32;
constexpr std::size_t kBatchMembers = 1024;

/// A member as far as its first bytes tell.
struct MemberStart {
  Result<void> outcome;
  Problems problems;
  std::uint64_t data_offset = 0;
  StoragePtr whole;
  std::vector<std::byte> head;
};

class NpzReader {
 public:
  NpzReader(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options, Checkpoint& out)
      : source_(source),
        directory_(directory),
        options_(options),
        out_(out),
        pickles_(source, directory, false, options, out) {}

  Result<void> read() {
    std::vector<std::uint64_t> data_offsets(directory_->members.size(), 0);
    std::vector<MemberStart> starts;
    int limits_met = 0;
    for (std::size_t i = 0; i < directory_->members.size() && limits_met < kMaxLimitsMet; ++i) {
      if (i % kBatchMembers == 0) starts = read_starts(i);
      const ZipMember& member = directory_->members[i];
      MemberStart& start = starts[i % kBatchMembers];
      data_offsets[i] = start.data_offset;
      std::move(start.problems.begin(), start.problems.end(), std::back_inserter(out_.problems));
      if (options_.thorough && start.whole) out_.members.push_back({member.name, start.whole});
      if (start.data_offset > 0) CKPT_CHECK(pickles_.search(member, start.data_offset, start.head));
      auto done = start.outcome ? read_member(member, start) : start.outcome;
      start = {};
      if (done) continue;
      const Error& e = done.error();
      if (could_not_look(e.code)) return done;
      // One bad member does not hide the others.
      out_.problems.push_back(to_problem(e, member.name));
      limits_met += e.code == ErrorCode::limit_exceeded;
    }
    if (limits_met == kMaxLimitsMet) {
      out_.problems.push_back(make_problem(ProblemCode::limit_exceeded, "", std::nullopt,
                                           "too many members exceed a limit: the rest was not looked at"));
    }
    if (!has_array_) CKPT_CHECK(say_without_arrays());
    out_.root = out_.tree.add_dict(entries_);
    if (options_.thorough) check_zip_layout(source_, *directory_, data_offsets, out_.problems);
    CKPT_CHECK(read_structure());
    if (const auto* meta = out_.tree.find(out_.root, kNetclMeta)) CKPT_CHECK(read_architecture(meta->value));
    return {};
  }

 private:
  /// A batch of members from `first` on. To inflate a header takes longer than all else about a member,
  /// so many are looked at by several threads.
  std::vector<MemberStart> read_starts(std::size_t first) const {
    std::vector<MemberStart> starts(std::min(kBatchMembers, directory_->members.size() - first));
    const std::size_t num_shares = (starts.size() + kMembersPerThread - 1) / kMembersPerThread;
    parallel_for(thread_count(0), num_shares, [&](std::size_t share) {
      const std::size_t end = std::min((share + 1) * kMembersPerThread, starts.size());
      for (std::size_t i = share * kMembersPerThread; i < end; ++i)
        starts[i].outcome = read_start(directory_->members[first + i], starts[i]);
    });
    return starts;
  }

  Result<void> read_start(const ZipMember& member, MemberStart& start) const {
    CKPT_TRY(const ZipMemberData data, locate_zip_member(source_, *directory_, member, kHeadBytes, start.problems));
    start.data_offset = data.offset_bytes;
    if (is_folder(member)) return {};
    CKPT_TRY(start.whole, zip_member_storage(source_, directory_, member, data.offset_bytes, 0));
    CKPT_TRY(const StoragePtr unchecked,
             zip_member_storage(source_, directory_, member, data.offset_bytes, 0, Checksum::ignored));
    CKPT_TRY(start.head, read_member_start(member, data, unchecked, kUsualHeaderBytes));
    return {};
  }

  Result<void> read_member(const ZipMember& member, MemberStart& start) {
    if (is_folder(member)) return {};
    const StoragePtr& whole = start.whole;
    if (member.name == kStructureMember) {
      structure_ = whole;
      has_array_ = true;  // or none, and this says what there is
      return {};
    }
    std::vector<std::byte>& head = start.head;
    const bool named = member.name.ends_with(".npy");
    has_array_ |= named || has_npy_magic(head);
    const std::string name = to_valid_utf8(named ? member.name.substr(0, member.name.size() - 4) : member.name);
    if (!names_.insert(name).second) {
      out_.problems.push_back(make_problem(ProblemCode::duplicate_name, member.name, member.header_offset,
                                           "two members have this name in NumPy, which reads only one"));
    }
    if (!has_npy_magic(head)) {
      out_.problems.push_back(make_problem(named ? ProblemCode::not_npy : ProblemCode::raw_member, member.name, 0,
                                           named ? "no npy data, though its name says so" : "raw bytes, no array"));
      return {};
    }
    CKPT_TRY(const std::uint64_t header_bytes, npy_header_bytes(head, options_.limits));
    if (header_bytes > member.size_bytes)
      return fail_at(ErrorCode::truncated, member.name, member.size_bytes, "the npy header is cut short");
    if (header_bytes > head.size()) {
      if (header_bytes > long_header_bytes_left_) {
        return fail_at(ErrorCode::limit_exceeded, member.name, std::nullopt,
                       "the npy headers of this archive take more than {} bytes together", kMaxLongHeaderBytes);
      }
      long_header_bytes_left_ -= header_bytes;
      head.resize(header_bytes);
      CKPT_TRY(auto reader, whole->open());
      CKPT_CHECK(reader->read(0, head));
    }
    head.resize(header_bytes);
    CKPT_TRY(const NpyHeader header, parse_npy_header(head, options_.limits));
    CKPT_TRY(const StoragePtr payload,
             zip_member_storage(source_, directory_, member, start.data_offset, header_bytes));
    CKPT_TRY(const ValueId value, add_npy_array(header, payload, member.name, options_, out_));
    entries_.push_back({out_.tree.add_string(name), value});
    return {};
  }

  /// np.savez() of nothing is a checkpoint, of which the name of the file may know better. Any other zip without
  /// arrays is something else: an error that says what, and for verify a finding.
  Result<void> say_without_arrays() {
    const bool ours = directory_->comment.starts_with(kStructureStart);
    const std::string extension = std::filesystem::path(out_.path).extension().string();
    const bool torch_name = extension == ".pt" || extension == ".pth" || extension == ".ckpt" || extension == ".bin";
    if (directory_->members.empty() && (ours || !torch_name)) {
      if (!ours)
        out_.problems.push_back(
            make_problem(ProblemCode::no_arrays, "", std::nullopt, "it holds no array", Severity::warning));
      return {};
    }
    const auto mark = describe_archive(*directory_);
    std::string what = mark ? *mark : describe_plain_archive(*directory_);
    if (!mark && extension == ".npz") {  // np.savez writes none such, np.load takes it
      out_.problems.push_back(
          make_problem(ProblemCode::no_arrays, "", std::nullopt, std::move(what), Severity::warning));
      return {};
    }
    if (!options_.thorough) return fail(ErrorCode::unsupported, "{}", what);
    out_.problems.push_back(make_problem(ProblemCode::no_arrays, "", std::nullopt, std::move(what)));
    return {};
  }

  /// The structure document, in the archive's comment or in a member of its own.
  Result<void> read_structure() {
    const ValueId flat = out_.root;
    const auto decoded = [&]() -> Result<void> {
      std::string text = directory_->comment;
      if (structure_) {
        CKPT_TRY(text, read_structure_member());
      }
      if (!text.starts_with(kStructureStart)) return {};  // somebody else's comment
      return decode_structure(text, options_.limits, out_);
    }();
    if (!decoded) {
      if (could_not_look(decoded.error().code)) return decoded;
      out_.root = flat;
      out_.problems.push_back(
          make_problem(ProblemCode::bad_structure, structure_ ? std::string(kStructureMember) : "", std::nullopt,
                       "the structure that netcl-ckpt keeps is damaged: " + decoded.error().message));
    }
    return {};
  }

  /// In steps: the size is the archive's word, and where the bytes are not there it must cost nothing.
  Result<std::string> read_structure_member() {
    const std::uint64_t size = structure_->size_bytes();
    if (size > max_document_bytes(structure_->stored_form().stored_bytes, options_.limits))
      return fail(ErrorCode::limit_exceeded, "it claims {} bytes", size);
    CKPT_TRY(auto reader, structure_->open());
    std::string text;
    while (text.size() < size) {
      const std::size_t at = text.size();
      text.resize(at + std::min<std::uint64_t>(kTextStepBytes, size - at));
      CKPT_CHECK(reader->read(at, std::as_writable_bytes(std::span(text)).subspan(at)));
    }
    return text;
  }

  /// `__netcl_meta__`: a 0-d array of UCS-4 text that is JSON.
  Result<void> read_architecture(ValueId id) {
    out_.format = Format::netcl;
    if (out_.tree.kind(id) != ValueKind::tensor) return {};
    const Tensor tensor = out_.tree.tensor(id);
    auto damaged = [&](std::string message) {
      out_.problems.push_back(
          make_problem(ProblemCode::bad_architecture, std::string(kNetclMeta), std::nullopt, std::move(message)));
    };
    const std::uint64_t stored_bytes = tensor.storage ? tensor.storage->stored_form().stored_bytes : 0;
    if (tensor.dtype.type != ScalarType::unicode || !tensor.shape.empty() || !tensor.storage ||
        tensor.size_bytes() > max_document_bytes(stored_bytes, options_.limits)) {
      damaged("not the text that netcl writes");
      return {};
    }
    std::vector<std::byte> bytes(tensor.size_bytes());
    CKPT_TRY(auto reader, TensorReader::open(tensor));
    if (auto read = reader.read(bytes); !read) {
      if (could_not_look(read.error().code)) return read;
      damaged(read.error().message);
      return {};
    }
    auto json = parse_json(ucs4_to_utf8(bytes), options_.limits, out_.tree);
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
  const ZipDirectoryPtr& directory_;
  const OpenOptions& options_;
  Checkpoint& out_;
  std::vector<Tree::Entry> entries_;
  std::unordered_set<std::string> names_;
  bool has_array_ = false;  // or a member that claims to be one
  PickleSearch pickles_;
  StoragePtr structure_;
  std::uint64_t long_header_bytes_left_ = kMaxLongHeaderBytes;
};

}  // namespace

Result<void> read_npz(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options,
                      Checkpoint& out) {
  return NpzReader(source, directory, options, out).read();
}

}  // namespace netcl::ckpt
