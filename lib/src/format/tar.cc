// Tars. torch wrote one before version 0.1.11, of four members:
//
// sys_info  a pickle: facts of the system
// pickle    the object, in which persistent ids are tensors' and storages' keys, or (class, file, source)
// tensors   how many; then for each the pickle (key, storage's key, type), int32 dimensions, four bytes of nothing,
//           and in int64 the sizes, the strides and the offset
// storages  how many; then for each the pickle (key, location, type), int64 elements, and these; then the pickle
//           [(key, key of the storage that it is a part of, offset, elements), …]
//
// https://github.com/pytorch/pytorch/blob/v0.1.10/torch/serialization.py; its loader is in every version since
// (legacy_load). Keys are the numbers of addresses, the same for all that is shared.
#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "base/checked.h"
#include "base/endian.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/tar_directory.h"
#include "format/other_files.h"
#include "format/pickle_search.h"
#include "format/pickle_tensors.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

/// The member of a name that tarfile takes: the last one. Null where there is none, or it is no file.
const TarMember* find(const TarDirectory& directory, std::string_view name) {
  const auto found = std::find_if(directory.members.rbegin(), directory.members.rend(),
                                  [&](const TarMember& m) { return m.name == name; });
  return found == directory.members.rend() || found->kind != TarMember::Kind::file ? nullptr : &*found;
}

bool is_torchs(const TarDirectory& directory) {
  return find(directory, "pickle") != nullptr && find(directory, "tensors") != nullptr &&
         find(directory, "storages") != nullptr;
}

/// Finds a pickle in a member that nobody reads.
Result<void> search(const SourcePtr& source, const TarMember& member, PickleSearch& pickles) {
  if (member.kind == TarMember::Kind::folder) return {};
  std::array<std::byte, 16> start;
  const auto head = std::span(start).first(std::min<std::uint64_t>(start.size(), member.size_bytes));
  CKPT_CHECK(source->read_at(member.data_offset, head));
  const StoragePtr bytes = file_storage(source, member.data_offset, member.size_bytes);
  return pickles.search(to_valid_utf8(member.name), *bytes, head);
}

class TorchTarReader {
 public:
  TorchTarReader(const SourcePtr& source, const TarDirectory& directory, const OpenOptions& options, Checkpoint& out)
      : source_(source), options_(options), out_(out), members_(directory.members) {
    for (const char* name : {"pickle", "tensors", "storages"}) parts_.emplace(name, find(directory, name));
  }

  Result<void> read() {
    CKPT_CHECK(scan_others());
    Part pickle(*this, "pickle");
    auto object = pickle.next();
    if (!object) {
      // What the other members would call is told of as well.
      for (const char* name : {"storages", "tensors"}) {
        Part part(*this, name);
        const auto graph = part.next();
        if (!graph && could_not_look(graph.error().code)) return tl::make_unexpected(graph.error());
      }
      return tl::make_unexpected(std::move(object.error()));
    }
    pickle.check_end();
    // What is wrong with one of these hides none of what it has shown by then.
    Part storages(*this, "storages"), tensors(*this, "tensors");
    CKPT_CHECK(found_out(storages, read_storages(storages)));
    CKPT_CHECK(found_out(tensors, read_tensors(tensors)));
    tensors_ = &tensors;
    const TensorResolver resolve = [&](const PickleGraph& g, PickleId id, Tensor& out) { return tensor(g, id, out); };
    CKPT_TRY(out_.root, interpret_pickle({*object, pickle.bytes, "pickle", nullptr, false, nullptr, nullptr, resolve},
                                         options_, out_));
    return {};
  }

 private:
  /// A member that is read from its beginning on: pickles, and numbers between them.
  struct Part {
    Part(TorchTarReader& reader, const char* member_name) : owner(reader), name(member_name) {
      const TarMember& m = *reader.parts_.at(name);
      begin = m.data_offset;
      bytes = file_storage(reader.source_, m.data_offset, m.size_bytes);
    }
    std::uint64_t left() const { return bytes->size_bytes() - at; }

