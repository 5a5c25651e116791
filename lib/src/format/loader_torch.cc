// What torch.load() takes. https://github.com/pytorch/pytorch/blob/main/torch/serialization.py has its way through a
// file, torch/_weights_only_unpickler.py the machine of weights_only, and caffe2/serialize/inline_container.cc the zip.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

#include "base/checked.h"
#include "base/endian.h"
#include "base/text.h"
#include "base/try.h"
#include "container/pickle_input.h"
#include "container/pickle_reader.h"
#include "container/tar_directory.h"
#include "container/zip_directory.h"
#include "container/zip_member.h"
#include "format/loader_rules.h"
#include "format/pickle_globals.h"
#include "format/readers.h"

namespace netcl::ckpt {
namespace {

using Version = Loader::Version;

constexpr Version kFirstZip{1, 4};
constexpr Version kWeightsOnlyByDefault{2, 6};
constexpr Version kExactStorages{2, 11};  // 1.13 takes a member that is too long; of those between, 2.11 was tried

std::optional<LoadRefusal> refuse(std::string message) { return LoadRefusal{{}, {}, std::move(message)}; }

/// The version that an element type came with; older ones are in every torch that is asked for.
Version first_with(std::string_view dtype) {
  struct New {
    std::string_view dtype;
    Version version;
  };
  constexpr auto kNew = std::to_array<New>({
      {"bfloat16", {1, 2}},
      {"BFloat16Storage", {1, 2}},
      {"float8_e4m3fn", {2, 1}},
      {"float8_e5m2", {2, 1}},
      {"float8_e4m3fnuz", {2, 2}},
      {"float8_e5m2fnuz", {2, 2}},
      {"uint16", {2, 3}},
      {"uint32", {2, 3}},
      {"uint64", {2, 3}},
      {"float8_e8m0fnu", {2, 7}},
      {"float4_e2m1fn_x2", {2, 8}},
  });
  const auto it = std::find_if(kNew.begin(), kNew.end(), [&](const New& n) { return n.dtype == dtype; });
  return it == kNew.end() ? Version{} : it->version;
}

struct Opcode {
  bool stops = false;
  std::optional<LoadRefusal> refusal;
};

/// Takes one opcode of the list that weights_only has, and what follows it; any other is refused, and so are globals.
Result<Opcode> take_opcode(PickleInput& in) {
  const std::uint64_t offset = in.offset();
  CKPT_TRY(const std::uint8_t op, in.byte());
  switch (op) {
    case '.': return Opcode{true, {}};
    case 'c': {
      CKPT_TRY(const std::string module, in.line());
      CKPT_TRY(const std::string name, in.line());
      const auto why = weights_only_refuses({module, name, offset});
      if (!why) return Opcode{};
      return Opcode{false, LoadRefusal{{},
                                       offset,
                                       fmt::format("weights_only refuses {}.{}: {}", to_valid_utf8(module),
                                                   to_valid_utf8(name), *why)}};
    }
    // NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE… NONE NEWFALSE NEWTRUE EMPTY_… BINPERSID
    case 0x81:
    case 'R':
    case 'b':
    case 'a':
    case 'e':
    case 's':
    case 'u':
    case '(':
    case 't':
    case 0x85:
    case 0x86:
    case 0x87:
    case 'N':
    case 0x89:
    case 0x88:
    case ')':
    case ']':
    case '}':
    case 0x8f:
    case 'Q': return Opcode{};
    case 'K':
    case 'h':
    case 'q':
    case 0x80: CKPT_CHECK(in.skip(1)); return Opcode{};  // BININT1 BINGET BINPUT PROTO
    case 'M': CKPT_CHECK(in.skip(2)); return Opcode{};   // BININT2
    case 'J':
    case 'j':
    case 'r': CKPT_CHECK(in.skip(4)); return Opcode{};  // BININT LONG_BINGET LONG_BINPUT
    case 'G': CKPT_CHECK(in.skip(8)); return Opcode{};  // BINFLOAT
    case 'X': {                                         // BINUNICODE
      CKPT_TRY(const std::uint32_t size, in.number<std::uint32_t>());
      CKPT_CHECK(in.skip(size));
      return Opcode{};
    }
    case 'U':
    case 0x8a: {  // SHORT_BINSTRING LONG1
      CKPT_TRY(const std::uint8_t size, in.byte());
      CKPT_CHECK(in.skip(size));
      return Opcode{};
    }
    default:
      return Opcode{
          false,
          LoadRefusal{{},
                      offset,
                      fmt::format("weights_only: Unsupported operand {}{}", op,
                                  op >= 0x8c && op <= 0x98 && op != 0x8f ? ", of a pickle of protocol 4 or 5" : "")}};
  }
}

/// One pickle by the rules of weights_only: opcodes that are not on its list, and globals likewise. What is done with
/// them is left to the graph. `end`: where the pickle ends, if nothing is found.
LoadAnswer scan_weights_only(const Storage& storage, std::uint64_t begin, std::uint64_t& end) {
  CKPT_TRY(const auto reader, storage.open());
  PickleInput in(*reader, begin, storage.size_bytes());
  for (;;) {
    auto opcode = take_opcode(in);
    if (!opcode) {
      const Error& e = opcode.error();
      if (could_not_look(e.code)) return tl::make_unexpected(e);
      const bool cut = e.code == ErrorCode::truncated;
      return LoadRefusal{{}, in.offset(), cut ? "weights_only: EOFError, the pickle is cut short" : e.message};
    }
    if (opcode->refusal) return std::move(opcode->refusal);
    if (opcode->stops) break;
  }
  end = in.offset();
  return std::nullopt;
}

/// A storage of the zip as a tensor's pickle names it: its type, its key, how many elements.
struct StorageRef {
  std::string key;
  std::uint64_t size_bytes = 0;
};

/// What torch makes of ('storage', type, key, location, number of elements), or why it fails.
std::optional<std::string> read_storage_id(const PickleGraph& g, PickleId id, StorageRef& out) {
  if (g.kind(id) != PickleKind::tuple) return "Only persistent_load of storage is allowed";
  const auto parts = g.items(id);
  if (parts.empty() || g.kind(parts[0]) != PickleKind::string || g.text(parts[0]) != "storage")
    return "Only persistent_load of storage is allowed";
  if (parts.size() < 5) return "not enough values to unpack of a storage";
  if (g.kind(parts[1]) != PickleKind::global) return "a storage's type has no attribute 'dtype'";
  const PickleGlobal& type = g.global(parts[1]);
  std::uint64_t item_bytes = 1;
  if (type.name != "UntypedStorage") {
    const auto element = torch_element_type(type.name);
    if (!element || !type.name.ends_with("Storage")) return "a storage's type has no attribute 'dtype'";
    item_bytes = make_dtype(*element).item_bytes;
  }
  if (g.kind(parts[2]) != PickleKind::string) return "a storage's key is no text";
  if (g.kind(parts[4]) != PickleKind::integer) return "get_storage_from_record(): the number of elements is no integer";
  const std::int64_t elements = g.integer(parts[4]);
  const auto size = elements < 0 ? std::nullopt : checked_mul(static_cast<std::uint64_t>(elements), item_bytes);
  constexpr std::uint64_t kMost = ~std::uint64_t{0} >> 1;
  if (!size || *size > kMost) return "get_storage_from_record(): incompatible function arguments";
  out.key = g.text(parts[2]);
  out.size_bytes = *size;
  return std::nullopt;
}

bool is_whole(ScalarType type) {
  switch (type) {
    case ScalarType::boolean:
    case ScalarType::int8:
    case ScalarType::int16:
    case ScalarType::int32:
    case ScalarType::int64:
    case ScalarType::uint8:
    case ScalarType::uint16:
    case ScalarType::uint32:
    case ScalarType::uint64: return true;
    default: return false;
  }
}

/// Element types of this pickle that the version does not have, and parameters that need gradients of integers.
std::optional<LoadRefusal> check_graph(const PickleGraph& g, Version version) {
  for (const PickleGlobal& global : g.globals) {
    if (global.module != "torch" || version >= first_with(global.name)) continue;
    const Version since = first_with(global.name);
    return LoadRefusal{{},
                       global.offset_bytes,
                       fmt::format("it has no torch.{}, which came with {}.{}", global.name, since.major, since.minor)};
  }
  // What calls share is looked at once: a hostile pickle gives one long tuple to each of its million calls.
  std::vector<bool> seen_calls(g.size()), seen_tensors(g.size()), seen_storages(g.size());
  const auto again = [](std::vector<bool>& seen, PickleId id) {
    const bool before = seen[id];
    seen[id] = true;
    return before;
  };
  for (PickleId id = 0; id < g.size(); ++id) {
    if (g.kind(id) != PickleKind::call) continue;
    const PickleCall& call = g.call(id);
    if (g.kind(call.callable) != PickleKind::global || g.kind(call.args) != PickleKind::tuple) continue;
    const PickleGlobal& f = g.global(call.callable);
    if (f.module != "torch._utils" || (f.name != "_rebuild_tensor_v2" && f.name != "_rebuild_parameter")) continue;
    if (again(seen_calls, call.args)) continue;
    const auto args = g.items(call.args);
    if (f.name == "_rebuild_tensor_v2" && args.size() < 6)
      return LoadRefusal{{}, f.offset_bytes, "_rebuild_tensor_v2() is missing arguments"};
    if (f.name != "_rebuild_parameter" || args.size() < 2 || g.kind(args[1]) != PickleKind::boolean ||
        !g.boolean(args[1]) || g.kind(args[0]) != PickleKind::call)
      continue;
    const PickleCall& tensor = g.call(args[0]);
    if (g.kind(tensor.args) != PickleKind::tuple || again(seen_tensors, tensor.args)) continue;
    const auto tensor_args = g.items(tensor.args);
    if (tensor_args.empty() || g.kind(tensor_args[0]) != PickleKind::persistent) continue;
    const PickleId pid = g.persistent_id(tensor_args[0]);
    if (g.kind(pid) != PickleKind::tuple || again(seen_storages, pid)) continue;
    const auto parts = g.items(pid);
    if (parts.size() < 2 || g.kind(parts[1]) != PickleKind::global) continue;
    const auto element = torch_element_type(g.global(parts[1]).name);
    if (element && is_whole(*element))
      return LoadRefusal{{}, f.offset_bytes, "Only Tensors of floating point and complex dtype can require gradients"};
  }
  return std::nullopt;
}

class TorchZip {
 public:
  TorchZip(const SourcePtr& source, Version version, bool mapped, const Limits& limits)
      : source_(source), version_(version), mapped_(mapped), limits_(limits) {}

