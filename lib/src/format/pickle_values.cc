// A pickle's symbols as values, and what stands beside them.
#include "format/pickle_values.h"

#include <utility>

#include "base/text.h"
#include "base/try.h"
#include "format/pickle_dtype.h"
#include "format/pickle_interpreter.h"

namespace netcl::ckpt {
namespace {

/// Beside the state, under the names of the quantized tensors: what their integers stand for.
Result<void> add_quantization(const std::unordered_map<ValueId, ValueId>& parameters, ValueId root,
                              const OpenOptions& options, Checkpoint& out) {
  if (parameters.empty()) return {};
  const ValueId whole = std::exchange(out.root, root);
  auto listed = list_tensors(out, options.limits);
  out.root = whole;
  if (!listed) return tl::make_unexpected(std::move(listed.error()));
  std::vector<Tree::Entry> entries;
  for (const NamedTensor& t : *listed) {
    if (const auto it = parameters.find(t.value); it != parameters.end())
      entries.push_back({out.tree.add_string(t.name), it->second});
  }
  std::vector<Tree::Entry> attributes(out.tree.entries(out.attributes).begin(), out.tree.entries(out.attributes).end());
  const ValueId key = out.tree.add_string("quantization");
  attributes.push_back({key, out.tree.add_dict(entries)});
  out.attributes = out.tree.add_dict(attributes);
  return {};
}

}  // namespace

Result<DType> torch_dtype(const PickleGlobal& global) {
  const bool of_torch = global.module == "torch" || global.module == "torch.cuda";
  const auto type = of_torch ? torch_element_type(global.name) : std::nullopt;
  if (!type)
    return fail(ErrorCode::unsupported, "{} is no element type that is known", to_valid_utf8(global.qualified()));
  return make_dtype(*type);
}

Result<ValueId> interpret_pickle(const PickleSource& source, const OpenOptions& options, Checkpoint& out) {
  PickleInterpreter interpreter(source, options, out);
  auto value = interpreter.run();
  if (value) {
    CKPT_CHECK(add_quantization(interpreter.quantization(), *value, options, out));
  }
  if (!value && value.error().member.empty()) value.error().member = source.where;
  return value;
}

}  // namespace netcl::ckpt
