// convert: select and change the tensors, lay them out in the target's format, and let the engine pull
// them into a temporary file that takes the target's place when it is whole.
#include "netcl/ckpt/convert.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
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
#include "report/unreadable.h"
#include "write/left_out.h"
#include "write/read_back.h"
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
  if (const auto format = format_of_extension(out)) return *format;  // of one that is only read, plan_for says so
  return with_way_out(fail(ErrorCode::invalid_argument, "cannot tell the format from '{}'", out.filename().string()),
                      "say it with `to`, or end a folder's name with '/'");
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
                          "use `to` safetensors, npz, pickle or torch");
    case Format::torch_legacy: break;
  }
  return with_way_out(fail(ErrorCode::unsupported, "torch's legacy format is read, not written"), "use `to` torch");
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
                      "move it away, or keep the metadata inside the npz with `embed_sidecar`");
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
    done = fail_io(failed.value(), stale.string(), "cannot remove the earlier sidecar, which is ignored");
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

/// One conversion, step by step: each changes what the checkpoint is, until it is what the target can hold.
class Conversion {
 public:
  Conversion(Checkpoint in, const fs::path& out, const ConvertOptions& options)
      : in_(std::move(in)), out_(out), options_(options) {}

  Result<ConvertReport> run() {
    CKPT_CHECK(check_roots(in_));
    report_.path = out_.string();
    report_.source_bytes = in_.file_bytes;
    CKPT_TRY(report_.format, target_format(out_, options_));
    CKPT_CHECK(require_sidecar(in_));
    report_.left_out = left_behind(in_);
    CKPT_CHECK(check_replacing(in_, out_, report_, options_));
    CKPT_CHECK(select());
    CKPT_CHECK(leave_out());
    CKPT_CHECK(fit_to_format());
    CKPT_TRY(const Sidecar sidecar, plan_sidecar());
    LayoutOptions layout;
    layout.no_sidecar = sidecar.has_earlier;
    layout.compression = options_.compression;
    layout.compact = options_.compact;
    CKPT_TRY(WritePlan plan, plan_for(report_.format, in_, layout));
    CKPT_CHECK(count_tensors());
    if (options_.dry_run) {
      for (const WritePart& part : plan.parts) report_.file_bytes += part.size_bytes();
    } else if (report_.format == Format::npy_folder) {
      CKPT_CHECK(write_as_folder(std::move(plan)));
    } else {
      CKPT_CHECK(write_as_file(std::move(plan), sidecar));
    }
    return std::move(report_);
  }

 private:
  /// netcl's `.json` beside an npz: the one to write, and what an earlier checkpoint left there.
  struct Sidecar {
    fs::path path;
    std::optional<std::string> text;
    bool has_earlier = false;  // under this name, or one that netcl shortened
    bool is_stale = false;     // the earlier one has this name
  };

  /// Takes what was asked for, under the names and as the types that were asked for.
  Result<void> select() {
    const ValueId old_root = in_.root;
    CKPT_CHECK(narrow(in_, options_));
    CKPT_CHECK(apply_rules(in_, options_, overflows_));
    if (options_.tensors_only) CKPT_CHECK(flatten(in_, options_.limits));
    remove_dropped_problems(in_, old_root);
    return {};
  }

  /// What no writer carries over goes, as far as that is allowed; what cannot be read is refused.
  Result<void> leave_out() {
    if (!options_.drop_unsafe) CKPT_CHECK(refuse_unsafe(in_.problems, "`drop_unsafe` writes the rest without it"));
    CKPT_TRY(auto opaque, leave_out_opaque(in_, options_.limits));
    auto& left_out = report_.left_out;
    left_out.insert(left_out.end(), std::make_move_iterator(opaque.begin()), std::make_move_iterator(opaque.end()));
    if (!left_out.empty() && left_out[0].name.empty() && !contains_tensor(in_.tree, in_.root)[in_.root])
      return fail(ErrorCode::unsupported, "the whole of it is {}, which is not known here: nothing is left to write",
                  left_out[0].what);
    if (options_.strict && !left_out.empty())
      return with_way_out(fail_at(ErrorCode::unsupported, left_out[0].name, std::nullopt, "this would be left out ({})",
                                  left_out[0].what),
                          "`strict` refuses that");
    CKPT_TRY(const auto unread, unreadable(in_, options_));
    return refuse_unreadable(unread);
  }

  Result<void> fit_to_format() {
    CKPT_CHECK(place_architecture(in_, report_.format));
    place_format(in_, report_.format);
    place_scalars(in_.tree, report_.format);
    return share(in_, options_, report_);
  }

