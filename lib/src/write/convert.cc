// convert: select and change the tensors, lay them out in the target's format, and let the engine pull
// them into a temporary file that takes the target's place when it is whole.
#include "netcl/ckpt/convert.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "base/glob.h"
#include "base/parallel.h"
#include "base/problem.h"
#include "base/renamer.h"
#include "base/try.h"
#include "format/architecture.h"
#include "format/file_extension.h"
#include "format/readers.h"
#include "format/structure_encode.h"
#include "format/write_plan.h"
#include "io/output_folder.h"
#include "model/cast.h"
#include "model/read_budget.h"
#include "model/rebuild.h"
#include "model/tree_walk.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/output_file.h"
#include "report/diff_metadata.h"
#include "report/unreadable.h"
#include "write/left_out.h"
#include "write/write_file.h"
#include "write/write_folder.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

Result<Format> target_format(const fs::path& out, const ConvertOptions& options) {
  std::error_code ignored;
  const bool folder = !options.sink && (!out.has_filename() || fs::is_directory(out, ignored));
  if (folder && (!options.to || *options.to == Format::npy)) return Format::npy_folder;
  if (options.to) return *options.to;
  if (const auto format = written_format(out)) return *format;
  if (out.extension() == ".msgpack") return Format::flax;  // plan_for says what to use
  return with_way_out(fail(ErrorCode::invalid_argument, "cannot tell the format from '{}'", out.filename().string()),
                      "say it (`to`), or end a folder's name with '/'");
}

Result<void> apply_rules(Checkpoint& checkpoint, const ConvertOptions& options,
                         const std::shared_ptr<OverflowCount>& overflows) {
  CKPT_TRY(Renames renames, Renames::compile(options.renames, checkpoint.tree.size()));
  RebuildRules rules;
  if (!options.include.empty() || !options.exclude.empty()) {
    rules.keep_tensor = [&](const std::string& name) {
      return NameFilter{options.include, options.exclude}.selects(name);
    };
    const std::uint64_t budget = 4 * options.limits.max_name_bytes + 256 * checkpoint.tree.size();
    rules.keep_value = [&, left = budget](const Place& place) mutable -> Result<bool> {
      if (options.exclude.empty()) return true;
      if (place.name.size() > left)
        return fail(ErrorCode::limit_exceeded, "the values are nested too deeply to compare their names with patterns");
      left -= place.name.size();
      return !matches_any(options.exclude, place.name);
    };
  }
  if (!renames.empty()) rules.rename = [&](const std::string& name) { return renames.apply(name); };
  if (options.dtype) {
    rules.change = [&, budget = ReadBudget(checkpoint.file_bytes)](const std::string& name,
                                                                   const Tensor& tensor) mutable -> Result<Tensor> {
      const bool wanted = options.only.empty() || matches_any(options.only, name);
      if (!wanted || !tensor.storage || !is_castable(tensor.dtype.type) || tensor.dtype.type == *options.dtype)
        return tensor;
      CKPT_CHECK(budget.take(*tensor.storage, tensor.size_bytes()));
      return cast_tensor(tensor, *options.dtype, overflows);
    };
  }
  if (!rules.keep_tensor && !rules.rename && !rules.change) return {};
  CKPT_TRY(const Rebuilt rebuilt, rebuild(checkpoint.tree, checkpoint.root, rules, options.limits));
  checkpoint.root = rebuilt.root;
  return {};
}

