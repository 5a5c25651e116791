// netcl's sidecar: save_checkpoint() writes the arrays to NAME.npz and everything else to a JSON file
// beside it, {"optim_state": {…}, "config": {…}}; older netcl kept {"type", "layers"} of a model there.
//
// netcl 0.4.4 names the JSON by Path.with_suffix(), which eats a dotted stem: saving to "run.v2" gives
// run.v2.npz and run.json, and saving "run.v3" then overwrites run.json. So X.json is looked for first,
// and a shortened name only counts where no X.npz of its own claims it and netcl's first words are in it.
//
// The two files are not written atomically, and a real optimizer's arrays stop json.dump() half-way:
// that torn pair is what a user meets most. Whatever is wrong here is a Problem, never an Error:
// the arrays are still good.
#include <algorithm>
#include <map>

#include "base/problem.h"
#include "base/try.h"
#include "format/readers.h"
#include "format/structure_encode.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_text(const fs::path& path, const Limits& limits) {
  CKPT_TRY(const SourcePtr source, open_file(path));
  if (source->size_bytes() > limits.max_json_bytes) {
    return fail(ErrorCode::limit_exceeded, "{} bytes of JSON are more than the limit of {}", source->size_bytes(),
                limits.max_json_bytes);
  }
  std::string text(source->size_bytes(), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);  // not a pipe, which would block
}

using Shape = std::vector<std::uint64_t>;

/// The shape of nested lists of numbers by their first elements; nothing where they are not that.
std::optional<Shape> shape_of(const Tree& tree, ValueId id) {
  Shape shape;
  while (tree.kind(id) == ValueKind::list) {
    const auto items = tree.items(id);
    shape.push_back(items.size());
    if (items.empty()) return shape;
    id = items[0];
  }
  const bool number = tree.kind(id) == ValueKind::real || tree.kind(id) == ValueKind::integer;
  return number ? std::optional(shape) : std::nullopt;
}

/// netcl's optimizers keep one array, or a tuple of them, for each parameter, of the parameter's shape:
/// Adam's "moments" are pairs, SGD's "velocity" and EMA's "shadow" are not. Gives those shapes, one for
/// each parameter; nothing where the state is of another kind.
std::vector<Shape> parameter_shapes(const Tree& tree, ValueId optim_state) {
  std::vector<Shape> shapes;
  for (std::string_view key : {"moments", "velocity", "shadow"}) {
    const Tree::Entry* state = tree.find(optim_state, key);
    if (state == nullptr || tree.kind(state->value) != ValueKind::list) continue;
    for (ValueId parameter : tree.items(state->value)) {
      if (key == "moments") {
        if (tree.kind(parameter) != ValueKind::list || tree.items(parameter).empty()) return {};
        parameter = tree.items(parameter)[0];
      }
      const auto shape = shape_of(tree, parameter);
      if (!shape) return {};
      shapes.push_back(*shape);
    }
    return shapes;
  }
  return shapes;
}

/// A shape of which the optimizer has more than the arrays beside it, if there is one. Fewer is
/// usual: frozen parameters, buffers.
std::optional<Shape> contradiction(const Checkpoint& c, ValueId optim_state, const Limits& limits) {
  const std::vector<Shape> claimed = parameter_shapes(c.tree, optim_state);
  if (claimed.empty()) return std::nullopt;
  const auto arrays = list_tensors(c, limits);
  if (!arrays) return std::nullopt;
  std::map<Shape, std::int64_t> unclaimed;
  for (const NamedTensor& array : *arrays) ++unclaimed[c.tree.tensor(array.value).shape];
  for (const Shape& shape : claimed) {
    if (--unclaimed[shape] < 0) return shape;
  }
  return std::nullopt;
}

}  // namespace

fs::path find_sidecar(const fs::path& npz) {
  if (npz.extension() != ".npz") return {};
  const fs::path own = fs::path(npz).replace_extension(".json");
  if (is_file(own)) return own;
  const fs::path stem = npz.parent_path() / npz.stem();
  const fs::path shortened = fs::path(stem).replace_extension(".json");
  if (!stem.has_extension() || !is_file(shortened) || is_file(fs::path(stem).replace_extension(".npz"))) return {};
  constexpr std::string_view kFirstWords = "{\"optim_state\"";
  std::byte head[kFirstWords.size()];
  const auto source = open_file(shortened);
  if (!source) return shortened;  // what cannot be looked at is not "none": reading it says why
  if (!(*source)->read_at(0, head)) return {};
  const std::string_view text(reinterpret_cast<const char*>(head), sizeof head);
  return text == kFirstWords ? shortened : fs::path{};
}

