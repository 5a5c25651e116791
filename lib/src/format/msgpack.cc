// Flax's msgpack files, what flax.serialization.to_bytes gives: one value, nearly always a map, with three extensions:
//
//   1   an array: a list of the shape (a list), the dtype's name and the elements in C order, little-endian
//   2   a complex number: a list of two
//   3   a NumPy scalar, written as an array without dimensions
//
// and an array of more than a gigabyte as a map of flat parts, in whatever order, numbered by their keys:
//
//   {"__msgpack_chunked_array__": true, "shape": {"0": 2, "1": 3}, "chunks": {"0": array, "1": array}}
//
// https://github.com/google/flax/blob/main/flax/serialization.py. Containers are built bottom-up when they end, from
// one stack that holds the children of all those that are open. An extension says where it ends, so one that makes no
// sense, or that nobody knows, is listed with the reason and hides nothing behind it.
#include <algorithm>
#include <bit>
#include <charconv>
#include <tuple>

#include "base/checked.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/msgpack_reader.h"
#include "format/readers.h"
#include "model/dtype.h"
#include "model/tree_walk.h"

namespace netcl::ckpt {
namespace {

constexpr std::int8_t kArray = 1, kComplex = 2, kScalar = 3;
constexpr std::string_view kChunked = "__msgpack_chunked_array__";

/// Ranges of a file, one behind the other.
class JoinedStorage final : public Storage {
 public:
  struct Part {
    std::uint64_t begin_bytes;   // in the storage
    std::uint64_t offset_bytes;  // in the file
  };

  /// `parts` are in order and not empty; the first begins at 0.
  JoinedStorage(SourcePtr source, std::vector<Part> parts, std::uint64_t size_bytes)
      : contents_(std::make_shared<const Contents>(Contents{std::move(source), std::move(parts), size_bytes})) {
    form_.stored_bytes = size_bytes;
  }
  std::uint64_t size_bytes() const override { return contents_->size_bytes; }
  bool seekable() const override { return true; }
  const StoredForm& stored_form() const override { return form_; }  // no source: it is no range of one
  Result<std::unique_ptr<StorageReader>> open() const override {
    return std::unique_ptr<StorageReader>(std::make_unique<Reader>(contents_));
  }

 private:
  struct Contents {
    SourcePtr source;
    std::vector<Part> parts;
    std::uint64_t size_bytes;
  };

  class Reader final : public StorageReader {
   public:
    explicit Reader(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
    Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
      const std::vector<Part>& parts = contents_->parts;
      if (offset_bytes > contents_->size_bytes || dst.size() > contents_->size_bytes - offset_bytes)
        return fail(ErrorCode::internal, "read past the end of a storage");
      auto part = std::upper_bound(parts.begin(), parts.end(), offset_bytes,
                                   [](std::uint64_t at, const Part& p) { return at < p.begin_bytes; });
      for (--part; !dst.empty(); ++part) {
        const std::uint64_t end = part + 1 == parts.end() ? contents_->size_bytes : (part + 1)->begin_bytes;
        const std::size_t n = std::min<std::uint64_t>(dst.size(), end - offset_bytes);
        CKPT_CHECK(contents_->source->read_at(part->offset_bytes + (offset_bytes - part->begin_bytes), dst.first(n)));
        dst = dst.subspan(n);
        offset_bytes += n;
      }
      return {};
    }

   private:
    std::shared_ptr<const Contents> contents_;
  };

  std::shared_ptr<const Contents> contents_;
  StoredForm form_;
};

/// What NumPy's dtype.name calls a type ("float32", "datetime64[ns]", "bytes24"), or its dtype.str.
Result<DType> parse_dtype_name(std::string_view name) {
  struct Prefix {
    std::string_view name, code;
    std::uint64_t unit_bits;  // of the number behind it; 0 for what stays as it is
  };
  constexpr std::array kPrefixes = {Prefix{"datetime64[", "<M8[", 0}, Prefix{"timedelta64[", "<m8[", 0},
                                    Prefix{"str", "<U", 32}, Prefix{"bytes", "|S", 8}, Prefix{"void", "|V", 8}};
  for (const Prefix& p : kPrefixes) {
    if (!name.starts_with(p.name)) continue;
    const std::string_view rest = name.substr(p.name.size());
    if (p.unit_bits == 0) return parse_type_string(std::string(p.code).append(rest));
    std::uint64_t bits = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), bits);
    const bool number = error == std::errc() && end == rest.data() + rest.size() && bits % p.unit_bits == 0;
    if (number || rest.empty()) return parse_type_string(fmt::format("{}{}", p.code, bits / p.unit_bits));
  }
  return parse_type_string(name);
}