    Result<PickleGraph> next() {
      std::vector<PickleGlobal> named;
      auto graph = read_pickle_graph(*bytes, at, owner.options_.limits, &named);
      owner.report(graph ? graph->globals : named, name);
      if (graph) {
        at = graph->end_offset;
      } else if (graph.error().member.empty()) {
        graph.error().member = name;
      }
      return graph;
    }
    Result<std::uint64_t> next_count() {
      CKPT_TRY(const PickleGraph graph, next());
      const auto count = as_key(graph, graph.root);
      if (!count || *count < 0) return bad("it does not say how many there are");
      return static_cast<std::uint64_t>(*count);
    }
    tl::unexpected<Error> bad(std::string_view what) const { return fail_at(ErrorCode::corrupt, name, at, "{}", what); }
    void check_end() const {
      if (left() == 0) return;
      owner.out_.problems.push_back(make_problem(ProblemCode::trailing_bytes, name, at,
                                                 fmt::format("{} bytes follow what torch reads of it", left())));
    }

    TorchTarReader& owner;
    std::string name;
    StoragePtr bytes;
    std::uint64_t begin = 0;  // in the file
    std::uint64_t at = 0;
  };

  /// A storage, or a part of one.
  struct Placed {
    std::uint64_t begin_bytes = 0;  // of the whole storage, in the file
    std::uint64_t whole = 0;        // elements of it
    std::uint64_t first = 0, num_elements = 0;
    ScalarType type = ScalarType::float32;
  };
  struct Described {
    std::optional<std::int64_t> storage;
    std::uint64_t at = 0;  // of its dimensions, in `tensors`
    std::uint32_t num_dimensions = 0;
  };

  static std::optional<std::int64_t> as_key(const PickleGraph& g, PickleId id) {
    return g.kind(id) == PickleKind::integer ? std::optional(g.integer(id)) : std::nullopt;
  }

  void report(const std::vector<PickleGlobal>& globals, const std::string& where) {
    constexpr std::size_t kMostReported = 10'000;  // a member has a pickle for each tensor
    if (out_.problems.size() < kMostReported) report_globals(globals, where, false, out_);
  }

  /// The members that are not read as what they are here.
  Result<void> scan_others() {
    PickleSearch pickles(source_, nullptr, false, options_, out_);
    for (const TarMember& m : members_) {
      const std::string name = to_valid_utf8(m.name);
      const auto part = parts_.find(m.name);
      if (part == parts_.end() && m.name != "sys_info") {
        out_.problems.push_back(make_problem(ProblemCode::foreign_member, name, m.header_offset,
                                             "torch writes no member of this name, and reads none"));
      }
      const bool counts = part != parts_.end() && part->second == &m;
      if (part != parts_.end() && !counts && options_.thorough) {
        out_.problems.push_back(make_problem(ProblemCode::duplicate_name, name, m.header_offset,
                                             "two members have this name: readers differ on which counts"));
      }
      if (m.kind == TarMember::Kind::file && options_.thorough)
        out_.members.push_back({name, file_storage(source_, m.data_offset, m.size_bytes)});
      if (!counts) CKPT_CHECK(search(source_, m, pickles));
    }
    return {};
  }

  /// A problem out of an error of one member.
  Result<void> found_out(const Part& part, Result<void> done) {
    if (done) {
      part.check_end();
      return {};
    }
    Error& e = done.error();
    if (could_not_look(e.code) || e.code == ErrorCode::limit_exceeded) return done;
    out_.problems.push_back(to_problem(e, part.name));
    return {};
  }

  Result<void> check_room(const Part& part, std::uint64_t count) const {
    if (count <= options_.limits.max_names) return {};
    return fail_at(ErrorCode::limit_exceeded, part.name, 0, "it has more than {} parts", options_.limits.max_names);
  }

  /// What a pickle says of one storage or tensor: a tuple of three, of which the first is its key.
  struct Record {
    PickleGraph graph;
    std::vector<PickleId> parts;
    std::int64_t key = 0;
  };
  Result<Record> next_record(Part& part, std::string_view what) const {
    Record out;
    CKPT_TRY(out.graph, part.next());
    const PickleGraph& g = out.graph;
    if (g.kind(g.root) == PickleKind::tuple) out.parts = g.items(g.root);
    const auto key = out.parts.size() == 3 ? as_key(g, out.parts[0]) : std::nullopt;
    if (!key) return part.bad(fmt::format("a {} is not described as torch does", what));
    out.key = *key;
    return out;
  }

