// Where each format keeps the architecture that makes an npz a `.netcl`. The string is what Python's json.loads
// takes: torch.load(PATH)["__netcl_meta__"]. safetensors carries it in the structure document.
#include "format/architecture.h"

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kMaxTextBytes = std::uint64_t{64} << 20;

/// The text of a 0-d array; nothing where the array says more than its text does (padding, surrogates).
Result<std::optional<std::string>> text_of(const Tensor& tensor) {
  if (tensor.dtype.type != ScalarType::unicode || !tensor.shape.empty() || tensor.size_bytes() > kMaxTextBytes) {
    return std::nullopt;
  }
  std::vector<std::byte> characters(tensor.size_bytes());
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  CKPT_CHECK(reader.read(characters));
  std::string text = ucs4_to_utf8(characters);
  if (!is_utf8(text) || utf8_to_ucs4(text) != characters) return std::nullopt;
  return text;
}

}  // namespace

Tensor text_array(std::string_view text) {
  std::vector<std::byte> characters = utf8_to_ucs4(text);
  const std::uint64_t size_bytes = characters.size();
  Tensor tensor;
  tensor.dtype.type = ScalarType::unicode;
  tensor.dtype.item_bytes = size_bytes;
  tensor.storage = file_storage(memory_source(std::move(characters), "text"), 0, size_bytes);
  return tensor;
}

Result<void> place_architecture(Checkpoint& checkpoint, Format target) {
  Tree& tree = checkpoint.tree;
  const Tree::Entry* found = tree.find(checkpoint.root, kArchitecture);
  if (found == nullptr) return {};
  const auto own = tree.entries(checkpoint.root);
  std::vector<Tree::Entry> entries(own.begin(), own.end());
  ValueId& placed = entries[static_cast<std::size_t>(found - own.data())].value;
  if (tree.find(checkpoint.attributes, kArchitecture) != nullptr) {
    std::vector<Tree::Entry> rest;
    for (const Tree::Entry& e : tree.entries(checkpoint.attributes)) {
      if (tree.text(e.key) != kArchitecture) rest.push_back(e);
    }
    checkpoint.attributes = tree.add_dict(rest);
  }

  const bool as_string = target == Format::torch || target == Format::safetensors;
  const bool as_array = target == Format::npz || target == Format::netcl || target == Format::npy_folder;
  const ValueKind kind = tree.kind(placed);
  if (as_string && kind == ValueKind::tensor) {
    CKPT_TRY(const auto text, text_of(tree.tensor(placed)));
    if (!text) return {};
    placed = tree.add_string(*text);
  } else if (as_array && kind == ValueKind::string && is_utf8(tree.text(placed)) &&
             !tree.text(placed).ends_with('\0')) {
    placed = tree.add_tensor(text_array(tree.text(placed)));
  } else {
    return {};
  }
  checkpoint.root = tree.add_dict(entries);
  return {};
}

}  // namespace netcl::ckpt