/// The value that `path` names below `id`, and where keys have dots any way to read it; in a flat dict, all whose keys
/// begin with it.
std::optional<ValueId> find_part(Tree& tree, ValueId id, std::string_view path) {
  struct Place {
    ValueId id;
    std::string_view rest;
  };
  std::vector<Place> places{{id, path}};
  while (!places.empty()) {
    const auto [at, rest] = places.back();
    places.pop_back();
    if (rest.empty()) return at;
    if (tree.kind(at) == ValueKind::dict) {
      for (const Tree::Entry& e : tree.entries(at)) {
        const std::string key = key_text(tree, e.key);
        if (rest == key) places.push_back({e.value, {}});
        if (rest.size() > key.size() && rest.starts_with(key) && rest[key.size()] == '.')
          places.push_back({e.value, rest.substr(key.size() + 1)});
      }
    } else {
      const std::string_view step = rest.substr(0, rest.find('.'));
      std::size_t i = 0;
      const auto [end, bad] = std::from_chars(step.data(), step.data() + step.size(), i);
      if (bad == std::errc() && end == step.data() + step.size() && i < num_children(tree, at))
        places.push_back({child(tree, at, i), rest.substr(std::min(step.size() + 1, rest.size()))});
    }
  }
  std::vector<std::pair<std::string, ValueId>> below;
  for (const Tree::Entry& e : tree.entries(id)) {
    const std::string key = key_text(tree, e.key);
    if (key.size() > path.size() + 1 && key.starts_with(path) && (key[path.size()] == '.' || key[path.size()] == '/'))
      below.emplace_back(key.substr(path.size() + 1), e.value);
  }
  if (below.empty()) return std::nullopt;
  std::vector<Tree::Entry> entries;
  for (const auto& [key, value] : below) entries.push_back({tree.add_string(key), value});
  return tree.add_dict(entries);
}

/// --root and --tensors-only.
Result<void> narrow(Checkpoint& in, const ConvertOptions& options) {
  if (!options.root.empty()) {
    const auto part = find_part(in.tree, in.root, options.root);
    if (!part) {
      return fail(ErrorCode::invalid_argument, "there is no part called '{}' in it; inspect lists them", options.root);
    }
    in.root = *part;
  }
  if (!options.root.empty() || options.tensors_only) in.attributes = in.tree.add_dict({});
  return {};
}

/// A dict of the tensors under their dotted names, and nothing else.
Result<void> flatten(Checkpoint& in, const Limits& limits) {
  CKPT_TRY(const auto tensors, list_tensors(in, limits));
  if (tensors.size() == 1 && tensors[0].path.empty()) return {};
  std::vector<Tree::Entry> entries;
  for (const NamedTensor& t : tensors) entries.push_back({in.tree.add_string(t.name), t.value});
  in.root = in.tree.add_dict(entries);
  return {};
}

/// safetensors' `format` names the framework, and transformers refuses a file without it. Elsewhere the word that this
/// adds says nothing.
void place_format(Checkpoint& in, Format target) {
  constexpr std::string_view kFormat = "format", kTorch = "pt";
  const auto* own = in.tree.find(in.attributes, kFormat);
  const auto before = in.tree.entries(in.attributes);
  std::vector<Tree::Entry> entries(before.begin(), before.end());
  if (target == Format::safetensors && own == nullptr) {
    const ValueId key = in.tree.add_string(kFormat);
    entries.push_back({key, in.tree.add_string(kTorch)});
  } else if (target != Format::safetensors && in.format == Format::safetensors && own != nullptr &&
             in.tree.kind(own->value) == ValueKind::string && in.tree.text(own->value) == kTorch) {
    std::erase_if(entries, [&](const Tree::Entry& e) { return e.key == own->key; });
  } else {
    return;
  }
  in.attributes = in.tree.add_dict(entries);
}

/// torch's writer makes a tensor of each NumPy scalar: it is one from here on, in the report and in what is compared
/// with what was written.
void place_scalars(Tree& tree, Format target) {
  if (target != Format::torch) return;
  for (ValueId id = 0; id < tree.size(); ++id) tree.scalar_to_tensor(id);
}