  LoadAnswer judge() {
    if (version_ < kFirstZip) return refuse("it knows no zip archives, which came with 1.4");
    Problems problems;
    auto directory = read_zip_directory(source_, limits_, problems);
    if (!directory) {
      if (could_not_look(directory.error().code)) return tl::make_unexpected(std::move(directory.error()));
      return refuse("PytorchStreamReader failed reading zip archive: " + directory.error().message);
    }
    directory_ = *directory;
    if (directory_->members.empty()) return refuse("PytorchStreamReader failed reading zip archive: it has no members");
    const std::string& first = directory_->members[0].name;
    const auto slash = first.find('/');
    if (slash == first.npos) return refuse_member(first, "file in archive is not in a subdirectory: " + first);
    root_ = first.substr(0, slash + 1);
    for (const ZipMember& m : directory_->members) members_.emplace(m.name, &m);
    if (!members_.contains(root_ + "version") && !members_.contains(root_ + ".data/version"))
      return refuse("PytorchStreamReader: Expected hasRecord(\"version\") to be true, but got false");
    for (const ZipMember& m : directory_->members) {
      if (!m.name.starts_with(root_))
        return refuse_member(m.name, fmt::format("file in archive is not in a subdirectory {}: {}", root_, m.name));
    }
    const bool weights_only = version_ >= kWeightsOnlyByDefault;
    if (members_.contains(root_ + "constants.pkl"))
      return weights_only
                 ? refuse("Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``")
                 : std::nullopt;
    const std::string name = root_ + "data.pkl";
    const auto main = members_.find(name);
    if (main == members_.end()) return refuse("PytorchStreamReader failed locating file data.pkl: file not found");
    return judge_pickle(*main->second, weights_only);
  }

