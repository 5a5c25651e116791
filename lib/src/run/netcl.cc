// netcl's calls.
//
// One commit for netcl's pair: the npz carries its metadata inside, where NumPy and netcl pass over it, and
// is put in place in one step; the sidecar follows as a copy. Whoever dies between the two leaves an old
// copy beside a new npz, and the reader knows it by its text, which is not what the npz says.
#include "netcl/ckpt/netcl.h"

#include "base/try.h"
#include "format/architecture.h"
#include "format/structure_encode.h"
#include "model/tree_walk.h"
#include "netcl/ckpt/open.h"
#include "write/save.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

fs::path find_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_directory(path, ignored)) return path;
  fs::path longer = path;
  longer += ".npz";
  if (fs::exists(longer, ignored)) return longer;
  const fs::path netcls = fs::path(path).replace_extension(".npz");  // with_suffix()
  if (fs::exists(netcls, ignored)) return netcls;
  return path;  // a folder of npy files, or an error that names what was asked for
}

/// A checkpoint of these parameters, in their order.
Result<Checkpoint> checkpoint_of(std::span<const Parameter> parameters, const fs::path& path) {
  Checkpoint out;
  out.path = path.string();
  std::vector<Tree::Entry> entries;
  for (const Parameter& p : parameters) {
    const ValueId key = out.tree.add_string(p.name);
    CKPT_TRY(Tensor tensor, view_of(p.target));
    entries.push_back({key, out.tree.add_tensor(std::move(tensor))});
  }
  out.root = out.tree.add_dict(entries);
  out.attributes = out.tree.add_dict({});
  return out;
}

Result<LoadedCheckpoint> load_with_metadata(std::span<const Parameter> parameters, const fs::path& path,
                                            MatchOptions options) {
  CKPT_TRY(Checkpoint checkpoint, load_state(path));
  options.allow_unexpected = true;  // the optimizer's arrays are not the program's to name
  CKPT_TRY(MatchReport report, load_parameters(checkpoint, parameters, options));
  LoadedCheckpoint out{std::move(report), std::move(checkpoint), std::nullopt, std::nullopt};
  const Tree& tree = out.checkpoint.tree;
  for (const ValueId home : {out.checkpoint.attributes, out.checkpoint.root}) {
    if (tree.kind(home) != ValueKind::dict) continue;
    if (const auto* entry = tree.find(home, "optim_state")) out.optim_state = entry->value;
    if (const auto* entry = tree.find(home, "config")) out.config = entry->value;
  }
  return out;
}

}  // namespace

Result<Checkpoint> load_state(const fs::path& path) {
  return guarded([&]() -> Result<Checkpoint> { return open_checkpoint(find_file(path)); });
}

std::vector<Parameter> numbered(std::vector<TensorTarget> targets) {
  std::vector<Parameter> out;
  for (TensorTarget& t : targets) out.push_back({fmt::format("p{}", out.size()), std::move(t)});
  return out;
}

Result<void> save_params(std::span<const Parameter> parameters, const fs::path& path, const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(Checkpoint checkpoint, checkpoint_of(parameters, path));
    return save_opened(std::move(checkpoint), saved_path(path), std::nullopt, options);
  });
}

Result<void> save_checkpoint(std::span<const Parameter> parameters, const fs::path& path,
                             const CheckpointExtras& extras, const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(Checkpoint checkpoint, checkpoint_of(parameters, path));
    Tree& tree = checkpoint.tree;
    std::vector<Tree::Entry> attributes;
    // netcl writes both keys, whatever they hold.
    for (const auto& [name, value] : {std::pair{"optim_state", &extras.optim_state}, {"config", &extras.config}}) {
      const ValueId key = tree.add_string(name);
      ValueId id = 0;
      if (*value) {
        CKPT_TRY(id, (*value)->add_to(tree));
      } else {
        id = tree.add_none();
      }
      if (!contains_tensor(tree, id)[id]) {
        attributes.push_back({key, id});
        continue;
      }
      const auto own = tree.entries(checkpoint.root);
      std::vector<Tree::Entry> entries(own.begin(), own.end());
      entries.push_back({key, id});
      checkpoint.root = tree.add_dict(entries);
    }
    checkpoint.attributes = tree.add_dict(attributes);
    return save_opened(std::move(checkpoint), saved_path(path), std::nullopt, options);
  });
}

Result<void> save_model(const Value& layers, std::span<const Parameter> parameters, const fs::path& path,
                        const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    Tree json;
    CKPT_TRY(const ValueId meta,
             Value::dict({{"type", "Sequential"}, {"config", layers}, {"version", 2}, {"format", "netcl.single-file"}})
                 .add_to(json));
    CKPT_TRY(const std::string text, to_plain_json(json, meta));
    CKPT_TRY(Checkpoint checkpoint, checkpoint_of(parameters, path));
    const auto own = checkpoint.tree.entries(checkpoint.root);
    std::vector<Tree::Entry> entries(own.begin(), own.end());
    const ValueId key = checkpoint.tree.add_string(kArchitecture);
    entries.insert(entries.begin(), {key, checkpoint.tree.add_tensor(text_array(text))});
    checkpoint.root = checkpoint.tree.add_dict(entries);
    return save_opened(std::move(checkpoint), path, Format::netcl, options);
  });
}

Result<MatchReport> load_params(std::span<const Parameter> parameters, const fs::path& path, MatchOptions options) {
  return guarded([&]() -> Result<MatchReport> {
    CKPT_TRY(const Checkpoint checkpoint, load_state(path));
    options.allow_unexpected = true;
    return load_parameters(checkpoint, parameters, options);
  });
}

Result<LoadedCheckpoint> load_checkpoint(std::span<const Parameter> parameters, const fs::path& path,
                                         MatchOptions options) {
  return guarded([&] { return load_with_metadata(parameters, path, std::move(options)); });
}

Result<LoadedCheckpoint> load_model(std::span<const Parameter> parameters, const fs::path& path, MatchOptions options) {
  return guarded([&] { return load_with_metadata(parameters, path, std::move(options)); });
}

}  // namespace netcl::ckpt