  Result<Sidecar> plan_sidecar() {
    Sidecar sidecar;
    sidecar.path = fs::path(out_).replace_extension(".json");
    if (report_.format != Format::npz && report_.format != Format::netcl) return sidecar;
    const fs::path earlier = options_.sink ? fs::path() : find_sidecar(out_);
    CKPT_TRY(sidecar.has_earlier, is_earlier_sidecar(earlier));
    sidecar.is_stale = sidecar.has_earlier && earlier == sidecar.path;
    if (sidecar.is_stale && !options_.replace)
      return with_way_out(
          fail_in(earlier.string(), ErrorCode::invalid_argument, "is the sidecar of an earlier checkpoint"),
          "`replace` replaces it");
    if (!is_sidecar(in_) || options_.embed_sidecar || options_.sink) return sidecar;
    CKPT_TRY(sidecar.text, to_plain_json(in_.tree, in_.attributes));
    report_.sidecar = sidecar.path.string();
    Tree scratch;
    if (auto parsed = parse_json(*sidecar.text, options_.limits, scratch); !parsed)
      return with_way_out(fail_at(parsed.error().code, sidecar.path.filename().string(), std::nullopt,
                                  "the sidecar could not be read back: {}", parsed.error().message),
                          "write none (`embed_sidecar`)");
    std::error_code ignored;
    if (fs::exists(sidecar.path, ignored) && !fs::is_empty(sidecar.path, ignored) && !is_netcl_sidecar(sidecar.path))
      return not_ours(sidecar.path);
    return sidecar;
  }

  Result<void> count_tensors() {
    CKPT_TRY(auto tensors, list_tensors(in_, options_.limits));
    if (tensors.empty() && !options_.include.empty())
      return fail(ErrorCode::invalid_argument, "no tensor matches what to include: nothing is left to write");
    report_.num_tensors = tensors.size();
    ReadBudget budget(in_.file_bytes);
    const bool shares = report_.format == Format::torch && !options_.compact;  // it writes storages, not views
    report_.tensors.reserve(tensors.size());
    for (NamedTensor& t : tensors) {
      const Tensor& tensor = in_.tree.tensor(t.value);
      if (tensor.storage && !shares) {
        if (auto taken = budget.take(*tensor.storage, tensor.size_bytes()); !taken)
          return with_way_out(fail_at(taken.error().code, t.name, std::nullopt, "{}", taken.error().message),
                              "leave some out (`exclude`)");
      }
      report_.tensors.push_back(std::move(t.name));
      report_.tensor_bytes += tensor.size_bytes();
    }
    return {};
  }

  Result<void> write_as_folder(WritePlan plan) {
    std::error_code missing;
    const bool full = fs::exists(out_, missing) && !fs::is_empty(out_, missing) && !missing;
    if (options_.replace && full && !is_npy_folder(out_))
      return fail(ErrorCode::invalid_argument, "the folder {} was not written by convert: it is not replaced",
                  out_.string());
    CKPT_TRY(OutputFolder folder, OutputFolder::create(out_, options_.replace));
    auto written = write_folder(plan, folder.path(), options_.run);
    if (!written) {  // under its name, not that of the hidden folder
      std::string& file = written.error().file;
      if (fs::path(file).parent_path() == folder.path()) file = (out_ / fs::path(file).filename()).string();
      return tl::make_unexpected(name_all(in_, std::move(written.error()), options_));
    }
    report_.file_bytes = *written;
    plan = {};  // before what was written is opened beside what was read
    CKPT_CHECK(check_overflows());
    CKPT_CHECK(verify_written(open_checkpoint(folder.path(), read_options()), in_, options_));
    return folder.commit();
  }

  Result<void> write_as_file(WritePlan plan, const Sidecar& sidecar) {
    const bool to_sink = static_cast<bool>(options_.sink);
    CKPT_TRY(OutputFile file, to_sink ? OutputFile::scratch() : OutputFile::create(out_, options_.replace));
    std::optional<OutputFile> json;
    if (sidecar.text) {
      CKPT_TRY(OutputFile side, OutputFile::create(sidecar.path, options_.replace));
      CKPT_CHECK(side.write_at(0, std::as_bytes(std::span(*sidecar.text))));
      json.emplace(std::move(side));
    }
    auto size = write_file(plan, file, options_.run);
    if (!size) return tl::make_unexpected(name_all(in_, std::move(size.error()), options_));
    report_.file_bytes = *size;
    plan = {};
    CKPT_CHECK(check_overflows());
    CKPT_TRY(const SourcePtr written, file.reopen(report_.file_bytes));
    CKPT_CHECK(verify_written(open_checkpoint(written, out_, read_options()), in_, options_));
    if (to_sink) return drain(written, options_);
    return commit(file, report_.file_bytes, out_, json, sidecar.text ? sidecar.text->size() : 0,
                  sidecar.is_stale ? sidecar.path : "");
  }

  Result<void> check_overflows() {
    report_.overflows = *overflows_;
    if (!options_.strict || report_.overflows == 0) return {};
    return fail(ErrorCode::invalid_argument, "{} numbers do not fit the target's range and would become Inf",
                report_.overflows);
  }

  OpenOptions read_options() const {
    OpenOptions read;
    read.limits = options_.limits;
    read.sidecar = false;
    return read;
  }

  Checkpoint in_;
  const fs::path& out_;
  const ConvertOptions& options_;
  ConvertReport report_;
  std::shared_ptr<OverflowCount> overflows_ = std::make_shared<OverflowCount>(0);
};

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
    return in_file(Conversion(std::move(in), out, options).run(), source);
  });
}

}  // namespace netcl::ckpt