 private:
  static std::optional<LoadRefusal> refuse_member(std::string where, std::string message) {
    return LoadRefusal{std::move(where), {}, std::move(message)};
  }

  Result<StoragePtr> open(const ZipMember& m) {
    Problems ignored;
    CKPT_TRY(const ZipMemberData data, locate_zip_member(source_, *directory_, m, 0, ignored));
    return zip_member_storage(source_, directory_, m, data.offset_bytes, 0, Checksum::ignored);
  }

  LoadAnswer judge_pickle(const ZipMember& m, bool weights_only) {
    auto in_pickle = [&](LoadRefusal refusal) -> std::optional<LoadRefusal> {
      refusal.where = m.name;
      return refusal;
    };
    auto storage = open(m);
    if (!storage) {
      if (could_not_look(storage.error().code)) return tl::make_unexpected(std::move(storage.error()));
      return in_pickle({{}, {}, "PytorchStreamReader failed reading file data.pkl: " + storage.error().message});
    }
    if (weights_only) {
      std::uint64_t end = 0;
      CKPT_TRY(auto refusal, scan_weights_only(**storage, 0, end));
      if (refusal) return in_pickle(std::move(*refusal));
    }
    auto graph = read_pickle_graph(**storage, 0, limits_);
    if (!graph) {
      if (could_not_look(graph.error().code)) return tl::make_unexpected(std::move(graph.error()));
      return in_pickle({{}, graph.error().offset_bytes, graph.error().message});
    }
    if (auto refusal = check_graph(*graph, version_)) return in_pickle(std::move(*refusal));
    std::vector<bool> seen(graph->size());
    for (PickleId id = 0; id < graph->size(); ++id) {
      if (graph->kind(id) != PickleKind::persistent) continue;
      const PickleId described = graph->persistent_id(id);
      if (seen[described]) continue;
      seen[described] = true;
      StorageRef ref;
      if (auto why = read_storage_id(*graph, described, ref)) return in_pickle({{}, {}, std::move(*why)});
      const std::string name = root_ + "data/" + ref.key;
      const auto member = members_.find(name);
      if (member == members_.end() || ref.key.empty())
        return in_pickle(
            {{},
             {},
             fmt::format("PytorchStreamReader failed locating file data/{}: file not found", to_valid_utf8(ref.key))});
      const std::uint64_t held = member->second->size_bytes;
      if (!mapped_ && (held < ref.size_bytes || (held > ref.size_bytes && version_ >= kExactStorages)))
        return refuse_member(
            name, fmt::format("record size ({} bytes) does not match expected size ({} bytes)", held, ref.size_bytes));
    }
    return std::nullopt;
  }

