// The names, dtypes and shapes that a load asks for, and a checkpoint held to them.
#include "report/expectations.h"

#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/problem.h"
#include "base/try.h"
#include "format/readers.h"

namespace netcl::ckpt {
namespace {

std::string shape_text(std::span<const std::uint64_t> shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

Result<ExpectedTensor> parse_expected(const Tree& tree, std::string_view name, ValueId value) {
  ExpectedTensor out;
  out.name = name;
  ValueId shape = value;
  if (tree.kind(value) == ValueKind::dict) {
    const auto* dtype = tree.find(value, "dtype");
    if (dtype != nullptr && tree.kind(dtype->value) == ValueKind::string) out.dtype = tree.text(dtype->value);
    const auto* entry = tree.find(value, "shape");
    if (entry == nullptr) return fail(ErrorCode::corrupt, "'{}' has no shape", name);
    shape = entry->value;
  }
  if (tree.kind(shape) != ValueKind::list) return fail(ErrorCode::corrupt, "the shape of '{}' is not a list", name);
  for (ValueId d : tree.items(shape)) {
    if (tree.kind(d) != ValueKind::integer || tree.integer(d) < 0) {
      return fail(ErrorCode::corrupt, "the shape of '{}' holds something other than sizes", name);
    }
    out.shape.push_back(static_cast<std::uint64_t>(tree.integer(d)));
  }
  return out;
}

Result<std::vector<ExpectedTensor>> parse_expectations(const Tree& tree, ValueId root) {
  if (tree.kind(root) != ValueKind::dict) return fail(ErrorCode::corrupt, "not an object from tensor name to shape");
  std::vector<ExpectedTensor> out;
  const auto* tensors = tree.find(root, "tensors");
  if (tree.find(root, "schema") != nullptr && tensors != nullptr && tree.kind(tensors->value) == ValueKind::list) {
    for (ValueId t : tree.items(tensors->value)) {
      const auto* name = tree.find(t, "name");
      if (name == nullptr || tree.kind(name->value) != ValueKind::string) {
        return fail(ErrorCode::corrupt, "a tensor has no name");
      }
      CKPT_TRY(auto expected, parse_expected(tree, tree.text(name->value), t));
      out.push_back(std::move(expected));
    }
    return out;
  }
  for (const Tree::Entry& e : tree.entries(root)) {
    CKPT_TRY(auto expected, parse_expected(tree, tree.text(e.key), e.value));
    out.push_back(std::move(expected));
  }
  return out;
}

}  // namespace

void compare_with_expected(const std::vector<ExpectedTensor>& expected, const Tree& tree,
                           const std::vector<NamedTensor>& tensors, Problems& problems) {
  auto add = [&](ProblemCode code, const std::string& where, std::string message) {
    problems.push_back(make_problem(code, where, std::nullopt, std::move(message)));
  };
  std::unordered_map<std::string_view, ValueId> found;
  for (const NamedTensor& t : tensors) found.emplace(t.name, t.value);
  for (const ExpectedTensor& e : expected) {
    const auto it = found.find(e.name);
    if (it == found.end()) {
      add(ProblemCode::missing_tensor, e.name,
          fmt::format("expected {} {}, not in the file", e.dtype, shape_text(e.shape)));
      continue;
    }
    const Tensor& t = tree.tensor(it->second);
    found.erase(it);
    if (t.shape != e.shape) {
      add(ProblemCode::shape_mismatch, e.name,
          fmt::format("shape {}, expected {}", shape_text(t.shape), shape_text(e.shape)));
    }
    if (!e.dtype.empty() && t.dtype.name() != e.dtype) {
      add(ProblemCode::dtype_mismatch, e.name, fmt::format("dtype {}, expected {}", t.dtype.name(), e.dtype));
    }
  }
  for (const NamedTensor& t : tensors) {
    if (found.contains(t.name)) add(ProblemCode::unexpected_tensor, t.name, "not among the expected tensors");
  }
}

Result<std::vector<ExpectedTensor>> expectations_of(const Checkpoint& checkpoint, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<ExpectedTensor>> {
    CKPT_TRY(const auto tensors, list_tensors(checkpoint, limits));
    std::vector<ExpectedTensor> out;
    for (const NamedTensor& t : tensors) {
      const Tensor& tensor = checkpoint.tree.tensor(t.value);
      out.push_back({t.name, tensor.dtype.name(), tensor.shape});
    }
    return out;
  });
}

Result<std::vector<ExpectedTensor>> read_expectations(const std::filesystem::path& path, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<ExpectedTensor>> {
    CKPT_TRY(const JsonFile json, read_json_file(path, limits));
    return in_file(parse_expectations(json.tree, json.root), path.string());
  });
}

}  // namespace netcl::ckpt
