// Which format a file has, by its content. One table, in the order in which it is asked: formats with
// a magic first, guesses last.
#include "netcl/ckpt/open.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "base/problem.h"
#include "base/try.h"
#include "container/envelope.h"
#include "container/npy_header.h"
#include "container/safetensors_header.h"
#include "container/tar_directory.h"
#include "format/file_extension.h"
#include "format/npy_folder.h"
#include "format/other_files.h"
#include "format/readers.h"

namespace netcl::ckpt {
namespace {

/// The file's beginning, as far as it goes.
using Head = std::string_view;
constexpr std::size_t kHeadBytes = 512;

bool is_zip(Head head) { return head.starts_with("PK\x03\x04") || head.starts_with("PK\x05\x06"); }
bool is_npy(Head head) { return has_npy_magic(std::as_bytes(std::span(head))); }

bool is_safetensors(Head head) { return has_safetensors_start(head); }

/// The first pickle of torch's legacy stream: the number 0x1950a86a20f9469cfc6c, protocol 2.
bool is_torch_legacy(Head head) {
  return head.starts_with(std::string_view("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", 15));
}

bool is_tar(Head head) { return has_tar_start(head); }

bool is_pickle(Head head) { return head.starts_with('\x80') && head.size() > 1; }

/// Of Flax's msgpack: a map whose first key is a text, and near it a list of three in the extension of arrays.
bool looks_like_flax(Head head) {
  if (!has_flax_start(head)) return false;
  const auto first = static_cast<unsigned char>(head[0]);
  const std::size_t key = first == 0xde ? 3 : first == 0xdf ? 5 : 1;
  const auto begins_text = [](unsigned char c) { return (c & 0xe0) == 0xa0 || c == 0xd9; };  // of less than 256 bytes
  const bool text = head.size() > key && begins_text(static_cast<unsigned char>(head[key]));
  return text && head.find("\x01\x93") != Head::npos;
}

/// Protocols 0 and 1 have no magic; these opcodes begin a pickle of a container or an object.
bool may_be_pickle(Head head) {
  return !head.empty() && std::string_view("(]}clidNIKJMFGSVUTX").find(head[0]) != Head::npos;
}

Result<void> read_zip(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  CKPT_TRY(const ZipDirectoryPtr directory, read_zip_directory(source, options.limits, out.problems));
  return is_torch_zip(*directory) ? read_torch_zip(source, directory, options, out)
                                  : read_npz(source, directory, options, out);
}

/// GPT-SoVITS writes the version of its model over the first two bytes of a torch zip.
bool is_marked_zip(Head head) {
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return head.size() > 4 && digit(head[0]) && digit(head[1]) && head.substr(2, 2) == "\x03\x04";
}

/// A source whose first two bytes are those of a zip.
class UnmarkedSource final : public ByteSource {
 public:
  explicit UnmarkedSource(SourcePtr source) : source_(std::move(source)) {}
  std::uint64_t size_bytes() const override { return source_->size_bytes(); }
  const std::string& name() const override { return source_->name(); }
  std::optional<FileId> file_id() const override { return source_->file_id(); }
  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    CKPT_CHECK(source_->read_at(offset_bytes, dst));
    constexpr std::string_view kStart = "PK";
    for (std::uint64_t i = offset_bytes; i < kStart.size() && i - offset_bytes < dst.size(); ++i)
      dst[i - offset_bytes] = static_cast<std::byte>(kStart[i]);
    return {};
  }