/// Finds the tensors that are one in the input and would be several in the output. With `dedupe`, the others go, and
/// the metadata says whose name they had, as safetensors' own save_model() does.
Result<void> share(Checkpoint& in, const ConvertOptions& options, ConvertReport& report) {
  const bool shares = report.format == Format::torch || report.format == Format::pickle;
  if (options.dedupe && !shares && report.format != Format::safetensors)
    return with_way_out(fail(ErrorCode::invalid_argument, "an npz has no place for a second name of a tensor"),
                        "`dedupe` is for safetensors");
  if (shares) return {};
  using Sizes = std::vector<std::uint64_t>;
  using View = std::tuple<const Storage*, std::uint64_t, std::string, Sizes, Sizes>;
  CKPT_TRY(const auto tensors, list_tensors(in, options.limits));
  std::map<View, std::string_view> first;
  std::unordered_set<std::string_view> dropped;
  for (const NamedTensor& t : tensors) {
    const Tensor& v = in.tree.tensor(t.value);
    if (!v.storage || v.num_elements() == 0) continue;
    const auto [it, fresh] =
        first.try_emplace({v.storage.get(), v.offset_bytes, v.dtype.name(), v.shape, v.strides}, t.name);
    if (fresh) continue;
    report.doubled.emplace_back(t.name, it->second);
    dropped.insert(t.name);
  }
  if (!options.dedupe || dropped.empty()) return {};
  const auto before = in.tree.entries(in.attributes);
  std::vector<Tree::Entry> entries(before.begin(), before.end());
  for (const auto& [name, other] : report.doubled) {
    const ValueId key = in.tree.add_string(name);
    entries.push_back({key, in.tree.add_string(other)});
  }
  in.attributes = in.tree.add_dict(entries);
  report.doubled.clear();
  RebuildRules rules;
  rules.keep_tensor = [&](const std::string& name) { return !dropped.contains(name); };
  CKPT_TRY(const Rebuilt rebuilt, rebuild(in.tree, in.root, rules, options.limits));
  in.root = rebuilt.root;
  return {};
}

/// What is selected and cannot be read, as far as that is known without reading payloads.
Result<std::vector<Unreadable>> unreadable(const Checkpoint& in, const ConvertOptions& options) {
  std::vector<Unreadable> out;
  for (Unreadable& u : unreadable_members(in)) {
    const bool wanted = options.root.empty() || u.name.starts_with(options.root);
    const bool selected = NameFilter{options.include, options.exclude}.selects(u.name);
    if (wanted && selected) out.push_back(std::move(u));
  }
  CKPT_TRY(auto tensors, unreadable_tensors(in, options.limits));
  out.insert(out.end(), std::make_move_iterator(tensors.begin()), std::make_move_iterator(tensors.end()));
  return out;
}

/// After an error of reading: all the tensors that have one, or the error itself.
Error name_all(const Checkpoint& in, Error error, const ConvertOptions& options) {
  const bool damaged = error.code == ErrorCode::corrupt || error.code == ErrorCode::truncated ||
                       error.code == ErrorCode::checksum_mismatch;
  if (!damaged) return error;
  const auto listed = list_tensors(in, options.limits);
  if (!listed) return error;
  const auto& tensors = *listed;
  std::vector<std::string> why(tensors.size());
  parallel_for(thread_count(options.run.jobs), tensors.size(), [&](std::size_t i) {
    const Tensor& tensor = in.tree.tensor(tensors[i].value);
    if (!tensor.storage) return;
    const Result<void> read = guarded([&]() -> Result<void> {
      CKPT_TRY(auto reader, TensorReader::open(tensor));
      std::vector<std::byte> block;
      const std::uint64_t item = std::max<std::uint64_t>(tensor.dtype.item_bytes, 1);
      while (reader.remaining_bytes() > 0) {
        block.resize(
            std::min(std::max((std::uint64_t{1} << 20) / item, std::uint64_t{1}) * item, reader.remaining_bytes()));
        CKPT_CHECK(reader.read(block));
      }
      return {};
    });
    if (!read) why[i] = read.error().message;
  });
  std::vector<Unreadable> found;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!why[i].empty()) found.push_back({tensors[i].name, why[i]});
  }
  if (found.empty()) return error;
  Error named = refuse_unreadable(found).error();
  named.code = error.code;
  named.member = error.member;
  named.offset_bytes = error.offset_bytes;
  return named;
}

/// Whether the attributes are what netcl keeps in the `.json` beside an npz.
bool is_sidecar(const Checkpoint& checkpoint) {
  const auto entries = checkpoint.tree.entries(checkpoint.attributes);
  return !entries.empty() && std::all_of(entries.begin(), entries.end(), [&](const Tree::Entry& e) {
    const std::string_view key = checkpoint.tree.text(e.key);
    return key == "config" || key == "optim_state";
  });
}

