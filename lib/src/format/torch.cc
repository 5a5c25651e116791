// torch's two formats: tensors are views of numbered storages, described by a pickle.
//
// zip, since 1.6:  ROOT/data.pkl  ROOT/data/KEY …  ROOT/byteorder  ROOT/version
// legacy stream:   magic | protocol | system info | object | keys: five pickles, then for each key an
//                  int64 element count and the storage's bytes
// https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
//
// torch.export, .pt2 since 2.7:  ROOT/data/weights/MODEL_weights_config.json names the weights, ROOT/data/weights/
// weight_N has the bytes of each one's storage, and ROOT/data/constants likewise
// https://github.com/pytorch/pytorch/blob/main/torch/export/pt2_archive/_package.py
//
// A TorchScript archive is a zip of the same shape with code/ and constants.pkl; it is read for its
// tensors, and its code is left alone.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/checked.h"
#include "base/endian.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/zip_layout.h"
#include "container/zip_member.h"
#include "format/pickle_search.h"
#include "format/pickle_values.h"

namespace netcl::ckpt {
namespace {

constexpr std::string_view kPickle = "data.pkl";
constexpr std::string_view kWeightsConfig = "_weights_config.json";

/// True for the names, below the archive's root, that torch.save, TorchScript and their lite interpreter write.
bool torch_writes(std::string_view name) {
  for (const std::string_view file :
       {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id",
        ".data/version", "archive_format", "archive_version", "constants.pkl", "attributes.pkl", "bytecode.pkl",
        "mobile_debug_handles.pkl", "model.json"}) {
    if (name == file) return true;
  }
  for (const std::string_view folder :
       {"data/", "code/", "extra/", "constants/", "attributes/", "tensors/", "models/"}) {
    if (name.starts_with(folder)) return true;
  }
  return false;
}

/// ('storage', type, key, location, number of elements[, view])
struct StorageId {
  DType dtype;
  std::string key;
  std::uint64_t num_elements = 0;
  PickleId view = kNoPickle;
};

Result<StorageId> parse_storage_id(const PickleGraph& g, PickleId id) {
  auto bad = [](std::string_view what) { return fail(ErrorCode::corrupt, "{}", what); };
  if (g.kind(id) != PickleKind::tuple) return bad("a storage is not described by a tuple");
  const auto parts = g.items(id);
  if (parts.size() < 5 || parts.size() > 6) return bad("a storage is described by the wrong number of parts");
  if (g.kind(parts[0]) != PickleKind::string || g.text(parts[0]) != "storage")
    return bad("a persistent object is no storage");
  if (g.kind(parts[1]) != PickleKind::global) return bad("a storage has no element type");
  const PickleGlobal& type = g.global(parts[1]);
  StorageId out;
  if (type.module == "torch.storage" && type.name == "UntypedStorage") {
    out.dtype = make_dtype(ScalarType::uint8);
  } else {
    if (!type.name.ends_with("Storage")) return bad("a storage has no element type");
    CKPT_TRY(out.dtype, torch_dtype(type));
  }
  if (g.kind(parts[2]) != PickleKind::string) return bad("a storage has no key");
  out.key = g.text(parts[2]);
  if (g.kind(parts[4]) != PickleKind::integer || g.integer(parts[4]) < 0)
    return bad("a storage has an impossible number of elements");
  out.num_elements = static_cast<std::uint64_t>(g.integer(parts[4]));
  if (parts.size() == 6 && g.kind(parts[5]) != PickleKind::none) out.view = parts[5];
  return out;
}

/// ('module', class, file, source): a class, and no storage.
bool is_class(const PickleGraph& g, PickleId id) {
  if (g.kind(id) != PickleKind::tuple) return false;
  const auto parts = g.items(id);
  return !parts.empty() && g.kind(parts[0]) == PickleKind::string && g.text(parts[0]) == "module";
}

/// In the place of a storage that is not in the archive: what the pickle says of its tensors can be listed, and
/// reading one is an error.
class LostStorage final : public Storage {
 public:
  LostStorage(std::uint64_t size_bytes, Error error) : size_bytes_(size_bytes), error_(std::move(error)) {}
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool seekable() const override { return false; }  // so that a load looks before it changes anything
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override { return tl::make_unexpected(error_); }