 private:
  SourcePtr source_;
};

struct Row {
  Format format;
  bool (*matches)(Head head);
  Result<void> (*read)(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
};

constexpr std::array kFormats = {
    Row{Format::npz, is_zip, read_zip},  // npz, .netcl and torch alike
    Row{Format::npy, is_npy, read_npy},
    Row{Format::safetensors, is_safetensors, read_safetensors},
    Row{Format::torch_legacy, is_torch_legacy, read_torch_legacy},
    Row{Format::torch_legacy, is_tar, read_tar},  // what torch wrote before
    Row{Format::pickle, is_pickle, read_pickle},
    Row{Format::flax, [](Head) { return false; }, read_flax},  // guess() knows
};

/// A note where the extension promises another format.
void check_extension(const std::filesystem::path& path, Checkpoint& out) {
  const auto promised = format_of_extension(path);
  const bool legacy = promised == Format::torch && out.format == Format::torch_legacy;
  if (promised && *promised != out.format && !legacy) {
    out.problems.push_back(
        make_problem(ProblemCode::extension_mismatch, "", std::nullopt,
                     fmt::format("the name says {}, the content is {}", to_string(*promised), to_string(out.format))));
  }
}

/// The row for a file without a magic: a zip behind something else, Flax's msgpack, or a pickle of the old protocols.
Result<const Row*> guess(const SourcePtr& source, const std::filesystem::path& path, Head head,
                         const OpenOptions& options, Checkpoint& out) {
  auto row_of = [](Format format) {
    return std::find_if(kFormats.begin(), kFormats.end(), [&](const Row& r) { return r.format == format; });
  };
  Problems ignored;
  if (source->size_bytes() > 22 && read_zip_directory(source, options.limits, ignored)) {
    out.problems.push_back(make_problem(ProblemCode::zip_prefix, "", 0, "something stands before the archive"));
    return row_of(Format::npz);
  }
  if (const auto known = describe_other_file(head)) return fail(ErrorCode::unsupported, "{}", *known);
  const auto promised = format_of_extension(path);
  const bool named_pickle = promised == Format::pickle;
  // A list or an extension is no more than the name's word, and a text in a file of that name is still none of it.
  if (promised == Format::flax && static_cast<signed char>(head[0]) < 0) return row_of(Format::flax);
  if (has_flax_start(head) && !(named_pickle && head.size() == 1) && is_flax(source, options))
    return row_of(Format::flax);
  if (named_pickle || may_be_pickle(head)) {
    Checkpoint trial;
    if (named_pickle || read_pickle(source, options, trial)) return row_of(Format::pickle);
  }
  return fail(ErrorCode::unsupported,
              "not a checkpoint that is known: npz, npy, .netcl, pickle, torch, safetensors and Flax's msgpack are");
}

Result<Checkpoint> read_packed(const SourcePtr& source, const Envelope& envelope, const std::filesystem::path& path,
                               const OpenOptions& options);

/// `packed`: what `source` came out of, null where it is the file itself.
Result<Checkpoint> read_source(const SourcePtr& source, const std::filesystem::path& path, const OpenOptions& options,
                               const SourcePtr& packed = nullptr) {
  Checkpoint out;
  out.path = path.string();
  out.file_bytes = (packed ? packed : source)->size_bytes();
  out.attributes = out.tree.add_dict({});
  std::string head(std::min<std::uint64_t>(source->size_bytes(), kHeadBytes), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));