class FlaxReader {
 public:
  FlaxReader(const SourcePtr& source, const OpenOptions& options, Checkpoint& out)
      : source_(source),
        limits_(options.limits),
        out_(out),
        tree_(out.tree),
        in_(*source, 0, source->size_bytes()),
        max_values_(options.limits.max_values_in(source->size_bytes())) {}

  Result<void> read() {
    CKPT_TRY(out_.root, read_value());
    if (in_.left() > 0) {
      out_.problems.push_back(make_problem(
          ProblemCode::trailing_bytes, "", in_.offset(),
          fmt::format("{} bytes follow the value's end: Flax does not load it", in_.left()), Severity::error));
    }
    return {};
  }

 private:
  using Kind = MsgpackKind;

  struct Pending {
    ValueId id;
    std::uint64_t offset_bytes;
  };
  /// A container whose elements are being read.
  struct Open {
    bool is_map;
    std::uint64_t left;  // values, keys counted
    std::size_t first;   // of its elements in pending_
    std::uint64_t offset_bytes;
  };

  Result<ValueId> read_value() {
    for (;;) {
      CKPT_TRY(const MsgpackToken token, in_.next());
      const bool is_container = token.kind == Kind::map || token.kind == Kind::list;
      if (at_key() && (is_container || token.kind == Kind::extension))
        return bad(token, "a map's key is neither text nor a number");
      if (is_container && token.size > 0) {
        if (open_.size() >= limits_.max_depth)
          return fail_at(ErrorCode::limit_exceeded, "", token.offset_bytes, "maps and lists are nested deeper than {}",
                         limits_.max_depth);
        const bool is_map = token.kind == Kind::map;
        open_.push_back({is_map, is_map ? 2 * token.size : token.size, pending_.size(), token.offset_bytes});
        continue;
      }
      CKPT_TRY(ValueId id, leaf(token));
      std::uint64_t offset_bytes = token.offset_bytes;
      for (;;) {
        if (tree_.size() > max_values_)
          return fail_at(ErrorCode::limit_exceeded, "", offset_bytes, "the file holds more than {} values",
                         max_values_);
        if (open_.empty()) return id;
        pending_.push_back({id, offset_bytes});
        if (--open_.back().left > 0) break;
        offset_bytes = open_.back().offset_bytes;
        CKPT_TRY(id, close());
      }
    }
  }

  bool at_key() const { return !open_.empty() && open_.back().is_map && open_.back().left % 2 == 0; }

  static tl::unexpected<Error> bad(const MsgpackToken& token, std::string_view what) {
    return fail_at(ErrorCode::corrupt, "", token.offset_bytes, "{}", what);
  }

