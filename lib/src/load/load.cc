// Loading: the file's tensors are paired with the program's by name, and only when all of them fit is the
// first byte moved.
#include "netcl/ckpt/load.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/glob.h"
#include "base/try.h"
#include "load/host_load.h"
#include "model/cast.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

std::string describe(const DType& dtype, std::span<const std::uint64_t> shape) {
  return fmt::format("{} ({}{})", dtype.name(), fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
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
                                   const MatchOptions& options) {
  CKPT_TRY(const auto named, list_tensors(checkpoint, options.limits));
  std::unordered_map<std::string, Tensor> file;
  std::vector<std::string> order;
  const std::string below = options.scope.empty() ? "" : options.scope + ".";
  for (const NamedTensor& t : named) {
    if (!t.name.starts_with(below)) continue;
    std::string name = t.name.substr(below.size());
    if (name.starts_with(options.strip_prefix)) name.erase(0, options.strip_prefix.size());
    name.insert(0, options.add_prefix);
    Tensor tensor = checkpoint.tree.tensor(t.value);
    if (tensor.shape.size() == 2 && tensor.strides.size() == 2 && matches_any(options.transpose, name)) {
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
    const auto it = file.find(name);
    const bool text = it != file.end() && it->second.dtype.type == ScalarType::unicode;  // a `.netcl`'s architecture
    if (it != file.end() && !text) report.unexpected.push_back(name);
  }
  const bool unexpected = !options.allow_unexpected && !report.unexpected.empty();
  if (options.strict && (!report.missing.empty() || !report.mismatched.empty() || unexpected)) {
    if (!unexpected) report.unexpected.clear();
    return mismatch(checkpoint, report);
  }
  CKPT_CHECK(load_tensors(loads, options.run));
  return report;
}

}  // namespace

Result<void> load_tensors(std::span<const TensorLoad> loads, const Run& run) {
  return guarded([&]() -> Result<void> {
    // One group for the process's own memory and one for each device.
    std::map<const void*, std::vector<TensorLoad>> groups;
    for (const TensorLoad& load : loads) {
      const auto* memory = std::get_if<DeviceMemory>(&load.to.memory);
      if (memory != nullptr && !memory->allocation) {
        return fail_at(ErrorCode::invalid_argument, load.name, std::nullopt, "its target has no memory");
      }
      groups[memory == nullptr ? nullptr : memory->allocation->device()].push_back(load);
    }
    std::vector<std::unique_ptr<PreparedLoad>> prepared;
    for (const auto& [device, group] : groups) {
      if (device != nullptr) {
        const auto& allocation = std::get<DeviceMemory>(group.front().to.memory).allocation;
        CKPT_TRY(auto load, allocation->prepare(group, run));
        prepared.push_back(std::move(load));
        continue;
      }
      CKPT_TRY(auto load, prepare_host_load(group, run));
      prepared.push_back(std::move(load));
    }
    for (const auto& load : prepared) CKPT_CHECK(load->commit());
    return {};
  });
}

Result<MatchReport> load_parameters(const Checkpoint& checkpoint, std::span<const Parameter> parameters,
                                    const MatchOptions& options) {
  return guarded([&] { return match_and_load(checkpoint, parameters, options); });
}

}  // namespace netcl::ckpt