Result<WritePlan> plan_for(Format format, const Checkpoint& checkpoint, const LayoutOptions& layout) {
  switch (format) {
    case Format::npz: return plan_npz(checkpoint, layout);
    case Format::netcl:
      if (checkpoint.tree.find(checkpoint.root, kArchitecture) == nullptr) {
        return fail(ErrorCode::unsupported,
                    "a .netcl file needs the model's architecture, which this checkpoint lacks; write an npz");
      }
      return plan_npz(checkpoint, layout);
    case Format::npy: return plan_npy(checkpoint);
    case Format::npy_folder: return plan_npy_folder(checkpoint);
    case Format::safetensors: return plan_safetensors(checkpoint);
    case Format::pickle: return plan_pickle(checkpoint);
    case Format::torch: return plan_torch(checkpoint, layout);
    case Format::flax:
      return with_way_out(fail(ErrorCode::unsupported, "Flax's msgpack is read, not written"),
                          "write safetensors, npz, pickle or torch (`to`)");
    case Format::torch_legacy: break;
  }
  return with_way_out(fail(ErrorCode::unsupported, "torch's legacy format is read, not written"), "write torch (`to`)");
}

Result<void> compare(const Tensor& a, const Tensor& b, bool payloads) {
  const auto differs = [] { return fail(ErrorCode::internal, "what was written differs from what was read"); };
  if (a.shape != b.shape || a.size_bytes() != b.size_bytes()) return differs();
  if (!a.storage || !b.storage || !payloads) return {};
  CKPT_TRY(auto left, TensorReader::open(a));
  CKPT_TRY(auto right, TensorReader::open(b));
  const std::uint64_t item = std::max<std::uint64_t>(a.dtype.item_bytes, 1);
  const std::size_t block =
      std::min(std::max<std::uint64_t>((std::uint64_t{1} << 20) / item, 1) * item, left.remaining_bytes());
  std::vector<std::byte> x(block), y(block);
  while (left.remaining_bytes() > 0) {
    const std::size_t n = std::min<std::uint64_t>(block, left.remaining_bytes());
    CKPT_CHECK(left.read(std::span(x).first(n)));
    CKPT_CHECK(right.read(std::span(y).first(n)));
    if (!std::equal(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n), y.begin())) return differs();
  }
  return {};
}

/// Every value of `from` that is no tensor is there again. A format may add values of its own.
Result<void> verify_values(const Checkpoint& back, const Checkpoint& from, const Limits& limits) {
  DiffReport report;
  const std::vector<std::string> none;
  const NameFilter everything{none, none};
  Criterion exact;
  exact.bitwise = true;
  CKPT_CHECK(diff_metadata(from, back, exact, everything, limits, report));
  for (const MetadataDiff& d : report.metadata) {
    if (d.a) {
      return fail_at(ErrorCode::unsupported, d.path, std::nullopt, "what was written reads back as {} instead of {}",
                     d.b.value_or("nothing"), *d.a);
    }
  }
  return {};
}

/// What its own reader says of what was written, before it takes anybody's place.
Result<void> accepted(const Result<Checkpoint>& back, const Checkpoint& from) {
  if (!back) {
    Error error = back.error();
    error.message = "what was written cannot be read back: " + error.message;
    return tl::make_unexpected(std::move(error));
  }
  const auto was_there = [&](const Problem& p) {
    return std::any_of(from.problems.begin(), from.problems.end(), [&](const Problem& q) { return q.code == p.code; });
  };
  for (const Problem& p : back->problems) {
    if (p.severity < Severity::error || was_there(p)) continue;
    return fail_at(ErrorCode::unsupported, p.where, p.offset_bytes, "what was written cannot be read back: {}",
                   p.message);
  }
  return {};
}

