#include "sample.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <fstream>
#include <iterator>

#include "catch.h"
#include "model/tree_walk.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/output_file.h"
#include "write/write_file.h"

namespace netcl::ckpt {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder(const fs::path& below) {
  std::string pattern = (below / "netcl-ckpt-test-XXXXXX").string();
  path = ::mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

fs::path TemporaryFolder::write(std::string_view name, std::string_view bytes) const {
  write_text(path / name, bytes);
  return path / name;
}

std::size_t TemporaryFolder::num_files() const {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_text(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

StoragePtr storage_of(std::span<const std::byte> bytes) {
  return file_storage(memory_source({bytes.begin(), bytes.end()}, "memory"), 0, bytes.size());
}

std::vector<std::byte> elements_of(const Tensor& tensor) {
  std::vector<std::byte> out(tensor.size_bytes());
  auto reader = TensorReader::open(tensor);
  REQUIRE(reader);
  REQUIRE(reader->read(out));
  return out;
}

Checkpoint checkpoint_of(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  Checkpoint c;
  std::vector<Tree::Entry> entries;
  for (const auto& [name, tensor] : tensors) {
    const ValueId key = c.tree.add_string(name);
    entries.push_back({key, c.tree.add_tensor(tensor)});
  }
  c.root = c.tree.add_dict(entries);
  c.attributes = c.tree.add_dict({});
  return c;
}

Checkpoint read_back(const WritePlan& plan) {
  const TemporaryFolder folder;
  auto file = OutputFile::create(folder.path / "out", false);
  REQUIRE(file);
  const auto size = write_file(plan, *file, {});
  INFO((size ? std::string() : size.error().to_string()));
  REQUIRE(size);
  const auto source = file->reopen(*size);
  REQUIRE(source);
  OpenOptions options;
  options.thorough = true;
  auto out = open_checkpoint(*source, "", options);
  INFO((out ? std::string() : out.error().to_string()));
  REQUIRE(out);
  for (const Problem& p : out->problems) FAIL_CHECK(to_string(p.code) << ": " << p.message);
  return std::move(*out);
}

std::string dump(const Tree& tree, ValueId id) {
  auto list = [&](const char* open, const char* close) {
    std::string out = open;
    for (std::size_t i = 0; i < num_children(tree, id); ++i)
      out += (i > 0 ? ", " : "") + dump(tree, child(tree, id, i));
    return out + close;
  };
  switch (tree.kind(id)) {
    case ValueKind::none: return "None";
    case ValueKind::boolean: return tree.boolean(id) ? "True" : "False";
    case ValueKind::integer: return fmt::format("{}", tree.integer(id));
    case ValueKind::big_integer: return std::string(tree.text(id));
    case ValueKind::real: return fmt::format("{}r", tree.real(id));
    case ValueKind::complex: return fmt::format("{}+{}j", tree.real(id), tree.imaginary(id));
    case ValueKind::string: return fmt::format("'{}'", tree.text(id));
    case ValueKind::bytes: return fmt::format("b'{}'", tree.text(id));
    case ValueKind::list: return list("[", "]");
    case ValueKind::tuple: return list("(", ")");
    case ValueKind::set: return list("set(", ")");
    case ValueKind::frozenset: return list("frozenset(", ")");
    case ValueKind::dict: {
      std::string out = "{";
      for (const Tree::Entry& e : tree.entries(id)) {
        out += (out.size() > 1 ? ", " : "") + dump(tree, e.key) + ": " + dump(tree, e.value);
      }
      return out + "}";
    }
    case ValueKind::scalar:
    case ValueKind::tensor: {
      const Tensor& t = tree.tensor(id);
      std::string hex;
      for (const std::byte b : elements_of(t)) hex += fmt::format("{:02x}", static_cast<unsigned>(b));
      return fmt::format("<{} {} ({}) {}>", tree.kind(id) == ValueKind::scalar ? "scalar" : "tensor", t.dtype.name(),
                         fmt::join(t.shape, ", "), hex);
    }
    case ValueKind::name: return fmt::format("name {}", tree.text(id));
    case ValueKind::opaque: return fmt::format("opaque {}", tree.text(id)) + list("(", ")");
  }
  return "";
}

}  // namespace netcl::ckpt
