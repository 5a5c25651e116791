// Loading: the file's tensors are paired with the program's by name, and only when all of them fit is the
// first byte moved.
#include <algorithm>
#include <unordered_map>

#include "base/glob.h"
#include "base/try.h"
#include "model/cast.h"
#include "model/dtype.h"
#include "netcl/ckpt/format.h"
#include "netcl/ckpt/save.h"
#include "ops/architecture.h"

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

std::string describe(const DType& dtype, std::span<const std::uint64_t> shape) {
  return fmt::format("{} ({}{})", dtype.name(), fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

/// The value at a dotted path of dict keys and list indices.
std::optional<ValueId> find_value(const Tree& tree, ValueId root, std::string_view path) {
  std::optional<ValueId> at = root;
  while (at && !path.empty()) {
    const std::string step(path.substr(0, path.find('.')));
    path.remove_prefix(std::min(path.size(), step.size() + 1));
    if (tree.kind(*at) == ValueKind::dict) {
      const Tree::Entry* entry = tree.find(*at, step);
      at = entry == nullptr ? std::nullopt : std::optional(entry->value);
    } else {
      at = std::nullopt;
    }
  }
  return at;
}

std::string joined(const char* what, const std::vector<std::string>& names) {
  return names.empty() ? "" : fmt::format("{}{}: {}", what, names.size() == 1 ? "" : "s", fmt::join(names, ", "));
}

/// All that does not match, as one message.
tl::unexpected<Error> mismatch(const Checkpoint& checkpoint, const MatchReport& report) {
  std::string message = "the file does not match the parameters";
  const char* separator = ": ";
  for (const std::string& part : {joined("missing name", report.missing), joined("unexpected name", report.unexpected),
                                  joined("mismatched tensor", report.mismatched)}) {
    if (part.empty()) continue;
    message += separator + part;
    separator = "; ";
  }
  Error e;
  e.code = ErrorCode::invalid_argument;
  e.file = checkpoint.path;
  e.message = std::move(message);
  return tl::make_unexpected(std::move(e));
}

Result<MatchReport> match_and_load(const Checkpoint& checkpoint, std::span<const Parameter> parameters,
                                   const MatchOptions& options, bool ignore_unexpected) {
  CKPT_TRY(const auto named, list_tensors(checkpoint, options.limits));
  std::unordered_map<std::string, Tensor> file;
  std::vector<std::string> order;
  const std::string below = options.scope.empty() ? "" : options.scope + ".";
  for (const NamedTensor& t : named) {
    if (!t.name.starts_with(below)) continue;
    std::string name = t.name.substr(below.size());
    if (name == kArchitecture) continue;
    if (name.starts_with(options.strip_prefix)) name.erase(0, options.strip_prefix.size());
    name.insert(0, options.add_prefix);
    Tensor tensor = checkpoint.tree.tensor(t.value);
    const auto matches = [&](const std::string& glob) { return glob_match(glob, name); };
    if (tensor.shape.size() == 2 && tensor.strides.size() == 2 &&
        std::any_of(options.transpose.begin(), options.transpose.end(), matches)) {
      std::swap(tensor.shape[0], tensor.shape[1]);
      std::swap(tensor.strides[0], tensor.strides[1]);
    }
    if (!file.emplace(name, std::move(tensor)).second)
      return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "two tensors of the file get this name");
    order.push_back(std::move(name));
  }

  MatchReport report;
  std::vector<TensorLoad> loads;
  const auto overflows = std::make_shared<OverflowCount>(0);
  for (const Parameter& p : parameters) {
    const auto found = file.find(p.name);
    if (found == file.end()) {
      report.missing.push_back(p.name);
      continue;
    }
    Tensor tensor = std::move(found->second);
    file.erase(found);
    const DType &has = tensor.dtype, &wants = p.target.dtype;
    const bool castable = options.allow_cast && is_castable(has.type) && is_castable(wants.type);
    const bool same_dtype = little_endian(has) == little_endian(wants);
    if (tensor.shape != p.target.shape || !tensor.storage || (!same_dtype && !castable)) {
      report.mismatched.push_back(
          fmt::format("{}: {} for {}", p.name, describe(has, tensor.shape), describe(wants, p.target.shape)));
      continue;
    }
    if (!same_dtype) tensor = cast_tensor(std::move(tensor), wants.type, overflows);
    loads.push_back({std::move(tensor), p.target, p.name});
    report.loaded.push_back(p.name);
  }
  for (const std::string& name : order) {
    if (file.contains(name)) report.unexpected.push_back(name);
  }
  const bool unexpected = !ignore_unexpected && !report.unexpected.empty();
  if (options.strict && (!report.missing.empty() || !report.mismatched.empty() || unexpected)) {
    if (!unexpected) report.unexpected.clear();
    return mismatch(checkpoint, report);
  }
  CKPT_CHECK(load_tensors(loads, options.load));
  return report;
}

Result<std::int64_t> number_at(const Checkpoint& checkpoint, const std::string& scope, const char* name) {
  const auto parent = find_value(checkpoint.tree, checkpoint.root, scope);
  const Tree::Entry* entry =
      parent && checkpoint.tree.kind(*parent) == ValueKind::dict ? checkpoint.tree.find(*parent, name) : nullptr;
  if (entry == nullptr || (checkpoint.tree.kind(entry->value) != ValueKind::integer &&
                           checkpoint.tree.kind(entry->value) != ValueKind::boolean)) {
    return fail_at(ErrorCode::invalid_argument, scope, std::nullopt, "the optimizer's state has no number '{}'", name);
  }
  return checkpoint.tree.kind(entry->value) == ValueKind::boolean ? checkpoint.tree.boolean(entry->value)
                                                                  : checkpoint.tree.integer(entry->value);
}

Result<void> load_arrays(const Checkpoint& checkpoint, const std::string& scope,
                         const std::vector<Parameter>& parameters) {
  MatchOptions options;
  options.scope = scope;
  CKPT_TRY([[maybe_unused]] const MatchReport report, load_parameters(checkpoint, parameters, options));
  return {};
}

std::vector<Parameter> listed(const char* name, const std::vector<TensorTarget>& targets) {
  std::vector<Parameter> out;
  for (std::size_t i = 0; i < targets.size(); ++i) out.push_back({fmt::format("{}.{}", name, i), targets[i]});
  return out;
}

Result<LoadedCheckpoint> load_with_metadata(std::span<const Parameter> parameters, const fs::path& path,
                                            const MatchOptions& options) {
  CKPT_TRY(Checkpoint checkpoint, load_state(path));
  // The optimizer's arrays are not the program's to name.
  CKPT_TRY(MatchReport report, match_and_load(checkpoint, parameters, options, true));
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
  return guarded([&]() -> Result<Checkpoint> { return read_checkpoint(find_file(path)); });
}

Result<MatchReport> load_parameters(const Checkpoint& checkpoint, std::span<const Parameter> parameters,
                                    const MatchOptions& options) {
  return guarded([&] { return match_and_load(checkpoint, parameters, options, false); });
}

Result<MatchReport> load_params(std::span<const Parameter> parameters, const fs::path& path, MatchOptions options) {
  return guarded([&]() -> Result<MatchReport> {
    CKPT_TRY(const Checkpoint checkpoint, load_state(path));
    return match_and_load(checkpoint, parameters, options, true);
  });
}

Result<LoadedCheckpoint> load_checkpoint(std::span<const Parameter> parameters, const fs::path& path,
                                         MatchOptions options) {
  return guarded([&] { return load_with_metadata(parameters, path, options); });
}

Result<LoadedCheckpoint> load_model(std::span<const Parameter> parameters, const fs::path& path, MatchOptions options) {
  return guarded([&] { return load_with_metadata(parameters, path, options); });
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, AdamState& state) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(const std::int64_t t, number_at(checkpoint, scope, "t"));
    std::vector<Parameter> arrays;
    for (std::size_t i = 0; i < state.moments.size(); ++i) {
      arrays.push_back({fmt::format("moments.{}.0", i), state.moments[i].first});
      arrays.push_back({fmt::format("moments.{}.1", i), state.moments[i].second});
    }
    CKPT_CHECK(load_arrays(checkpoint, scope, arrays));
    state.t = t;
    return {};
  });
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, MomentumState& state) {
  return guarded([&] { return load_arrays(checkpoint, scope, listed("velocity", state.velocity)); });
}

Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, EmaState& state) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(const std::int64_t step_count, number_at(checkpoint, scope, "step_count"));
    CKPT_TRY(const std::int64_t warmup, number_at(checkpoint, scope, "warmup"));
    const auto decay = find_value(checkpoint.tree, checkpoint.root, scope + ".decay");
    if (!decay || checkpoint.tree.kind(*decay) != ValueKind::real)
      return fail_at(ErrorCode::invalid_argument, scope, std::nullopt, "the EMA's state has no decay");
    CKPT_CHECK(load_arrays(checkpoint, scope, listed("shadow", state.shadow)));
    state.step_count = step_count;
    state.warmup = warmup != 0;
    state.decay = checkpoint.tree.real(*decay);
    return {};
  });
}

}  // namespace netcl::ckpt