/// Compares every value of what was written with what it was made from, and every tensor: its name and shape, with
/// --verify its elements too. So no writer needs to know its reader's limits, and none reports success for what the
/// reader refuses.
Result<void> verify_written(const Result<Checkpoint>& read, const Checkpoint& from, const ConvertOptions& options) {
  CKPT_CHECK(accepted(read, from));
  const Checkpoint& back = *read;
  CKPT_TRY(const auto expected, list_tensors(from, options.limits));
  CKPT_TRY(const auto found, list_tensors(back, options.limits));
  // By name: safetensors lists its tensors as they lie, which is by size.
  std::unordered_map<std::string_view, ValueId> by_name;
  for (const NamedTensor& t : found) by_name.emplace(t.name, t.value);
  std::mutex mutex;
  std::optional<Error> first;
  parallel_for(thread_count(options.run.jobs), expected.size(), [&](std::size_t i) {
    auto it = by_name.find(expected[i].name);
    // An npy has no name for its array, and npz calls one without a name arr_0.
    if (it == by_name.end() && expected.size() == 1) it = by_name.begin();
    const Result<void> same = guarded([&]() -> Result<void> {
      if (it == by_name.end())
        return with_way_out(fail(ErrorCode::unsupported, "what was written reads back without this tensor"),
                            "rename it (`renames`)");
      return compare(from.tree.tensor(expected[i].value), back.tree.tensor(it->second), options.verify);
    });
    if (same) return;
    const std::lock_guard lock(mutex);
    if (!first) {
      first = same.error();
      first->member = expected[i].name;
    }
  });
  if (first) return tl::make_unexpected(*first);
  if (found.size() != expected.size()) {
    return fail(ErrorCode::internal, "{} tensors were written, {} are read back", expected.size(), found.size());
  }
  return verify_values(back, from, options.limits);
}

Result<void> drain(const SourcePtr& written, const ConvertOptions& options) {
  std::vector<std::byte> block(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < written->size_bytes();) {
    const auto part = std::span(block).first(std::min<std::uint64_t>(block.size(), written->size_bytes() - at));
    CKPT_CHECK(written->read_at(at, part));
    CKPT_CHECK(options.sink(part));
    at += part.size();
  }
  return {};
}

/// Whether what lies beside the target, "" for nothing, is netcl's sidecar of an earlier checkpoint.
/// Errors: io, if that cannot be read.
Result<bool> is_earlier_sidecar(const fs::path& path) {
  if (path.empty()) return false;
  CKPT_TRY([[maybe_unused]] const SourcePtr source, open_file(path));
  return is_netcl_sidecar(path);
}

tl::unexpected<Error> not_ours(const fs::path& path) {
  return with_way_out(fail_in(path.string(), ErrorCode::invalid_argument,
                              "is in the way of the sidecar and no sidecar itself, so it is not replaced"),
                      "move it away, or keep the metadata inside the npz (`embed_sidecar`)");
}

/// Puts the file in place, and then the sidecar; or removes the one that an earlier checkpoint left (`stale`). The npz
/// says what its metadata is, so that a reader knows the earlier sidecar for what it is, whenever the process dies.
Result<void> commit(OutputFile& file, std::uint64_t file_bytes, const fs::path& path, std::optional<OutputFile>& json,
                    std::uint64_t json_bytes, const fs::path& stale) {
  if (!json && stale.empty()) return file.commit(file_bytes);
  if (json) CKPT_CHECK(json->sync(json_bytes));  // what may fail for lack of room, before anything changes
  if (auto done = file.commit(file_bytes); !done) {
    done.error().message += "; its sidecar is as it was";
    return done;
  }
  Result<void> done;
  if (json) {
    done = json->commit(json_bytes);
  } else if (std::error_code failed; !fs::remove(stale, failed) && failed) {
    done = fail(ErrorCode::io, "cannot remove the earlier sidecar, which is ignored: {}", failed.message());
    done.error().file = stale.string();
    done.error().os_errno = failed.value();
  }
  if (!done) done.error().message.insert(0, fmt::format("'{}' is the new one; ", path.filename().string()));
  return done;
}

/// A sidecar that is there and cannot be read is not "no metadata".
Result<void> require_sidecar(const Checkpoint& in) {
  for (const Problem& p : in.problems) {
    if (p.code == ProblemCode::sidecar_unread || p.code == ProblemCode::io)
      return with_way_out(fail_at(ErrorCode::io, p.where, p.offset_bytes, "{}", p.message),
                          "go on without it (`sidecar`)");
  }
  return {};
}

bool replaces(const fs::path& out, const Checkpoint& in) {
  std::error_code ignored;
  return !in.path.empty() && fs::equivalent(out, in.path, ignored);
}

/// Nothing takes the input's place that lacks a part of it, or that its own program would read as something else.
Result<void> check_replacing(const Checkpoint& in, const fs::path& out, const ConvertReport& report,
                             const ConvertOptions& options) {
  if (options.sink || !replaces(out, in)) return {};
  if (!report.left_out.empty()) {
    const LeftOut& first = report.left_out[0];
    return fail_at(ErrorCode::invalid_argument, first.name, std::nullopt,
                   "replacing the input would lose this ({}); write to another name", first.what);
  }
  const bool several = std::any_of(in.problems.begin(), in.problems.end(),
                                   [](const Problem& p) { return p.code == ProblemCode::several_pickles; });
  if (several)
    return fail(ErrorCode::invalid_argument,
                "replacing the input would make one list of its several pickles; write to another name");
  return {};
}