  Result<void> read_storages(Part& part) {
    CKPT_TRY(const std::uint64_t count, part.next_count());
    CKPT_CHECK(check_room(part, count));
    for (std::uint64_t i = 0; i < count; ++i) {
      CKPT_TRY(const Record record, next_record(part, "storage"));
      const PickleGraph& g = record.graph;
      const PickleId type = record.parts[2];
      if (g.kind(type) != PickleKind::global) return part.bad("a storage is not described as torch does");
      auto dtype = torch_dtype(g.global(type));
      if (!dtype) return part.bad(dtype.error().message);
      std::array<std::byte, 8> number;
      if (part.left() < number.size()) return part.bad("it ends before a storage's elements");
      CKPT_CHECK(source_->read_at(part.begin + part.at, number));
      const auto elements = load_le<std::uint64_t>(number.data());
      part.at += number.size();
      const auto bytes = checked_mul(elements, dtype->item_bytes);
      if (!bytes || *bytes > part.left()) return part.bad("it ends inside a storage");
      storages_.insert_or_assign(record.key, Placed{part.begin + part.at, elements, 0, elements, dtype->type});
      part.at += *bytes;
    }
    CKPT_TRY(const PickleGraph views, part.next());
    if (views.kind(views.root) != PickleKind::list) return part.bad("the list of storages' parts is none");
    const auto listed = views.items(views.root);
    CKPT_CHECK(check_room(part, listed.size()));
    for (const PickleId v : listed) {
      const auto parts = views.kind(v) == PickleKind::tuple ? views.items(v) : std::vector<PickleId>();
      std::array<std::int64_t, 4> numbers{};
      bool all = parts.size() == numbers.size();
      for (std::size_t i = 0; i < numbers.size() && all; ++i) {
        const auto number = as_key(views, parts[i]);
        numbers[i] = number.value_or(0);
        all = number && (i < 2 || *number >= 0);
      }
      const auto root = all ? storages_.find(numbers[1]) : storages_.end();
      if (root == storages_.end()) return part.bad("a storage is part of one that is not there");
      Placed view = root->second;
      const auto first = static_cast<std::uint64_t>(numbers[2]), elements = static_cast<std::uint64_t>(numbers[3]);
      if (first > view.num_elements || elements > view.num_elements - first)
        return part.bad("a storage reaches beyond the one that it is part of");
      view.first += first;
      view.num_elements = elements;
      storages_.insert_or_assign(numbers[0], view);
    }
    return {};
  }

  Result<void> read_tensors(Part& part) {
    CKPT_TRY(const std::uint64_t count, part.next_count());
    CKPT_CHECK(check_room(part, count));
    for (std::uint64_t i = 0; i < count; ++i) {
      CKPT_TRY(const Record record, next_record(part, "tensor"));
      std::array<std::byte, 8> number;
      if (part.left() < number.size()) return part.bad("it ends before a tensor's dimensions");
      CKPT_CHECK(source_->read_at(part.begin + part.at, number));
      const auto dimensions = load_le<std::uint32_t>(number.data());
      part.at += number.size();
      if (dimensions > options_.limits.max_dimensions)
        return part.bad("a tensor has an impossible number of dimensions");
      const std::uint64_t bytes = 8 * (2 * std::uint64_t{dimensions} + 1);
      if (bytes > part.left()) return part.bad("it ends inside a tensor's dimensions");
      described_.insert_or_assign(record.key, Described{as_key(record.graph, record.parts[1]), part.at, dimensions});
      part.at += bytes;
    }
    return {};
  }