 private:
  std::uint64_t size_bytes_;
  Error error_;
  StoredForm form_;
};

// A lost storage's size is the pickle's word: real ones are below this, and a million of them fit into 64 bits.
constexpr std::uint64_t kMaxLostBytes = std::uint64_t{1} << 42;

class TorchZipReader {
 public:
  TorchZipReader(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options, Checkpoint& out)
      : source_(source), directory_(directory), options_(options), out_(out), checksum_(checksum_of(*directory)) {}

  Result<void> read() {
    if (checksum_ == Checksum::ignored) {
      out_.problems.push_back(make_problem(ProblemCode::no_checksums, "", std::nullopt,
                                           "it was written without checksums: damage to its data cannot be seen"));
    }
    CKPT_TRY(const ZipMember* const main, find_pickle());
    if (main == nullptr) return read_export();
    const std::string& pickle_name = main->name;
    root_ = pickle_name.substr(0, pickle_name.size() - kPickle.size());
    const bool script = std::any_of(directory_->members.begin(), directory_->members.end(),
                                    [&](const ZipMember& m) { return m.name == root_ + "constants.pkl"; });
    PickleSearch pickles(source_, directory_, script, options_, out_);
    CKPT_CHECK(locate_members(main, pickles));
    const auto found = members_.find(pickle_name);
    if (found == members_.end())
      return fail_at(ErrorCode::corrupt, pickle_name, std::nullopt, "the pickle of the object cannot be read");
    const StoragePtr pickle = found->second;
    auto graph = read_pickle_graph(*pickle, 0, options_.limits);
    if (!graph) {
      CKPT_CHECK(pickles.scan(*main, pickle->stored_form().offset_bytes));
      if (graph.error().member.empty()) graph.error().member = pickle_name;
      return tl::make_unexpected(std::move(graph.error()));
    }
    report_globals(graph->globals, pickle_name, script, out_);
    CKPT_CHECK(read_byte_order());
    if (graph->end_offset != pickle->size_bytes()) {
      out_.problems.push_back(
          make_problem(ProblemCode::trailing_bytes, pickle_name, graph->end_offset, "bytes follow the pickle's end"));
    }
    const StorageResolver resolve = [this](const PickleGraph& g, PickleId id) { return storage(g, id); };
    CKPT_TRY(out_.root, interpret_pickle({*graph, pickle, pickle_name, resolve, script}, options_, out_));
    return {};
  }

 private:
  /// torch.serialization.set_crc32_options(False) leaves 0 in every CRC. One alone is damage.
  static Checksum checksum_of(const ZipDirectory& directory) {
    bool any = false;
    for (const ZipMember& m : directory.members) {
      if (m.size_bytes > 0 && m.crc32 != 0) return Checksum::compared;
      any |= m.size_bytes > 0;
    }
    return any ? Checksum::ignored : Checksum::compared;
  }

  Result<void> read_byte_order() {
    const auto order = members_.find(root_ + "byteorder");
    if (order == members_.end()) return {};
    CKPT_TRY(const std::string text, read_text(order->second));
    big_endian_ = text == "big";
    if (text != "big" && text != "little")
      return fail_at(ErrorCode::corrupt, root_ + "byteorder", 0, "the byte order is neither little nor big");
    return {};
  }