  if (is_marked_zip(head)) {
    out.problems.push_back(
        make_problem(ProblemCode::zip_mark, "", 0,
                     "two digits stand where a zip begins with PK, as GPT-SoVITS writes it: torch refuses it"));
    CKPT_CHECK(read_zip(std::make_shared<UnmarkedSource>(source), options, out));
    return out;
  }
  const Row* row = std::find_if(kFormats.begin(), kFormats.end(), [&](const Row& r) { return r.matches(head); });
  if (row == kFormats.end() && !packed) {
    if (const auto envelope = find_envelope(head)) return read_packed(source, *envelope, path, options);
  }
  if (row == kFormats.end()) {
    CKPT_TRY(row, guess(source, path, head, options, out));
  }
  out.format = row->format;
  if (auto done = row->read(source, options, out); !done) {
    // What a pickle would have called by then is told of, whatever stopped the reader.
    const auto unsafe = std::find_if(out.problems.begin(), out.problems.end(),
                                     [](const Problem& p) { return p.severity == Severity::unsafe; });
    if (unsafe == out.problems.end() || could_not_look(done.error().code))
      return tl::make_unexpected(std::move(done.error()));
    Error& e = done.error();
    if (!options.thorough) {
      e.message += fmt::format("; it also names {} (not executed)", unsafe->global);
      return tl::make_unexpected(std::move(e));
    }
    out.problems.push_back(to_problem(e));
    out.root = out.tree.add_none();
  }
  if (out.format == Format::npz && options.sidecar && !path.empty()) read_sidecar(path, options, out);
  check_extension(packed ? path.stem() : path, out);
  return out;
}

/// What is in a compressed file, read as if it were the file. One envelope: who packs twice has something to hide.
Result<Checkpoint> read_packed(const SourcePtr& source, const Envelope& envelope, const std::filesystem::path& path,
                               const OpenOptions& options) {
  const std::uint64_t most = ~std::uint64_t{0};
  const std::uint64_t by_size = checked_mul(source->size_bytes(), options.limits.max_unpack_ratio).value_or(most);
  const std::uint64_t max_bytes = checked_add(by_size, options.limits.max_unpacked_bytes).value_or(most);
  CKPT_TRY(const Unpacked unpacked, unpack(source, envelope, max_bytes));
  OpenOptions inner = options;
  inner.limits.max_values_of_large = source->size_bytes() / 2;  // what unpacks to it proves nothing
  CKPT_TRY(Checkpoint out, read_source(unpacked.source, path, inner, source));
  if (unpacked.trailing_bytes > 0) {
    out.problems.push_back(make_problem(ProblemCode::trailing_bytes, "", source->size_bytes() - unpacked.trailing_bytes,
                                        fmt::format("{} bytes follow the compressed data", unpacked.trailing_bytes)));
  }
  return out;
}

/// The name of the first member of a zip.
std::string_view first_member(Head head) {
  constexpr std::size_t kFixedBytes = 30;
  if (head.size() < kFixedBytes) return {};
  return head.substr(kFixedBytes, load_le<std::uint16_t>(head.data() + 26));
}

}  // namespace

bool looks_like_checkpoint(const std::filesystem::path& path) {
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed)) return false;  // a pipe would be waited for
  const auto source = open_file(path);
  if (!source) return false;
  std::array<char, kHeadBytes> bytes;
  const Head head(bytes.data(), std::min<std::uint64_t>((*source)->size_bytes(), bytes.size()));
  if (!(*source)->read_at(0, std::as_writable_bytes(std::span(bytes).first(head.size())))) return false;
  // Programs and documents are zips too.
  if (is_zip(head)) return first_member(head).ends_with(".npy") || first_member(head).ends_with("data.pkl");
  constexpr char kNewestProtocol = 5;
  if (is_pickle(head)) return head.size() > 2 && head[1] >= 2 && head[1] <= kNewestProtocol;
  if (is_tar(head)) return is_torch_tar(*source);
  return is_npy(head) || is_safetensors(head) || looks_like_flax(head);
}

bool can_repair(const ByteSource& source) {
  std::string head(std::min<std::uint64_t>(source.size_bytes(), kHeadBytes), '\0');
  if (!source.read_at(0, std::as_writable_bytes(std::span(head)))) return false;
  return is_zip(head) || is_marked_zip(head) || is_safetensors(head);
}

bool is_torch_zip(const ZipDirectory& directory) {
  return std::any_of(directory.members.begin(), directory.members.end(), [](const ZipMember& m) {
    return m.name == "data.pkl" || m.name.ends_with("/data.pkl") ||
           m.name.ends_with("_weights_config.json");  // torch.export's
  });
}

Result<Checkpoint> open_checkpoint(SourcePtr source, const std::filesystem::path& path, const OpenOptions& options) {
  return guarded([&]() -> Result<Checkpoint> {
    if (!source) return fail(ErrorCode::invalid_argument, "there is no source to read from");
    return in_file(read_source(source, path, options), source->name());
  });
}

Result<Checkpoint> open_checkpoint(const std::filesystem::path& path, const OpenOptions& options) {
  return guarded([&]() -> Result<Checkpoint> {
    if (is_npy_folder(path)) return read_npy_folder(path, options);
    CKPT_TRY(SourcePtr source, open_file(path));
    return open_checkpoint(std::move(source), path, options);
  });
}

}  // namespace netcl::ckpt