  /// What a persistent id names: a tensor, or a storage by itself.
  Result<void> tensor(const PickleGraph& g, PickleId id, Tensor& out) {
    auto key = as_key(g, id);
    if (g.kind(id) == PickleKind::string) {
      const std::string_view text = g.text(id);
      std::int64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error == std::errc() && end == text.data() + text.size()) key = number;
    }
    if (!key) return bad_pickle("a tensor has no key");
    // torch reads the tensors after the storages: a key of both is the tensor's.
    if (const auto it = described_.find(*key); it != described_.end()) return place(it->second, out);
    const auto it = storages_.find(*key);
    if (it == storages_.end()) return bad_pickle("a tensor or storage that is not in the archive");
    out.dtype = make_dtype(it->second.type);
    out.shape = {it->second.num_elements};
    out.strides = {1};
    return place(it->second, 0, out);
  }

  Result<void> place(const Described& described, Tensor& out) {
    const std::size_t n = described.num_dimensions;
    std::vector<std::byte> bytes(8 * (2 * n + 1));
    CKPT_CHECK(source_->read_at(tensors_->begin + described.at, bytes));
    auto number = [&](std::size_t i) { return load_le<std::uint64_t>(bytes.data() + 8 * i); };
    constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
    std::vector<std::uint64_t> shape, strides;
    for (std::size_t d = 0; d < n; ++d) {
      if (number(d) > kMost || number(n + d) > kMost) return bad_pickle("a torch tensor has an impossible size");
      shape.push_back(number(d));
      strides.push_back(number(n + d));
    }
    if (!checked_product(shape, 16))
      return bad_pickle("a torch tensor's size describes more elements than there can be");
    out.shape = shape;
    if (!described.storage) return fail(ErrorCode::unsupported, "a tensor that had no storage");
    const auto it = storages_.find(*described.storage);
    if (it == storages_.end()) return bad_pickle("a tensor's storage is not in the archive");
    out.dtype = make_dtype(it->second.type);
    // Before version 0.4 a tensor of no dimensions was an empty one; torch reads it as a number if it can.
    if (n == 0 && number(2 * n) >= it->second.num_elements) {
      out.shape = {0};
      strides = {1};
    }
    out.strides = std::move(strides);
    return place(it->second, number(2 * n), out);
  }

  Result<void> place(const Placed& placed, std::uint64_t offset, Tensor& out) {
    StoragePtr& storage = made_[placed.begin_bytes];
    if (storage == nullptr) storage = file_storage(source_, placed.begin_bytes, placed.whole * out.dtype.item_bytes);
    CKPT_CHECK(place_tensor({storage, out.dtype, placed.num_elements}, offset, options_.limits, out));
    if (out.num_elements() > 0) out.offset_bytes += placed.first * out.dtype.item_bytes;
    return {};
  }

  const SourcePtr& source_;
  const OpenOptions& options_;
  Checkpoint& out_;
  const std::vector<TarMember>& members_;
  std::unordered_map<std::string, const TarMember*> parts_;  // those that count
  const Part* tensors_ = nullptr;
  std::unordered_map<std::int64_t, Placed> storages_;
  std::unordered_map<std::int64_t, Described> described_;
  std::unordered_map<std::uint64_t, StoragePtr> made_;  // by where they begin: what shares a storage shares the object
};

}  // namespace

bool is_torch_tar(const SourcePtr& source) {
  Limits few;
  few.max_members = 8;
  Problems ignored;
  const auto directory = read_tar_directory(source, few, ignored);
  return directory && is_torchs(*directory);
}

Result<void> read_tar(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  const std::size_t problems = out.problems.size();
  CKPT_TRY(const TarDirectory directory, read_tar_directory(source, options.limits, out.problems));
  if (directory.damage) {
    const Error& e = *directory.damage;
    out.problems.push_back(to_problem(e));
  }
  if (is_torchs(directory)) return TorchTarReader(source, directory, options, out).read();
  out.problems.resize(problems);
  std::vector<std::string_view> names;
  for (const TarMember& m : directory.members) {
    if (m.kind == TarMember::Kind::file) names.push_back(m.name);
  }
  const bool torchs = std::find(names.begin(), names.end(), "sys_info") != names.end();
  if (torchs && directory.damage) {
    PickleSearch pickles(source, nullptr, false, options, out);
    for (const TarMember& m : directory.members) CKPT_CHECK(search(source, m, pickles));
    return tl::make_unexpected(*directory.damage);
  }
  return fail(ErrorCode::unsupported, "{}", describe_tar(names));
}

}  // namespace netcl::ckpt