  Result<void> read_export() {
    constexpr std::string_view kWeights = "data/weights/";
    for (const ZipMember& m : directory_->members) {
      const auto at = m.name.find(kWeights);
      if (at == m.name.npos || !m.name.ends_with(kWeightsConfig)) continue;
      root_ = m.name.substr(0, at);
      break;
    }
    PickleSearch pickles(source_, directory_, false, options_, out_);
    CKPT_CHECK(locate_members(nullptr, pickles));
    CKPT_CHECK(read_byte_order());
    std::vector<Tree::Entry> models;
    for (const ZipMember& m : directory_->members) {
      if (!m.name.starts_with(root_ + std::string(kWeights)) || !m.name.ends_with(kWeightsConfig)) continue;
      const std::size_t begin = root_.size() + kWeights.size();
      const std::string model = m.name.substr(begin, m.name.size() - begin - kWeightsConfig.size());
      std::vector<Tree::Entry> tensors;
      CKPT_CHECK(read_config(m.name, root_ + std::string(kWeights), tensors));
      const std::string constants = root_ + "data/constants/" + model + "_constants_config.json";
      if (members_.contains(constants)) CKPT_CHECK(read_config(constants, root_ + "data/constants/", tensors));
      const ValueId name = out_.tree.add_string(model);
      models.push_back({name, out_.tree.add_dict(tensors)});
    }
    if (models.empty())
      return fail(ErrorCode::unsupported,
                  "a zip archive without arrays, whose JSON names weights that are not torch's");
    out_.root = models.size() == 1 ? models[0].value : out_.tree.add_dict(models);
    return {};
  }

  /// {"config": {NAME: {"path_name": FILE, "use_pickle": false, "tensor_meta": {…}}}}
  Result<void> read_config(const std::string& member, const std::string& folder, std::vector<Tree::Entry>& tensors) {
    const auto found = members_.find(member);
    if (found == members_.end()) return {};  // why, locate_members() has said
    auto in_member = [&](Error& e) {
      if (e.member.empty()) e.member = member;
      return tl::make_unexpected(std::move(e));
    };
    if (found->second->size_bytes() > options_.limits.max_json_bytes)
      return fail_at(ErrorCode::limit_exceeded, member, std::nullopt, "a list of weights of {} bytes",
                     found->second->size_bytes());
    std::string text(found->second->size_bytes(), '\0');
    auto reader = found->second->open();
    if (!reader) return in_member(reader.error());
    if (auto done = (*reader)->read(0, std::as_writable_bytes(std::span(text))); !done) return in_member(done.error());
    Tree json;
    auto root = parse_json(text, options_.limits, json);
    if (!root) return in_member(root.error());
    auto in = [&](ValueId dict, std::string_view key) -> std::optional<ValueId> {
      const auto* entry = json.kind(dict) == ValueKind::dict ? json.find(dict, key) : nullptr;
      return entry == nullptr ? std::nullopt : std::optional(entry->value);
    };
    const auto config = in(*root, "config");
    if (!config || json.kind(*config) != ValueKind::dict)
      return fail_at(ErrorCode::corrupt, member, std::nullopt, "it does not list weights as torch.export does");
    for (const Tree::Entry& e : json.entries(*config)) {
      const auto path = in(e.value, "path_name"), meta = in(e.value, "tensor_meta");
      const auto pickled = in(e.value, "use_pickle");
      const std::string name(json.text(e.key));
      if (path && json.kind(*path) == ValueKind::string && json.text(*path).starts_with("custom_obj")) continue;
      Tensor tensor;
      auto made = [&]() -> Result<void> {
        if (!path || json.kind(*path) != ValueKind::string || !meta)
          return fail(ErrorCode::corrupt, "it is not described as torch.export does");
        if (pickled && json.kind(*pickled) == ValueKind::boolean && json.boolean(*pickled))
          return fail(ErrorCode::unsupported, "its class is not torch.Tensor: torch.export pickled it");
        return place_weight(json, *meta, folder + std::string(json.text(*path)), in, tensor);
      }();
      if (!made) {
        tensor.storage = nullptr;
        tensor.offset_bytes = 0;
        if (tensor.strides.size() != tensor.shape.size()) tensor.strides = c_strides(tensor.shape);
        tensor.why_unreadable = made.error().message;
        const bool damaged = made.error().code != ErrorCode::unsupported;
        out_.problems.push_back(make_problem(ProblemCode::unreadable_tensor, name, std::nullopt,
                                             "a tensor that cannot be read: " + made.error().message,
                                             damaged ? Severity::error : Severity::warning));
      }
      const ValueId key = out_.tree.add_string(name);
      tensors.push_back({key, out_.tree.add_tensor(std::move(tensor))});
    }
    return {};
  }

