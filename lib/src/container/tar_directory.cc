// Tar: blocks of 512 bytes, a header before each member's data. POSIX's ustar, pax's extended headers (x, g), GNU's
// long names (L) and binary sizes. Where readers differ, Python's tarfile counts, because torch read its tars with it.
// https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, "ustar Interchange Format"
// https://www.gnu.org/software/tar/manual/html_node/Standard.html
#include "container/tar_directory.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/checked.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kChecksumAt = 148, kChecksumBytes = 8;
// The longest path of Linux has 4 KiB, and pax headers hold attributes beside it.
constexpr std::uint64_t kMaxExtensionBytes = std::uint64_t{1} << 20;

/// Digits of base 8 between spaces, and NUL; nothing where there is something else.
std::optional<std::uint64_t> parse_octal(std::string_view field) {
  field = field.substr(0, field.find('\0'));
  const auto first = field.find_first_not_of(' ');
  if (first == field.npos) return 0;
  field = field.substr(first, field.find_last_not_of(' ') + 1 - first);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (error != std::errc() || end != field.data() + field.size()) return std::nullopt;
  return value;
}

/// The same, or 0x80 and a big-endian number, as GNU writes what has too many digits.
std::optional<std::uint64_t> parse_size(std::string_view field) {
  if (field[0] != '\x80') return parse_octal(field);
  std::uint64_t value = 0;
  for (const char c : field.substr(1)) {
    if (value >> 56 != 0) return std::nullopt;
    value = value << 8 | static_cast<std::uint8_t>(c);
  }
  return value;
}

bool is_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
}

/// The sum of the header's bytes, its own field taken for spaces. Old programs took bytes for signed numbers.
bool has_checksum(std::string_view block) {
  const auto wanted = parse_octal(block.substr(kChecksumAt, kChecksumBytes));
  if (!wanted) return false;
  std::int64_t plain = 0, with_sign = 0;
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    const char c = i >= kChecksumAt && i < kChecksumAt + kChecksumBytes ? ' ' : block[i];
    plain += static_cast<std::uint8_t>(c);
    with_sign += static_cast<std::int8_t>(c);
  }
  const auto sum = static_cast<std::int64_t>(*wanted);
  return sum == plain || sum == with_sign;
}

std::string_view until_nul(std::string_view field) { return field.substr(0, field.find('\0')); }

/// What headers of type x and L say of the member that follows.
struct Extension {
  std::optional<std::string> name;
  std::optional<std::uint64_t> size_bytes;
  bool sparse = false;
};

class TarReader {
 public:
  TarReader(const SourcePtr& source, const Limits& limits, Problems& problems)
      : source_(source), limits_(limits), problems_(problems), end_(source->size_bytes()) {}

  Result<TarDirectory> read() {
    TarDirectory out;
    for (;;) {
      auto more = next(out.members);
      if (!more) {
        const ErrorCode code = more.error().code;
        if (could_not_look(code) || code == ErrorCode::limit_exceeded || out.members.empty())
          return tl::make_unexpected(std::move(more.error()));
        out.damage = std::move(more.error());
        return out;
      }
      if (!*more) return out;
    }
  }

 private:
  tl::unexpected<Error> corrupt(std::string_view what) const {
    return fail_at(ErrorCode::corrupt, "", at_, "the tar archive is damaged: {}", what);
  }

  /// Reads one member, with the headers that describe it. False at the archive's end.
  Result<bool> next(std::vector<TarMember>& members) {
    Extension extension;
    for (;;) {
      if (at_ == end_) {
        problems_.push_back(make_problem(ProblemCode::truncated, "", at_,
                                         "the tar archive has no end mark: it may be cut short", Severity::warning));
        return false;
      }
      if (end_ - at_ < kBlockBytes) return fail_at(ErrorCode::truncated, "", at_, "the tar archive ends in a header");
      std::array<char, kBlockBytes> bytes;
      CKPT_CHECK(source_->read_at(at_, std::as_writable_bytes(std::span(bytes))));
      const std::string_view block(bytes.data(), bytes.size());
      if (is_zero(block)) {
        CKPT_CHECK(check_end());
        return false;
      }
      if (!has_checksum(block)) return corrupt("a header's checksum is wrong");
      const auto size = parse_size(block.substr(124, 12));
      if (!size) return corrupt("a member's size is no number");
      const char type = block[156];
      if (type == 'x' || type == 'X' || type == 'g' || type == 'L' || type == 'K') {
        CKPT_TRY(const std::string text, read_extension(*size));
        if (type == 'L') extension.name = extension.name.value_or(std::string(until_nul(text)));
        if (type == 'x' || type == 'X') CKPT_CHECK(parse_pax(text, extension));
        if (type == 'g') {
          Extension global;
          CKPT_CHECK(parse_pax(text, global));
          if (global.name || global.size_bytes) return corrupt("a global header names or measures all members");
        }
        at_ += kBlockBytes + padded(*size);
        continue;
      }
      CKPT_CHECK(add(block, type, *size, extension, members));
      return true;
    }
  }