  const SourcePtr& source_;
  Version version_;
  bool mapped_;
  const Limits& limits_;
  ZipDirectoryPtr directory_;
  std::string root_;  // "archive/"
  std::unordered_map<std::string, const ZipMember*> members_;
};

/// Magic, protocol, system info, object, keys: five pickles behind each other.
LoadAnswer judge_stream(const SourcePtr& source, Version version, const Limits& limits) {
  constexpr std::string_view kMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);  // as LONG1
  constexpr std::uint64_t kMagicBytes = 15;
  constexpr int kPickles = 5;
  const bool weights_only = version >= kWeightsOnlyByDefault;
  const StoragePtr storage = file_storage(source, 0, source->size_bytes());
  std::string head(std::min<std::uint64_t>(source->size_bytes(), kMagicBytes), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
  const bool has_magic = head.size() == kMagicBytes && head.substr(2, kMagic.size()) == kMagic;
  std::uint64_t at = 0;
  for (int i = 0; i < kPickles; ++i) {
    if (weights_only) {
      std::uint64_t end = at;
      CKPT_TRY(auto refusal, scan_weights_only(*storage, at, end));
      if (refusal) return refusal;
    }
    if (!has_magic) return refuse("Invalid magic number; corrupt file?");
    auto graph = read_pickle_graph(*storage, at, limits);
    if (!graph) {
      if (could_not_look(graph.error().code)) return tl::make_unexpected(std::move(graph.error()));
      return LoadRefusal{{}, graph.error().offset_bytes, graph.error().message};
    }
    if (auto refusal = check_graph(*graph, version)) return refusal;
    at = graph->end_offset;
  }
  return std::nullopt;
}

}  // namespace

LoadAnswer torch_refusal(const SourcePtr& source, Version version, bool mapped, const Limits& limits) {
  constexpr std::size_t kHeadBytes = 512;
  std::string head(std::min<std::uint64_t>(source->size_bytes(), kHeadBytes), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
  if (head.empty()) return refuse("EOFError: the file is empty");
  if (head.starts_with("PK\x03\x04")) return TorchZip(source, version, mapped, limits).judge();
  if (mapped && head.starts_with("PK\x05\x06"))
    return refuse("mmap can only be used with files saved with `torch.save(..., _use_new_zipfile_serialization=True)`");
  if (has_tar_start(head)) {
    if (version >= kWeightsOnlyByDefault)
      return refuse("Cannot use ``weights_only=True`` with files saved in the legacy .tar format");
    if (!is_torch_tar(source)) return refuse("a tar archive that torch has not written");
    return std::nullopt;
  }
  return judge_stream(source, version, limits);
}

}  // namespace netcl::ckpt