  template <class In>
  Result<void> place_weight(const Tree& json, ValueId meta, const std::string& member, const In& in, Tensor& tensor) {
    // torch/_export/serde/schema.py, ScalarType
    static constexpr std::array<std::pair<int, ScalarType>, 19> kTypes = {{{1, ScalarType::uint8},
                                                                           {2, ScalarType::int8},
                                                                           {3, ScalarType::int16},
                                                                           {4, ScalarType::int32},
                                                                           {5, ScalarType::int64},
                                                                           {6, ScalarType::float16},
                                                                           {7, ScalarType::float32},
                                                                           {8, ScalarType::float64},
                                                                           {9, ScalarType::complex32},
                                                                           {10, ScalarType::complex64},
                                                                           {11, ScalarType::complex128},
                                                                           {12, ScalarType::boolean},
                                                                           {13, ScalarType::bfloat16},
                                                                           {28, ScalarType::uint16},
                                                                           {29, ScalarType::float8_e4m3fn},
                                                                           {30, ScalarType::float8_e5m2},
                                                                           {31, ScalarType::float8_e4m3fnuz},
                                                                           {32, ScalarType::float8_e5m2fnuz},
                                                                           {33, ScalarType::float8_e8m0fnu}}};
    auto bad = [] { return fail(ErrorCode::corrupt, "it is not described as torch.export does"); };
    auto size_of = [&](ValueId value) -> std::optional<std::uint64_t> {
      if (json.kind(value) == ValueKind::dict) {
        const auto inner = in(value, "as_int");
        if (!inner) return std::nullopt;
        value = *inner;
      }
      if (json.kind(value) != ValueKind::integer || json.integer(value) < 0) return std::nullopt;
      return static_cast<std::uint64_t>(json.integer(value));
    };
    auto sizes_of = [&](std::string_view key) -> std::optional<std::vector<std::uint64_t>> {
      const auto list = in(meta, key);
      if (!list || json.kind(*list) != ValueKind::list) return std::nullopt;
      std::vector<std::uint64_t> out;
      for (const ValueId v : json.items(*list)) {
        const auto size = size_of(v);
        if (!size || out.size() >= options_.limits.max_dimensions) return std::nullopt;
        out.push_back(*size);
      }
      return out;
    };
    const auto dtype = in(meta, "dtype");
    if (!dtype || json.kind(*dtype) != ValueKind::integer) return bad();
    const auto type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.first == json.integer(*dtype); });
    if (type == kTypes.end())
      return fail(ErrorCode::unsupported, "torch.export's element type {} is not known here", json.integer(*dtype));
    tensor.dtype = make_dtype(type->second);
    tensor.dtype.big_endian = big_endian_ && tensor.dtype.item_bytes > 1;
    const auto shape = sizes_of("sizes"), strides = sizes_of("strides");
    const auto offset_value = in(meta, "storage_offset");
    const auto offset = offset_value ? size_of(*offset_value) : std::optional(std::uint64_t{0});
    if (!shape || !strides || !offset || shape->size() != strides->size()) return bad();
    const auto size = checked_product(*shape, tensor.dtype.item_bytes);
    if (!size) return fail(ErrorCode::corrupt, "its size describes more elements than there can be");
    tensor.shape = *shape;
    tensor.strides = *strides;
    const auto found = members_.find(member);
    if (found == members_.end()) return fail(ErrorCode::corrupt, "{} is not in the archive", member);
    const StoragePtr& storage = found->second;
    if (*size > 0) {
      std::optional<std::uint64_t> last = offset;
      for (std::size_t d = 0; d < shape->size() && last; ++d) {
        const auto step = checked_mul((*shape)[d] - 1, (*strides)[d]);
        last = step ? checked_add(*last, *step) : std::nullopt;
      }
      if (!last || *last >= storage->size_bytes() / tensor.dtype.item_bytes)
        return fail(ErrorCode::corrupt, "it reaches beyond the {} bytes of {}", storage->size_bytes(), member);
      const auto most = checked_mul(storage->size_bytes(), options_.limits.max_expansion);
      if (most && *size > *most)
        return fail(ErrorCode::limit_exceeded, "it repeats its storage more than {} times",
                    options_.limits.max_expansion);
      tensor.offset_bytes = *offset * tensor.dtype.item_bytes;
    }
    tensor.storage = storage;
    return {};
  }