Result<ConvertReport> convert_opened(Checkpoint in, const fs::path& out, const ConvertOptions& options) {
  CKPT_CHECK(check_roots(in));
  ConvertReport report;
  report.path = out.string();
  report.source_bytes = in.file_bytes;
  CKPT_TRY(report.format, target_format(out, options));
  CKPT_CHECK(require_sidecar(in));
  report.left_out = left_behind(in);
  CKPT_CHECK(check_replacing(in, out, report, options));
  const ValueId old_root = in.root;
  CKPT_CHECK(narrow(in, options));
  auto overflows = std::make_shared<OverflowCount>(0);
  CKPT_CHECK(apply_rules(in, options, overflows));
  if (options.tensors_only) CKPT_CHECK(flatten(in, options.limits));
  forgive_dropped(in, old_root);
  if (!options.drop_unsafe) {
    CKPT_CHECK(refuse_unsafe(in.problems, "write the rest without it (`drop_unsafe`)"));
  }
  CKPT_TRY(auto opaque, leave_out_opaque(in, options.limits));
  report.left_out.insert(report.left_out.end(), std::make_move_iterator(opaque.begin()),
                         std::make_move_iterator(opaque.end()));
  if (!report.left_out.empty() && report.left_out[0].name.empty() && !contains_tensor(in.tree, in.root)[in.root])
    return fail(ErrorCode::unsupported, "the whole of it is {}, which is not known here: nothing is left to write",
                report.left_out[0].what);
  if (options.strict && !report.left_out.empty()) {
    const LeftOut& first = report.left_out[0];
    return with_way_out(
        fail_at(ErrorCode::unsupported, first.name, std::nullopt, "this would be left out ({})", first.what),
        "`strict` refuses that");
  }
  CKPT_TRY(const auto unread, unreadable(in, options));
  CKPT_CHECK(refuse_unreadable(unread));
  CKPT_CHECK(place_architecture(in, report.format));
  place_format(in, report.format);
  place_scalars(in.tree, report.format);
  CKPT_CHECK(share(in, options, report));

  const bool npz = report.format == Format::npz || report.format == Format::netcl;
  std::optional<std::string> sidecar;
  const fs::path beside = fs::path(out).replace_extension(".json");
  const fs::path earlier = options.sink ? fs::path() : find_sidecar(out);  // perhaps one whose name netcl shortened
  CKPT_TRY(const bool has_sidecar, npz ? is_earlier_sidecar(earlier) : Result<bool>(false));
  const bool stale = has_sidecar && earlier == beside;
  if (stale && !options.replace) {
    return with_way_out(
        fail_in(beside.string(), ErrorCode::invalid_argument, "is the sidecar of an earlier checkpoint"),
        "replace it (`replace`)");
  }
  if (npz && is_sidecar(in) && !options.embed_sidecar && !options.sink) {
    CKPT_TRY(sidecar, to_plain_json(in.tree, in.attributes));
    report.sidecar = beside.string();
    Tree scratch;
    if (auto parsed = parse_json(*sidecar, options.limits, scratch); !parsed)
      return with_way_out(fail_at(parsed.error().code, beside.filename().string(), std::nullopt,
                                  "the sidecar could not be read back: {}", parsed.error().message),
                          "write none (`embed_sidecar`)");
    std::error_code ignored;
    if (fs::exists(beside, ignored) && !fs::is_empty(beside, ignored) && !is_netcl_sidecar(beside))
      return not_ours(beside);
  }
  LayoutOptions layout;
  layout.no_sidecar = has_sidecar;
  layout.compression = options.compression;
  layout.compact = options.compact;
  CKPT_TRY(WritePlan plan, plan_for(report.format, in, layout));
  CKPT_TRY(auto tensors, list_tensors(in, options.limits));
  if (tensors.empty() && !options.include.empty())
    return fail(ErrorCode::invalid_argument, "no tensor matches what to include: nothing is left to write");
  report.num_tensors = tensors.size();
  ReadBudget budget(in.file_bytes);
  const bool shares = report.format == Format::torch && !options.compact;  // it writes storages, not views
  report.tensors.reserve(tensors.size());
  for (NamedTensor& t : tensors) {
    const Tensor& tensor = in.tree.tensor(t.value);
    if (tensor.storage && !shares) {
      if (auto taken = budget.take(*tensor.storage, tensor.size_bytes()); !taken)
        return with_way_out(fail_at(taken.error().code, t.name, std::nullopt, "{}", taken.error().message),
                            "leave some out (`exclude`)");
    }
    report.tensors.push_back(std::move(t.name));
    report.tensor_bytes += tensor.size_bytes();
  }
  tensors = {};
  if (options.dry_run) {
    for (const WritePart& part : plan.parts) report.file_bytes += part.size_bytes();
    return report;
  }

  OpenOptions read;
  read.limits = options.limits;
  read.sidecar = false;
  const auto check_overflows = [&]() -> Result<void> {
    report.overflows = *overflows;
    if (!options.strict || report.overflows == 0) return {};
    return fail(ErrorCode::invalid_argument, "{} numbers do not fit the target's range and would become Inf",
                report.overflows);
  };
  if (report.format == Format::npy_folder) {
    std::error_code missing;
    const bool full = fs::exists(out, missing) && !fs::is_empty(out, missing) && !missing;
    if (options.replace && full && !is_npy_folder(out))
      return fail(ErrorCode::invalid_argument, "the folder {} was not written by convert: it is not replaced",
                  out.string());
    CKPT_TRY(OutputFolder folder, OutputFolder::create(out, options.replace));
    auto written = write_folder(plan, folder.path(), options.run);
    if (!written) {  // under its name, not that of the hidden folder
      std::string& file = written.error().file;
      if (fs::path(file).parent_path() == folder.path()) file = (out / fs::path(file).filename()).string();
      return tl::make_unexpected(name_all(in, std::move(written.error()), options));
    }
    report.file_bytes = *written;
    plan = {};  // before what was written is opened beside what was read
    CKPT_CHECK(check_overflows());
    CKPT_CHECK(verify_written(open_checkpoint(folder.path(), read), in, options));
    CKPT_CHECK(folder.commit());
    return report;
  }

  const bool to_sink = static_cast<bool>(options.sink);
  CKPT_TRY(OutputFile file, to_sink ? OutputFile::scratch() : OutputFile::create(out, options.replace));
  std::optional<OutputFile> json;
  if (sidecar) {
    CKPT_TRY(OutputFile side, OutputFile::create(*report.sidecar, options.replace));
    CKPT_CHECK(side.write_at(0, std::as_bytes(std::span(*sidecar))));
    json.emplace(std::move(side));
  }
  if (auto written = write_file(plan, file, options.run)) {
    report.file_bytes = *written;
  } else {
    return tl::make_unexpected(name_all(in, std::move(written.error()), options));
  }
  plan = {};
  CKPT_CHECK(check_overflows());
  CKPT_TRY(const SourcePtr written, file.reopen(report.file_bytes));
  CKPT_CHECK(verify_written(open_checkpoint(written, out, read), in, options));
  if (to_sink) {
    CKPT_CHECK(drain(written, options));
    return report;
  }
  CKPT_CHECK(commit(file, report.file_bytes, out, json, sidecar ? sidecar->size() : 0, stale ? beside : ""));
  return report;
}

}  // namespace

Result<ConvertReport> convert(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  return guarded([&]() -> Result<ConvertReport> {
    OpenOptions read;
    read.limits = options.limits;
    read.sidecar = options.sidecar;
    CKPT_TRY(Checkpoint checkpoint, open_checkpoint(in, read));
    return convert(std::move(checkpoint), out, options);
  });
}

Result<ConvertReport> convert(Checkpoint in, const fs::path& out, const ConvertOptions& options) {
  return guarded([&]() -> Result<ConvertReport> {
    const std::string source = in.path;
    auto report = convert_opened(std::move(in), out, options);
    if (!report && report.error().file.empty()) report.error().file = source;
    return report;
  });
}

}  // namespace netcl::ckpt
