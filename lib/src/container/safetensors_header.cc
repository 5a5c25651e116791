// The safetensors layout:
//
//   u64 little-endian   N, the header's size
//   N bytes             JSON, from '{' on; may end in spaces
//                         {"__metadata__": {"format": "pt"},
//                          "layer.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//   the rest            data; data_offsets count from here
//
// https://github.com/huggingface/safetensors#format. The header is read event by event into entries:
// a tree of it would cost a dozen nodes for each tensor. Keys that the specification does not have
// are skipped, as the reference reader does; a repeated key, which that one lets win, is refused.
#include "container/safetensors_header.h"

#include <algorithm>
#include <optional>

#include "base/endian.h"
#include "base/try.h"
#include "container/json_reader.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint32_t kMaxDepth = 128;  // serde_json's, which the reference reader has

class HeaderReader final : public JsonHandler {
 public:
  HeaderReader(const Limits& limits, SafetensorsHeader& out) : limits_(limits), out_(out) {}

  Result<void> null() override { return other_leaf(); }
  Result<void> boolean(bool) override { return other_leaf(); }
  Result<void> real(double) override { return other_leaf(); }
  Result<void> big_integer(std::string_view) override { return other_leaf(); }

  Result<void> integer(std::int64_t value) override {
    if (at_ == At::shape_list && value >= 0) {
      if (tensor().shape.size() >= limits_.max_dimensions) {
        return fail_at(ErrorCode::limit_exceeded, tensor().name, {}, "the shape has more than {} dimensions",
                       limits_.max_dimensions);
      }
      tensor().shape.push_back(static_cast<std::uint64_t>(value));
      return {};
    }
    if (at_ == At::offsets_list && value >= 0 && num_offsets_ < 2) {
      (num_offsets_++ == 0 ? tensor().begin_bytes : tensor().end_bytes) = static_cast<std::uint64_t>(value);
      return {};
    }
    return other_leaf();
  }

  Result<void> string(std::string_view text) override {
    switch (at_) {
      case At::dtype:
        tensor().dtype = text;
        has_dtype_ = true;
        at_ = At::tensor;
        return {};
      case At::metadata: out_.metadata.back().second = text; return {};
      default: return other_leaf();
    }
  }

  Result<void> begin_object() override {
    switch (at_) {
      case At::start: at_ = At::top; return {};
      case At::metadata_start: at_ = At::metadata; return {};
      case At::tensor_start:
        has_dtype_ = has_shape_ = false;
        num_offsets_ = 0;
        at_ = At::tensor;
        return {};
      default: return other_container();
    }
  }

  Result<void> begin_array() override {
    switch (at_) {
      case At::shape: at_ = At::shape_list; return {};
      case At::offsets: at_ = At::offsets_list; return {};
      default: return other_container();
    }
  }

  Result<void> key(std::string_view text) override {
    switch (at_) {
      case At::top:
        if (text == "__metadata__") {
          at_ = At::metadata_start;
          return {};
        }
        if (out_.tensors.size() >= limits_.max_names) {
          return fail(ErrorCode::limit_exceeded, "the header has more than {} tensors", limits_.max_names);
        }
        out_.tensors.emplace_back().name = text;
        at_ = At::tensor_start;
        return {};
      case At::metadata: out_.metadata.emplace_back(text, ""); return {};
      case At::tensor:
        at_ = text == "dtype"          ? At::dtype
              : text == "shape"        ? At::shape
              : text == "data_offsets" ? At::offsets
                                       : At::skip;
        return {};
      default: return {};  // of an object that is skipped
    }
  }

  Result<void> end_object() override {
    switch (at_) {
      case At::skip: return end_skipped();
      case At::tensor:
        if (!has_dtype_ || !has_shape_ || num_offsets_ != 2) {
          return fail_at(ErrorCode::corrupt, tensor().name, {}, "its entry lacks {}",
                         !has_dtype_   ? "a dtype"
                         : !has_shape_ ? "a shape"
                                       : "two data_offsets");
        }
        at_ = At::top;
        return {};
      case At::metadata: at_ = At::top; return {};
      default: return {};
    }
  }

  Result<void> end_array() override {
    if (at_ == At::skip) return end_skipped();
    has_shape_ = has_shape_ || at_ == At::shape_list;
    at_ = At::tensor;
    return {};
  }

 private:
  enum class At {
    start,
    top,
    metadata_start,
    metadata,
    tensor_start,
    tensor,
    dtype,
    shape,
    shape_list,
    offsets,
    offsets_list,
    skip,
  };

  SafetensorsEntry& tensor() { return out_.tensors.back(); }