  /// The pickle nearest the top; a second one is a second checkpoint that other readers may prefer.
  Result<const ZipMember*> find_pickle() {
    std::vector<const ZipMember*> found;
    for (const ZipMember& m : directory_->members) {
      if (m.name == kPickle || m.name.ends_with("/data.pkl")) found.push_back(&m);
    }
    std::stable_sort(found.begin(), found.end(), [](const ZipMember* a, const ZipMember* b) {
      return std::count(a->name.begin(), a->name.end(), '/') < std::count(b->name.begin(), b->name.end(), '/');
    });
    if (found.size() > 1) {
      out_.problems.push_back(make_problem(ProblemCode::torch_roots, found[1]->name, std::nullopt,
                                           "a second data.pkl: programs may differ on which counts"));
    }
    return found.empty() ? nullptr : found[0];
  }

  Result<void> locate_members(const ZipMember* main, PickleSearch& pickles) {
    std::vector<std::uint64_t> data_offsets(directory_->members.size(), 0);
    for (std::size_t i = 0; i < directory_->members.size(); ++i) {
      const ZipMember& m = directory_->members[i];
      if (!is_folder(m) &&
          (!m.name.starts_with(root_) || !torch_writes(std::string_view(m.name).substr(root_.size())))) {
        out_.problems.push_back(make_problem(ProblemCode::foreign_member, m.name, m.header_offset,
                                             "torch writes no member of this name, and reads none"));
      }
      auto done = locate(m, &m == main, data_offsets[i], pickles);
      if (done) continue;
      const Error& e = done.error();
      if (could_not_look(e.code)) return done;
      // One bad member does not hide the others.
      out_.problems.push_back(to_problem(e, m.name));
    }
    if (options_.thorough) check_zip_layout(source_, *directory_, data_offsets, out_.problems);
    return {};
  }

  Result<void> locate(const ZipMember& m, bool is_main, std::uint64_t& data_offset, PickleSearch& pickles) {
    CKPT_TRY(const ZipMemberData data, locate_zip_member(source_, *directory_, m, kStartBytes, out_.problems));
    data_offset = data.offset_bytes;
    if (is_folder(m)) return {};
    CKPT_TRY(StoragePtr storage, zip_member_storage(source_, directory_, m, data.offset_bytes, 0, checksum_));
    if (options_.thorough) out_.members.push_back({m.name, storage});
    members_.emplace(m.name, std::move(storage));
    if (is_main) return {};  // read as what it is
    CKPT_TRY(const StoragePtr unchecked,
             zip_member_storage(source_, directory_, m, data.offset_bytes, 0, Checksum::ignored));
    CKPT_TRY(const auto start, read_member_start(m, data, unchecked, kStartBytes));
    return pickles.search(m, data.offset_bytes, start);
  }

  Result<std::string> read_text(const StoragePtr& storage) {
    std::string text(std::min<std::uint64_t>(storage->size_bytes(), 64), '\0');
    CKPT_TRY(auto reader, storage->open());
    CKPT_CHECK(reader->read(0, std::as_writable_bytes(std::span(text))));
    return text;
  }