bool is_netcl_sidecar(const fs::path& path) {
  constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 20;
  constexpr std::string_view kFirstWords = "{\"optim_state\"";  // of one that was cut short too
  const auto source = open_file(path);
  if (!source) return false;
  std::string text(std::min<std::uint64_t>((*source)->size_bytes(), kFirstWords.size()), '\0');
  if (!(*source)->read_at(0, std::as_writable_bytes(std::span(text)))) return false;
  if (text == kFirstWords) return true;
  if ((*source)->size_bytes() > kMaxBytes) return false;
  text.resize((*source)->size_bytes());
  if (!(*source)->read_at(0, std::as_writable_bytes(std::span(text)))) return false;
  Tree tree;
  const auto root = parse_json(text, {}, tree);
  const auto has = [&](std::string_view key) { return tree.find(*root, key) != nullptr; };
  return root && tree.kind(*root) == ValueKind::dict && (has("optim_state") || has("config") || has("layers"));
}

void read_sidecar(const fs::path& path, const OpenOptions& options, Checkpoint& out) {
  const fs::path sidecar = find_sidecar(path);
  if (sidecar.empty()) return;
  const std::string npz_name = path.filename().string();
  const std::string json_name = sidecar.filename().string();
  const auto report = [&](ProblemCode code, std::optional<std::uint64_t> offset_bytes, std::string message) {
    out.problems.push_back(make_problem(code, json_name, offset_bytes, std::move(message)));
  };

  const auto text = read_text(sidecar, options.limits);
  // The npz holds the metadata itself, and the sidecar is a copy; where the two differ, whoever saved died
  // between them, or another save's sidecar was put there.
  if (out.attributes_inside || !out.tree.entries(out.attributes).empty()) {
    const auto own = to_plain_json(out.tree, out.attributes);
    if (!own || !text || *text != *own) {
      report(ProblemCode::stale_sidecar, std::nullopt,
             fmt::format("'{}' is not of the save that wrote '{}'; the metadata inside the npz is used", json_name,
                         npz_name));
    }
    return;
  }
  auto parsed = text ? parse_json(*text, options.limits, out.tree) : tl::make_unexpected(text.error());
  if (!parsed) {
    const Error& e = parsed.error();
    if (could_not_look(e.code)) {
      return report(problem_code(e.code), e.offset_bytes,
                    fmt::format("the sidecar of '{}' was left out: {}", npz_name, e.message));
    }
    if (e.code != ErrorCode::truncated && e.code != ErrorCode::corrupt) {
      return report(ProblemCode::sidecar_unread, e.offset_bytes,
                    fmt::format("the sidecar of '{}' was left out: {}", npz_name, e.message));
    }
    return report(ProblemCode::torn_pair, e.offset_bytes,
                  fmt::format("'{0}' beside '{1}' is {2}: config and optimizer state are lost, the arrays are not; "
                              "save the pair again, or move '{0}' away to use the arrays alone",
                              json_name, npz_name, e.code == ErrorCode::truncated ? "cut short" : "damaged"));
  }
  const auto has = [&](std::string_view key) { return out.tree.find(*parsed, key) != nullptr; };
  if (!has("optim_state") && !has("config") && !has("layers")) {
    return report(
        ProblemCode::foreign_sidecar, std::nullopt,
        fmt::format("'{}' has neither config nor optim_state, so it is not netcl's, and was ignored", json_name));
  }
  if (sidecar.stem() != path.stem()) {
    report(ProblemCode::shared_sidecar, std::nullopt,
           fmt::format("netcl shortens the sidecar's name, so '{}' may be of another checkpoint than '{}'", json_name,
                       npz_name));
  }
  if (const Tree::Entry* state = out.tree.find(*parsed, "optim_state")) {
    if (const auto shape = contradiction(out, state->value, options.limits)) {
      report(ProblemCode::sidecar_mismatch, std::nullopt,
             fmt::format("'{}' was made for other arrays than '{}': its optimizer state has a parameter of shape ({}) "
                         "for which there is no array",
                         json_name, npz_name, fmt::join(*shape, ", ")));
    }
  }
  const auto before = out.tree.entries(out.attributes);
  std::vector<Tree::Entry> entries(before.begin(), before.end());
  const auto added = out.tree.entries(*parsed);
  entries.insert(entries.end(), added.begin(), added.end());
  out.attributes = out.tree.add_dict(entries);
}

}  // namespace netcl::ckpt
