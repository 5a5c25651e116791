// What numpy.load() takes, allow_pickle=False, which has been the default since 1.16.3.
// https://github.com/numpy/numpy/blob/main/numpy/lib/_npyio_impl.py and _format_impl.py
#include <algorithm>

#include "base/problem.h"
#include "base/try.h"
#include "container/zip_directory.h"
#include "container/zip_member.h"
#include "format/loader_rules.h"
#include "format/npy.h"

namespace netcl::ckpt {
namespace {

using Version = Loader::Version;

constexpr Version kFirstWithoutPickles{1, 16};
constexpr Version kFirstHeaderLimit{1, 24};
constexpr Version kFirst64Dimensions{2, 0};
constexpr std::uint64_t kMaxHeaderBytes = 10'000;

/// Whether a type string, or one of the fields, is Python's objects.
bool has_objects(const PyLiteral& descr) {
  if (descr.kind == PyLiteral::Kind::string) {
    std::string_view text = descr.text;
    if (!text.empty() && std::string_view("<>|=").find(text[0]) != text.npos) text.remove_prefix(1);
    return text == "O" || text == "O8" || text == "O4" || text == "object";
  }
  if (descr.kind == PyLiteral::Kind::tuple && descr.items.size() > 1) return has_objects(descr.items[1]);  // a field
  return descr.kind == PyLiteral::Kind::list && std::any_of(descr.items.begin(), descr.items.end(), has_objects);
}

class NumpyJudge {
 public:
  NumpyJudge(Version version, const Limits& limits) : version_(version), limits_(limits) {}

  /// Of the bytes that begin with an array's magic.
  LoadAnswer array(const Storage& bytes, const std::string& where) const {
    CKPT_TRY(const auto reader, bytes.open());
    std::vector<std::byte> head(std::min<std::uint64_t>(bytes.size_bytes(), kNpyPreambleBytes));
    CKPT_CHECK(reader->read(0, head));
    CKPT_TRY(const std::uint64_t header_bytes, npy_header_bytes(head, limits_));
    const std::uint64_t text_bytes = header_bytes - (static_cast<unsigned>(head[6]) == 1 ? 10 : 12);
    if (version_ >= kFirstHeaderLimit && text_bytes > kMaxHeaderBytes)
      return LoadRefusal{
          where, {}, fmt::format("Header info length ({}) is large and may not be safe to load securely", text_bytes)};
    if (header_bytes > bytes.size_bytes()) return LoadRefusal{where, {}, "EOF: reading array header"};
    head.resize(header_bytes);
    CKPT_TRY(const auto again, bytes.open());
    CKPT_CHECK(again->read(0, head));
    CKPT_TRY(const NpyHeader header, parse_npy_header(head, limits_));
    if (version_ >= kFirstWithoutPickles && has_objects(header.descr))
      return LoadRefusal{where, {}, "Object arrays cannot be loaded when allow_pickle=False"};
    const std::size_t most = version_ >= kFirst64Dimensions ? 64 : 32;
    if (header.shape.size() > most)
      return LoadRefusal{where,
                         {},
                         fmt::format("maximum supported dimension for an ndarray is currently {}, found {}", most,
                                     header.shape.size())};
    if (has_objects(header.descr)) return std::nullopt;
    Checkpoint scratch;
    OpenOptions options;
    options.limits = limits_;
    const StoragePtr payload = std::make_shared<Payload>(bytes.size_bytes() - header_bytes);
    auto made = add_npy_array(header, payload, where, options, scratch);
    if (made) return std::nullopt;
    if (made.error().code != ErrorCode::truncated) return tl::make_unexpected(std::move(made.error()));
    return LoadRefusal{where, {}, "Failed to read all data for array: " + made.error().message};
  }

  /// The same; what cannot be read is a refusal.
  LoadAnswer judge_array(const Storage& bytes, const std::string& where) const {
    auto answer = array(bytes, where);
    if (answer || could_not_look(answer.error().code)) return answer;
    return LoadRefusal{where, answer.error().offset_bytes, "ValueError: " + answer.error().message};
  }

  LoadAnswer judge_zip(const SourcePtr& source) const {
    Problems problems;
    auto directory = read_zip_directory(source, limits_, problems);
    if (!directory) {
      if (could_not_look(directory.error().code)) return tl::make_unexpected(std::move(directory.error()));
      return LoadRefusal{{}, directory.error().offset_bytes, "BadZipFile: " + directory.error().message};
    }
    bool arrays = false;
    for (const ZipMember& m : (*directory)->members) {
      auto answer = judge_member(source, *directory, m, arrays);
      if (answer && !*answer) continue;
      if (answer || could_not_look(answer.error().code)) return answer;
      return LoadRefusal{m.name, answer.error().offset_bytes, "BadZipFile: " + answer.error().message};
    }
    if (!arrays) return LoadRefusal{{}, {}, "no arrays: it gives the archive's members as bytes"};
    return std::nullopt;
  }

 private:
  /// So many bytes, that nobody reads.
  class Payload final : public Storage {
   public:
    explicit Payload(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}
    std::uint64_t size_bytes() const override { return size_bytes_; }
    bool seekable() const override { return false; }
    const StoredForm& stored_form() const override { return form_; }
    Result<std::unique_ptr<StorageReader>> open() const override { return fail(ErrorCode::internal, "no payload"); }

   private:
    std::uint64_t size_bytes_;
    StoredForm form_;
  };

  /// `arrays` becomes true if it is one.
  LoadAnswer judge_member(const SourcePtr& source, const ZipDirectoryPtr& directory, const ZipMember& m,
                          bool& arrays) const {
    Problems ignored;
    if (is_folder(m)) return std::nullopt;
    CKPT_TRY(const ZipMemberData data, locate_zip_member(source, *directory, m, kNpyPreambleBytes, ignored));
    CKPT_TRY(const StoragePtr storage,
             zip_member_storage(source, directory, m, data.offset_bytes, 0, Checksum::ignored));
    CKPT_TRY(const auto start, read_member_start(m, data, storage, kNpyPreambleBytes));
    if (!has_npy_magic(start)) return std::nullopt;  // NumPy gives the bytes as they are
    arrays = true;
    return judge_array(*storage, m.name);
  }

  Version version_;
  const Limits& limits_;
};

}  // namespace

LoadAnswer numpy_refusal(const SourcePtr& source, Version version, const Limits& limits) {
  std::string head(std::min<std::uint64_t>(source->size_bytes(), kNpyPreambleBytes), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
  if (head.empty()) return LoadRefusal{{}, {}, "EOFError: No data left in file"};
  const NumpyJudge judge(version, limits);
  if (head.starts_with("PK\x03\x04") || head.starts_with("PK\x05\x06")) return judge.judge_zip(source);
  if (has_npy_magic(std::as_bytes(std::span(head))))
    return judge.judge_array(*file_storage(source, 0, source->size_bytes()), "");
  if (version < kFirstWithoutPickles) return std::nullopt;
  return LoadRefusal{{}, {}, "Cannot load file containing pickled data when allow_pickle=False"};
}

}  // namespace netcl::ckpt