  Result<TorchStorage> storage(const PickleGraph& g, PickleId id) {
    CKPT_TRY(const StorageId described, parse_storage_id(g, id));
    const std::string name = root_ + "data/" + described.key;
    const auto bytes = checked_mul(described.num_elements, described.dtype.item_bytes);
    if (described.key.empty() || !bytes)
      return fail_at(ErrorCode::corrupt, name, std::nullopt, "a tensor's storage is impossible");
    const auto member = members_.find(name);
    StoragePtr storage = member == members_.end() ? nullptr : member->second;
    if (storage == nullptr || *bytes > storage->size_bytes()) {
      if (*bytes > kMaxLostBytes)
        return fail_at(ErrorCode::corrupt, name, std::nullopt, "a tensor's storage is not in the archive");
      storage = lost_storage(name, storage, *bytes);
    }
    TorchStorage out{storage, described.dtype, described.num_elements};
    out.dtype.big_endian = big_endian_ && out.dtype.item_bytes > 1;
    return out;
  }

  /// One for all tensors of the storage, as large as the largest needs. `found`: what the archive has in its place.
  StoragePtr lost_storage(const std::string& name, const StoragePtr& found, std::uint64_t size_bytes) {
    StoragePtr& lost = lost_[name];
    if (lost != nullptr && size_bytes <= lost->size_bytes()) return lost;
    Error error = fail_at(ErrorCode::corrupt, name, std::nullopt, "a tensor's storage is not in the archive").value();
    if (found != nullptr)
      error.message = fmt::format("the storage should have {} bytes and has {}", size_bytes, found->size_bytes());
    if (lost == nullptr)
      out_.problems.push_back(make_problem(ProblemCode::missing_storage, name, std::nullopt, error.message));
    lost = std::make_shared<LostStorage>(size_bytes, std::move(error));
    return lost;
  }

  static constexpr std::size_t kStartBytes = 16;  // they come with the local header

  const SourcePtr& source_;
  const ZipDirectoryPtr& directory_;
  const OpenOptions& options_;
  Checkpoint& out_;
  Checksum checksum_;
  std::string root_;
  bool big_endian_ = false;
  std::unordered_map<std::string, StoragePtr> members_;
  std::unordered_map<std::string, StoragePtr> lost_;  // in the place of members that are missing or too short
};

class TorchLegacyReader {
 public:
  /// The bytes of `source` from `begin` to `end`.
  TorchLegacyReader(const SourcePtr& source, std::uint64_t begin, std::uint64_t end, const OpenOptions& options,
                    Checkpoint& out)
      : source_(source), options_(options), out_(out), whole_(file_storage(source, 0, end)), at_(begin), end_(end) {}

  Result<ValueId> read() {
    CKPT_TRY(const PickleGraph magic, next_pickle());
    CKPT_TRY(const PickleGraph protocol, next_pickle());
    CKPT_TRY([[maybe_unused]] const PickleGraph system, next_pickle());
    CKPT_TRY(const PickleGraph object, next_pickle());
    CKPT_TRY(const PickleGraph keys, next_pickle());
    if (protocol.kind(protocol.root) != PickleKind::integer || protocol.integer(protocol.root) != 1001) {
      return fail(ErrorCode::unsupported, "a version of torch's legacy format that is not known");
    }
    CKPT_CHECK(place_storages(object, keys));
    // Storages are little-endian whatever the system info says: torch swaps while it writes.
    const StorageResolver resolve = [&](const PickleGraph& g, PickleId id) { return storage(g, id); };
    CKPT_TRY(const ValueId root, interpret_pickle({object, whole_, "", resolve}, options_, out_));
    if (at_ < end_) {
      out_.problems.push_back(make_problem(ProblemCode::trailing_bytes, "", at_,
                                           fmt::format("{} bytes follow the last storage", end_ - at_)));
    }
    return root;
  }

 private:
  Result<PickleGraph> next_pickle() {
    std::vector<PickleGlobal> named;
    auto graph = read_pickle_graph(*whole_, at_, options_.limits, &named);
    report_globals(graph ? graph->globals : named, "", false, out_);
    if (graph) at_ = graph->end_offset;
    return graph;
  }