  /// The dotted name of the value that is read next; "" if it is a long one, of which there may be thousands.
  std::string name() const {
    constexpr std::size_t kMostSteps = 64, kMostBytes = 1024;
    if (open_.size() > kMostSteps) return "";
    std::string out;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const std::size_t end = i + 1 < open_.size() ? open_[i + 1].first : pending_.size();
      if (i > 0) out += '.';
      if (open_[i].is_map) {
        const ValueId key = pending_[end - 1].id;
        if (out.size() + tree_.text(key).size() > kMostBytes) return "";
        out += key_text(tree_, key);
      } else {
        out += std::to_string(end - open_[i].first);
      }
    }
    return out;
  }

  void report(ProblemCode code, std::optional<std::uint64_t> offset_bytes, std::string message,
              std::optional<Severity> severity = {}) {
    constexpr std::size_t kMostReported = 10'000;
    if (out_.problems.size() < kMostReported)
      out_.problems.push_back(make_problem(code, name(), offset_bytes, std::move(message), severity));
  }

  // ---- containers ----

  Result<ValueId> close() {
    const Open open = open_.back();
    const auto children = std::span(pending_).subspan(open.first);
    ValueId id = 0;
    if (open.is_map) {
      entries_.clear();
      for (std::size_t i = 0; i < children.size(); i += 2) entries_.push_back({children[i].id, children[i + 1].id});
      CKPT_CHECK(check_keys(children));
      id = tree_.add_dict(entries_);
    } else {
      items_.clear();
      for (const Pending& child : children) items_.push_back(child.id);
      id = tree_.add_sequence(ValueKind::list, items_);
    }
    pending_.resize(open.first);
    open_.pop_back();
    return open.is_map && tree_.find(id, kChunked) != nullptr ? join(id, open.offset_bytes) : id;
  }

  /// Python would let the last of two equal keys win, and others the first.
  Result<void> check_keys(std::span<const Pending> children) {
    using Key = std::tuple<ValueKind, std::string_view, std::int64_t, std::uint64_t, std::uint64_t>;
    std::vector<Key> keys;
    keys.reserve(children.size() / 2);
    for (std::size_t i = 0; i < children.size(); i += 2) {
      const ValueId id = children[i].id;
      keys.emplace_back(tree_.kind(id), tree_.text(id), tree_.integer(id), std::bit_cast<std::uint64_t>(tree_.real(id)),
                        children[i].offset_bytes);
    }
    std::sort(keys.begin(), keys.end());
    const auto again = std::adjacent_find(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
      return std::tie(std::get<0>(a), std::get<1>(a), std::get<2>(a), std::get<3>(a)) ==
             std::tie(std::get<0>(b), std::get<1>(b), std::get<2>(b), std::get<3>(b));
    });
    if (again == keys.end()) return {};
    return fail_at(ErrorCode::corrupt, "", std::get<4>(*(again + 1)), "a map has a key twice");
  }

  /// The values of {"0": …, "1": …} or of a list, in their order; nothing for anything else.
  std::optional<std::vector<ValueId>> numbered(ValueId id) const {
    if (tree_.kind(id) == ValueKind::list) {
      const auto items = tree_.items(id);
      return std::vector<ValueId>(items.begin(), items.end());
    }
    if (tree_.kind(id) != ValueKind::dict) return std::nullopt;
    const auto entries = tree_.entries(id);
    std::vector<std::optional<ValueId>> found(entries.size());
    for (const Tree::Entry& e : entries) {
      const std::string text = key_text(tree_, e.key);
      std::size_t at = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), at);
      const bool number = error == std::errc() && end == text.data() + text.size() && std::to_string(at) == text;
      if (!number || at >= found.size() || found[at]) return std::nullopt;
      found[at] = e.value;
    }
    std::vector<ValueId> out;
    for (const auto& value : found) out.push_back(*value);  // so many different numbers below their count are all
    return out;
  }

  /// The array that a map describes as parts; the map itself, with the reason, where it does not.
  Result<ValueId> join(ValueId map, std::uint64_t offset_bytes) {
    Tensor joined;
    auto made = join_parts(map, joined);
    if (made) return add_tensor(std::move(joined));
    report(ProblemCode::unreadable_tensor, offset_bytes,
           "an array in parts that do not make one; they are listed: " + made.error().message);
    return map;
  }

  Result<void> join_parts(ValueId map, Tensor& out) const {
    const auto* shape_entry = tree_.find(map, "shape");
    const auto* parts_entry = tree_.find(map, "chunks");
    const auto sizes = shape_entry != nullptr ? numbered(shape_entry->value) : std::nullopt;
    const auto parts = parts_entry != nullptr ? numbered(parts_entry->value) : std::nullopt;
    if (!sizes || !parts || parts->empty()) return fail(ErrorCode::corrupt, "it lacks a shape, or numbered chunks");
    if (sizes->size() > limits_.max_dimensions)
      return fail(ErrorCode::corrupt, "an array of {} dimensions", sizes->size());
    for (const ValueId size : *sizes) {
      if (tree_.kind(size) != ValueKind::integer || tree_.integer(size) < 0)
        return fail(ErrorCode::corrupt, "its shape holds something other than sizes");
      out.shape.push_back(static_cast<std::uint64_t>(tree_.integer(size)));
    }
    std::vector<JoinedStorage::Part> ranges;
    std::uint64_t size_bytes = 0;
    for (const ValueId part : *parts) {
      if (tree_.kind(part) != ValueKind::tensor || !tree_.tensor(part).storage ||
          !tree_.tensor(part).storage->stored_form().source)
        return fail(ErrorCode::corrupt, "one of its chunks is no array that can be read");
      const Tensor& tensor = tree_.tensor(part);
      if (part == parts->front()) out.dtype = tensor.dtype;
      if (out.dtype != tensor.dtype) return fail(ErrorCode::corrupt, "its chunks are of several dtypes");
      if (tensor.storage->size_bytes() == 0) continue;
      ranges.push_back({size_bytes, tensor.storage->stored_form().offset_bytes});
      size_bytes += tensor.storage->size_bytes();  // all lie in one file
    }
    if (checked_product(out.shape, out.dtype.item_bytes) != size_bytes)
      return fail(ErrorCode::corrupt, "its chunks of {} bytes are not what {} ({}) needs", size_bytes, out.dtype.name(),
                  fmt::join(out.shape, ", "));
    out.strides = c_strides(out.shape);
    out.storage = ranges.empty() ? file_storage(source_, 0, 0)
                                 : std::make_shared<JoinedStorage>(source_, std::move(ranges), size_bytes);
    return {};
  }

  // ---- leaves ----

  Result<ValueId> leaf(const MsgpackToken& token) {
    switch (token.kind) {
      case Kind::nil: return tree_.add_none();
      case Kind::boolean: return tree_.add_boolean(token.integer != 0);
      case Kind::integer: return tree_.add_integer(token.integer);
      case Kind::big_integer: return tree_.add_big_integer(std::to_string(token.big_integer));
      case Kind::real: return tree_.add_real(token.real);
      case Kind::list: return tree_.add_sequence(ValueKind::list, {});
      case Kind::map: return tree_.add_dict({});
      case Kind::string: {
        CKPT_CHECK(read_text(token));
        if (!is_utf8(text_)) return bad(token, "a text is not UTF-8");
        return tree_.add_string(text_);
      }
      case Kind::bytes: {
        CKPT_CHECK(read_text(token));
        return tree_.add_bytes(text_);
      }
      case Kind::extension: break;
    }
    return extension(token);
  }

  Result<void> read_text(const MsgpackToken& token) {
    text_bytes_ += token.size;  // bounded by the file's size
    if (text_bytes_ > limits_.max_pickle_inline_bytes)
      return fail_at(ErrorCode::limit_exceeded, "", token.offset_bytes, "the file holds more than {} bytes of text",
                     limits_.max_pickle_inline_bytes);
    return in_.read(token.size, text_);
  }

  Result<ValueId> extension(const MsgpackToken& token) {
    if (token.extension_type == kArray || token.extension_type == kScalar) return array(token);
    in_.enter(token.size);
    if (token.extension_type == kComplex) {
      const auto number = complex();
      in_.leave();
      if (number) return tree_.add_complex(number->first, number->second);
      if (could_not_look(number.error().code)) return tl::make_unexpected(number.error());
      report(ProblemCode::corrupt, token.offset_bytes, "a complex number is not two numbers");
    } else {
      in_.leave();
      report(ProblemCode::unknown_extension, token.offset_bytes,
             fmt::format("a value of {} bytes is of msgpack's extension type {}, which Flax does not write", token.size,
                         token.extension_type));
    }
    return tree_.add_opaque(fmt::format("msgpack.ExtType({})", token.extension_type), {});
  }

  Result<std::pair<double, double>> complex() {
    const auto part = [&]() -> Result<double> {
      CKPT_TRY(const MsgpackToken token, in_.next());
      if (token.kind == Kind::real) return token.real;
      if (token.kind == Kind::integer) return static_cast<double>(token.integer);
      return bad(token, "it is no number");
    };
    CKPT_TRY(const MsgpackToken list, in_.next());
    if (list.kind != Kind::list || list.size != 2) return bad(list, "it is no list of two");
    CKPT_TRY(const double real, part());
    CKPT_TRY(const double imaginary, part());
    if (in_.left() > 0) return bad(list, "bytes follow it");
    return std::pair(real, imaginary);
  }

  /// An array, or, if it cannot be read, its name in the list and the reason.
  Result<ValueId> array(const MsgpackToken& token) {
    Tensor tensor;
    in_.enter(token.size);
    const auto made = describe(tensor);
    in_.leave();
    if (!made) {
      const Error& e = made.error();
      if (could_not_look(e.code)) return tl::make_unexpected(e);
      tensor.strides = c_strides(tensor.shape);
      tensor.why_unreadable = e.message;
      report(ProblemCode::unreadable_tensor, e.offset_bytes.value_or(token.offset_bytes),
             "a tensor that cannot be read: " + e.message,
             e.code == ErrorCode::unsupported ? Severity::warning : Severity::error);
    }
    const bool scalar = token.extension_type == kScalar && made && tensor.shape.empty();
    if (!scalar) return add_tensor(std::move(tensor));
    CKPT_CHECK(count_tensor());
    return tree_.add_scalar(std::move(tensor));
  }

  Result<void> describe(Tensor& out) {
    CKPT_TRY(const MsgpackToken parts, in_.next());
    if (parts.kind != Kind::list || parts.size != 3) return bad(parts, "it is no list of shape, dtype and elements");
    CKPT_TRY(const MsgpackToken dimensions, in_.next());
    if (dimensions.kind != Kind::list) return bad(dimensions, "its shape is no list");
    if (dimensions.size > limits_.max_dimensions) return bad(dimensions, "its shape has too many dimensions");
    std::vector<std::uint64_t> shape;
    for (std::uint64_t i = 0; i < dimensions.size; ++i) {
      CKPT_TRY(const MsgpackToken size, in_.next());
      if (size.kind != Kind::integer || size.integer < 0)
        return bad(size, "its shape holds something other than sizes");
      shape.push_back(static_cast<std::uint64_t>(size.integer));
    }
    constexpr std::uint64_t kLargestItem = 32;
    if (!checked_product(shape, kLargestItem)) return bad(dimensions, "its shape describes more than there can be");
    out.shape = std::move(shape);

    CKPT_TRY(const MsgpackToken name, in_.next());
    constexpr std::uint64_t kLongestName = 64;
    if (!is_text(name) || name.size > kLongestName) return bad(name, "its dtype is no name of one");
    CKPT_CHECK(in_.read(name.size, text_));
    auto dtype = parse_dtype_name(text_);
    if (!dtype || dtype->type == ScalarType::object)
      return fail_at(ErrorCode::unsupported, "", name.offset_bytes, "its dtype is called '{}'", to_valid_utf8(text_));
    out.dtype = std::move(*dtype);

    CKPT_TRY(const MsgpackToken elements, in_.next());
    if (!is_text(elements)) return bad(elements, "its elements are no bytes");
    if (checked_product(out.shape, out.dtype.item_bytes) != elements.size)
      return fail_at(ErrorCode::corrupt, "", elements.offset_bytes, "its {} bytes of data are not what {} ({}) needs",
                     elements.size, out.dtype.name(), fmt::join(out.shape, ", "));
    if (in_.left() > elements.size) return bad(elements, "bytes follow its elements");
    out.strides = c_strides(out.shape);
    out.storage = file_storage(source_, in_.offset(), elements.size);
    return {};
  }

  /// Before its version 2013 msgpack had one type for both.
  static bool is_text(const MsgpackToken& token) { return token.kind == Kind::string || token.kind == Kind::bytes; }

  /// An array may take ten bytes in the file and takes hundreds in memory. Of real ones, few are so small.
  Result<void> count_tensor() {
    constexpr std::uint64_t kFreeArrays = 80'000, kLeastBytes = 64;
    const std::uint64_t most = std::min(limits_.max_names, std::max(kFreeArrays, source_->size_bytes() / kLeastBytes));
    if (++num_tensors_ <= most) return {};
    return fail_at(ErrorCode::limit_exceeded, "", in_.offset(), "the file holds more than {} arrays", most);
  }

  Result<ValueId> add_tensor(Tensor tensor) {
    CKPT_CHECK(count_tensor());
    return tree_.add_tensor(std::move(tensor));
  }

  SourcePtr source_;
  const Limits& limits_;
  Checkpoint& out_;
  Tree& tree_;
  MsgpackReader in_;
  const std::uint64_t max_values_;
  std::vector<Open> open_;
  std::vector<Pending> pending_;  // finished elements of all that is open, a map's keys among them
  std::vector<Tree::Entry> entries_;
  std::vector<ValueId> items_;
  std::string text_;
  std::uint64_t text_bytes_ = 0;
  std::uint64_t num_tensors_ = 0;
};

}  // namespace

bool has_flax_start(std::string_view head) {
  if (head.empty()) return false;
  const auto first = static_cast<std::uint8_t>(head[0]);
  return (first >= 0x80 && first <= 0x8f) || first == 0xde || first == 0xdf;
}

bool is_flax(const SourcePtr& source, const OpenOptions& options) {
  Checkpoint trial;
  const bool whole = read_flax(source, options, trial).has_value() &&
                     std::none_of(trial.problems.begin(), trial.problems.end(),
                                  [](const Problem& p) { return p.code == ProblemCode::trailing_bytes; });
  return whole || !trial.tree.tensors().empty();
}

Result<void> read_flax(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  CKPT_CHECK(FlaxReader(source, options, out).read());
  if (!options.thorough) return {};
  const auto tensors = list_tensors(out, options.limits);
  if (!tensors) return {};  // who lists them is told why
  for (const NamedTensor& t : *tensors) {
    const Tensor& tensor = out.tree.tensor(t.value);
    if (tensor.storage) out.members.push_back({t.name, tensor.storage});
  }
  return {};
}

}  // namespace netcl::ckpt