  static std::uint64_t padded(std::uint64_t size) { return (size + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

  /// Whether so many bytes, and what pads them, stand behind the header. The last member's padding may be missing.
  bool fits(std::uint64_t size) const { return size <= end_ - at_ - kBlockBytes; }

  Result<std::string> read_extension(std::uint64_t size) {
    if (size > kMaxExtensionBytes) return fail_at(ErrorCode::limit_exceeded, "", at_, "a tar header of {} bytes", size);
    if (!fits(padded(size))) return fail_at(ErrorCode::truncated, "", at_, "the tar archive ends in a header");
    std::string text(size, '\0');
    CKPT_CHECK(source_->read_at(at_ + kBlockBytes, std::as_writable_bytes(std::span(text))));
    return text;
  }

  /// "LENGTH KEY=VALUE\n" …
  Result<void> parse_pax(std::string_view text, Extension& out) const {
    while (!text.empty() && text[0] != '\0') {
      std::size_t length = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
      const auto digits = static_cast<std::size_t>(end - text.data());
      if (error != std::errc() || length > text.size() || length < digits + 2 || text[digits] != ' ' ||
          text[length - 1] != '\n')
        return corrupt("a pax header is malformed");
      const std::string_view record = text.substr(digits + 1, length - digits - 2);
      text.remove_prefix(length);
      const auto equals = record.find('=');
      if (equals == record.npos) return corrupt("a pax header is malformed");
      const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
      if (key.starts_with("GNU.sparse.")) out.sparse = true;
      if (key == "path") out.name = value;
      if (key == "size") {
        std::uint64_t size = 0;
        const auto [stop, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
        if (wrong != std::errc() || stop != value.data() + value.size()) return corrupt("a member's size is no number");
        out.size_bytes = size;
      }
    }
    return {};
  }

  Result<void> add(std::string_view block, char type, std::uint64_t size, Extension& extension,
                   std::vector<TarMember>& members) {
    if (members.size() >= limits_.max_members)
      return fail_at(ErrorCode::limit_exceeded, "", at_, "the tar archive has more than {} members",
                     limits_.max_members);
    TarMember m;
    m.name = until_nul(block.substr(0, 100));
    const std::string_view prefix = until_nul(block.substr(345, 155));
    if (block.substr(257, 6) == std::string_view("ustar\0", 6) && !prefix.empty())
      m.name = std::string(prefix) + '/' + m.name;
    if (extension.name) m.name = std::move(*extension.name);
    name_bytes_ += m.name.size();
    if (name_bytes_ > limits_.max_name_bytes)
      return fail_at(ErrorCode::limit_exceeded, "", at_, "the names in the tar archive take more than {} bytes",
                     limits_.max_name_bytes);
    // Links, devices and folders have no data, whatever their size says; of an unknown type, tarfile skips them.
    const bool has_data = type < '1' || type > '6';
    m.size_bytes = has_data ? extension.size_bytes.value_or(size) : 0;
    const bool plain = type == '0' || type == '\0' || type == '7';
    if (type == '5' || (type == '\0' && m.name.ends_with('/'))) {
      m.kind = TarMember::Kind::folder;
    } else if (!plain || extension.sparse) {
      m.kind = TarMember::Kind::other;
    }
    m.header_offset = at_;
    m.data_offset = at_ + kBlockBytes;
    if (!fits(m.size_bytes))
      return fail_at(ErrorCode::truncated, to_valid_utf8(m.name), at_,
                     "the tar archive ends inside this member of {} bytes", m.size_bytes);
    at_ = std::min(m.data_offset + padded(m.size_bytes), end_);
    members.push_back(std::move(m));
    return {};
  }

  /// Behind the first block of zeros, where tarfile stops, zeros fill a tape's record.
  Result<void> check_end() {
    constexpr std::uint64_t kMostPadding = std::uint64_t{1} << 20;
    const std::uint64_t left = end_ - at_;
    std::string rest(std::min(left, kMostPadding), '\0');
    CKPT_CHECK(source_->read_at(at_, std::as_writable_bytes(std::span(rest))));
    if (left > kMostPadding || !is_zero(rest)) {
      problems_.push_back(make_problem(ProblemCode::trailing_bytes, "", at_,
                                       fmt::format("{} bytes follow the end of the tar archive", left)));
    }
    return {};
  }

  const SourcePtr& source_;
  const Limits& limits_;
  Problems& problems_;
  std::uint64_t end_;
  std::uint64_t at_ = 0;
  std::uint64_t name_bytes_ = 0;
};

}  // namespace

bool has_tar_start(std::string_view head) {
  if (head.size() < kBlockBytes || head[0] == '\0' || head[0] == '\x80') return false;
  const std::string_view block = head.substr(0, kBlockBytes);
  return has_checksum(block) && parse_size(block.substr(124, 12));
}

Result<TarDirectory> read_tar_directory(const SourcePtr& source, const Limits& limits, Problems& problems) {
  return TarReader(source, limits, problems).read();
}

}  // namespace netcl::ckpt