  /// Finds where each key's bytes are; how many an element has only the object's pickle says.
  Result<void> place_storages(const PickleGraph& object, const PickleGraph& keys) {
    std::unordered_map<std::string, StorageId> described;
    for (PickleId id = 0; id < object.size(); ++id) {
      if (object.kind(id) != PickleKind::persistent || is_class(object, object.persistent_id(id))) continue;
      // One that is not known here is an error of the tensors on it alone.
      auto s = parse_storage_id(object, object.persistent_id(id));
      if (s) described.emplace(s->key, std::move(*s));
    }
    if (keys.kind(keys.root) != PickleKind::list)
      return fail_at(ErrorCode::corrupt, "", at_, "the list of storages is none");
    for (const PickleId k : keys.items(keys.root)) {
      if (keys.kind(k) != PickleKind::string) return fail_at(ErrorCode::corrupt, "", at_, "a storage has no key");
      const std::string key(keys.text(k));
      const auto it = described.find(key);
      if (it == described.end())
        return fail_at(ErrorCode::corrupt, "", at_, "storage '{}' belongs to no tensor", to_valid_utf8(key));
      std::array<std::byte, 8> count_bytes;
      CKPT_CHECK(source_->read_at(at_, count_bytes));
      const auto count = load_le<std::uint64_t>(count_bytes.data());
      if (count != it->second.num_elements) {
        return fail_at(ErrorCode::corrupt, "", at_, "storage '{}' has {} elements, its tensors say {}",
                       to_valid_utf8(key), count, it->second.num_elements);
      }
      const auto bytes = checked_mul(count, it->second.dtype.item_bytes);
      at_ += 8;
      if (!bytes || *bytes > end_ - at_)
        return fail_at(ErrorCode::truncated, "", at_, "the file ends inside storage '{}'", to_valid_utf8(key));
      storages_.emplace(key, TorchStorage{file_storage(source_, at_, *bytes), it->second.dtype, count});
      at_ += *bytes;
    }
    return {};
  }

  Result<TorchStorage> storage(const PickleGraph& g, PickleId id) {
    CKPT_TRY(const StorageId described, parse_storage_id(g, id));
    const auto it = storages_.find(described.key);
    if (it == storages_.end())
      return fail(ErrorCode::corrupt, "storage '{}' is not in the file", to_valid_utf8(described.key));
    if (described.view != kNoPickle)
      return fail(ErrorCode::unsupported,
                  "a storage that is a view of another; load and save the file once with torch");
    if (described.dtype.type != it->second.dtype.type)
      return fail(ErrorCode::corrupt, "storage '{}' has two element types", to_valid_utf8(described.key));
    return it->second;
  }

  const SourcePtr& source_;
  const OpenOptions& options_;
  Checkpoint& out_;
  StoragePtr whole_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::unordered_map<std::string, TorchStorage> storages_;
};

}  // namespace

Result<void> read_torch_zip(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options,
                            Checkpoint& out) {
  out.format = Format::torch;
  return TorchZipReader(source, directory, options, out).read();
}

Result<void> read_torch_legacy(const SourcePtr& source, const OpenOptions& options, Checkpoint& out) {
  CKPT_TRY(out.root, TorchLegacyReader(source, 0, source->size_bytes(), options, out).read());
  return {};
}

Result<ValueId> read_nested_torch(const StoragePtr& storage, std::uint64_t offset_bytes, std::uint64_t size_bytes,
                                  const OpenOptions& options, Checkpoint& out) {
  const StoredForm& form = storage->stored_form();
  if (form.source && form.compression == Compression::none) {
    const std::uint64_t begin = form.offset_bytes + form.header_bytes + offset_bytes;
    return TorchLegacyReader(form.source, begin, begin + size_bytes, options, out).read();
  }
  constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;  // a tensor in a compressed member, in memory
  if (size_bytes > kMostBytes)
    return fail(ErrorCode::unsupported, "a pickled torch file of {} bytes in a compressed member", size_bytes);
  std::vector<std::byte> bytes(size_bytes);
  CKPT_TRY(auto reader, storage->open());
  CKPT_CHECK(reader->read(offset_bytes, bytes));
  return TorchLegacyReader(memory_source(std::move(bytes), "a pickled torch file"), 0, size_bytes, options, out).read();
}

}  // namespace netcl::ckpt