  Result<void> other_leaf() {
    if (at_ != At::skip) return unexpected();
    if (skipped_depth_ == 0) at_ = At::tensor;
    return {};
  }
  Result<void> other_container() {
    if (at_ != At::skip) return unexpected();
    ++skipped_depth_;
    return {};
  }
  Result<void> end_skipped() {
    if (--skipped_depth_ == 0) at_ = At::tensor;
    return {};
  }

  Result<void> unexpected() {
    switch (at_) {
      case At::start:
      case At::top: return fail(ErrorCode::corrupt, "the header is not a JSON object");
      case At::metadata_start:
      case At::metadata: return fail_at(ErrorCode::corrupt, "__metadata__", {}, "it must be an object of strings");
      case At::tensor_start: return fail_at(ErrorCode::corrupt, tensor().name, {}, "its entry is not an object");
      case At::dtype: return fail_at(ErrorCode::corrupt, tensor().name, {}, "its dtype is not a string");
      case At::shape:
      case At::shape_list: return fail_at(ErrorCode::corrupt, tensor().name, {}, "its shape is not a list of sizes");
      default: return fail_at(ErrorCode::corrupt, tensor().name, {}, "its data_offsets are not two positions");
    }
  }

  const Limits& limits_;
  SafetensorsHeader& out_;
  At at_ = At::start;
  std::uint64_t skipped_depth_ = 0;
  bool has_dtype_ = false, has_shape_ = false;
  int num_offsets_ = 0;
};

/// The ranges, one behind the other, are the data.
Result<void> check_ranges(SafetensorsHeader& header, std::uint64_t data_bytes) {
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin_bytes, a.end_bytes) < std::pair(b.begin_bytes, b.end_bytes);
  });
  std::uint64_t next = 0;
  for (const SafetensorsEntry& t : header.tensors) {
    if (t.end_bytes < t.begin_bytes) return fail_at(ErrorCode::corrupt, t.name, {}, "its data ends before it begins");
    if (t.end_bytes > data_bytes) {
      return fail_at(ErrorCode::truncated, t.name, {}, "the file ends {} bytes before its data does",
                     t.end_bytes - data_bytes);
    }
    if (t.begin_bytes != next) {
      return fail_at(ErrorCode::corrupt, t.name, {}, "its data {} the data before it",
                     t.begin_bytes < next ? "overlaps" : "leaves a hole after");
    }
    next = t.end_bytes;
  }
  if (next == data_bytes) return {};
  return fail_at(ErrorCode::corrupt, "", header.data_offset + next, "{} bytes at the end belong to no tensor",
                 data_bytes - next);
}

}  // namespace

bool has_safetensors_start(std::string_view head) {
  if (head.size() <= kLengthBytes || head[kLengthBytes] != '{') return false;
  return load_le<std::uint64_t>(head.data()) < (std::uint64_t{1} << 40);
}

Result<SafetensorsHeader> parse_safetensors_header(const ByteSource& source, const Limits& limits) {
  std::byte length[kLengthBytes];
  CKPT_CHECK(source.read_at(0, length));
  const auto header_bytes = load_le<std::uint64_t>(length);
  const std::uint64_t rest = source.size_bytes() - kLengthBytes;
  if (header_bytes > limits.max_safetensors_header_bytes) {
    return fail_at(ErrorCode::limit_exceeded, "", 0, "a header of {} bytes is more than the format's limit of {}",
                   header_bytes, limits.max_safetensors_header_bytes);
  }
  if (header_bytes > rest) {
    return fail_at(ErrorCode::truncated, "", source.size_bytes(), "the file ends inside its header of {} bytes",
                   header_bytes);
  }
  std::string text(header_bytes, '\0');
  CKPT_CHECK(source.read_at(kLengthBytes, std::as_writable_bytes(std::span(text))));
  if (!text.starts_with('{'))
    return fail_at(ErrorCode::corrupt, "", kLengthBytes, "the header does not begin with '{{'");

  SafetensorsHeader header;
  header.data_offset = kLengthBytes + header_bytes;
  HeaderReader reader(limits, header);
  if (auto read = read_json(text, {.max_depth = kMaxDepth}, reader); !read) {
    Error& e = read.error();
    if (!e.member.empty()) {
      e.offset_bytes.reset();  // the member is a tensor, and the place would be the header's
    } else if (e.offset_bytes) {
      *e.offset_bytes += kLengthBytes;
    }
    return tl::make_unexpected(std::move(e));
  }
  return header;
}

Result<SafetensorsHeader> read_safetensors_header(const ByteSource& source, const Limits& limits) {
  CKPT_TRY(SafetensorsHeader header, parse_safetensors_header(source, limits));
  CKPT_CHECK(check_ranges(header, source.size_bytes() - header.data_offset));
  return header;
}

}  // namespace netcl::ckpt
