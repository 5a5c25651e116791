// index.json: {"schema": "netcl-ckpt.index/1", "checkpoints": [{"name", "size_bytes", "modified_ns", "changed_ns",
// "inode", "step", "epoch", "metrics"}, …]}, written by the manager, in one step.
//
// Size, times and inode say that a file is the one that was looked at, except where it was replaced within one tick of
// the file system's clock (4 ms before Linux 6.13, 2 s of FAT), which may give it the same ones. What is as young as
// the youngest entry may be of the tick in which the look was made, and is looked at again, as git does it ("racy
// git"). Whoever replaces an older one after that look gives it a later time of change, which nobody can set back.
#include "run/checkpoint_index.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "base/try.h"
#include "format/readers.h"
#include "model/scalar.h"
#include "netcl/ckpt/output_file.h"
#include "netcl/ckpt/source.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSchema = "netcl-ckpt.index/1";
constexpr std::string_view kBeginning = "{\"schema\": \"netcl-ckpt.index/1\",";

std::string beginning_of(const fs::path& path) {
  std::string out(kBeginning.size(), '\0');
  const auto source = open_file(path);
  const bool read = source && (*source)->read_at(0, std::as_writable_bytes(std::span(out)));
  return read ? out : "";
}

std::optional<std::int64_t> integer_at(const Tree& tree, ValueId dict, std::string_view key) {
  const Tree::Entry* e = tree.find(dict, key);
  return e != nullptr && tree.kind(e->value) == ValueKind::integer ? std::optional(tree.integer(e->value))
                                                                   : std::nullopt;
}

std::optional<CheckpointInfo> parse(const Tree& tree, ValueId dict) {
  if (tree.kind(dict) != ValueKind::dict) return std::nullopt;
  const Tree::Entry *name = tree.find(dict, "name"), *metrics = tree.find(dict, "metrics");
  const auto size = integer_at(tree, dict, "size_bytes"), modified = integer_at(tree, dict, "modified_ns"),
             changed = integer_at(tree, dict, "changed_ns"), inode = integer_at(tree, dict, "inode");
  const bool complete =
      name != nullptr && tree.kind(name->value) == ValueKind::string && size && modified && changed && inode;
  if (!complete) return std::nullopt;
  CheckpointInfo out;
  out.path = tree.text(name->value);
  out.size_bytes = static_cast<std::uint64_t>(*size);
  out.modified_ns = *modified;
  out.changed_ns = *changed;
  out.inode = static_cast<std::uint64_t>(*inode);
  if (const auto n = integer_at(tree, dict, "step")) out.step = static_cast<std::uint64_t>(*n);
  if (const auto n = integer_at(tree, dict, "epoch")) out.epoch = static_cast<std::uint64_t>(*n);
  if (metrics != nullptr && tree.kind(metrics->value) == ValueKind::dict) {
    for (const Tree::Entry& m : tree.entries(metrics->value)) {
      const auto value = number_of(tree, m.value);
      if (value && tree.kind(m.key) == ValueKind::string) out.metrics.emplace_back(tree.text(m.key), *value);
    }
  }
  out.validity = Validity::valid;
  return out;
}

Result<CheckpointIndex> read_index(const fs::path& path, std::unordered_map<std::string, CheckpointInfo>& by_name,
                                   std::string& text) {
  Limits limits;
  limits.max_json_bytes = std::uint64_t{64} << 20;
  CKPT_TRY(JsonFile json, read_json_file(path, limits));
  text = std::move(json.text);
  const Tree& tree = json.tree;
  const Tree::Entry *schema = tree.find(json.root, "schema"), *list = tree.find(json.root, "checkpoints");
  if (schema == nullptr || tree.kind(schema->value) != ValueKind::string || tree.text(schema->value) != kSchema ||
      list == nullptr || tree.kind(list->value) != ValueKind::list)
    return fail(ErrorCode::corrupt, "not an index of netcl-ckpt");
  for (const ValueId item : tree.items(list->value)) {
    if (auto info = parse(tree, item)) by_name.insert_or_assign(info->path.string(), std::move(*info));
  }
  return CheckpointIndex();
}

/// JSON has no NaN; a metric that is none says nothing.
std::string to_json(const Metrics& metrics) {
  std::string out;
  for (const auto& [name, value] : metrics) {
    if (value - value == 0) out += fmt::format("{}{}: {:.17g}", out.empty() ? "" : ", ", json_string(name), value);
  }
  return "{" + out + "}";
}

std::string to_json(const CheckpointInfo& info, const std::string& name) {
  // Signed, as the numbers of the reader's tree are.
  std::string out = fmt::format(
      "{{\"name\": {}, \"size_bytes\": {}, \"modified_ns\": {}, \"changed_ns\": {}, \"inode\": {}", json_string(name),
      info.size_bytes, info.modified_ns, info.changed_ns, static_cast<std::int64_t>(info.inode));
  if (info.step) out += fmt::format(", \"step\": {}", *info.step);
  if (info.epoch) out += fmt::format(", \"epoch\": {}", *info.epoch);
  return out + ", \"metrics\": " + to_json(info.metrics) + "}";
}

}  // namespace

CheckpointIndex CheckpointIndex::read(const fs::path& directory) {
  CheckpointIndex out;
  const auto done = guarded([&] { return read_index(directory / kFileName, out.by_name_, out.text_); });
  if (!done) return {};
  out.find_youngest();
  return out;
}

void CheckpointIndex::find_youngest() {
  youngest_ns_ = std::numeric_limits<std::int64_t>::min();
  for (const auto& [name, info] : by_name_) youngest_ns_ = std::max(youngest_ns_, info.changed_ns);
}

bool CheckpointIndex::recall(CheckpointInfo& checkpoint) const {
  const auto it = by_name_.find(checkpoint.path.filename().string());
  if (it == by_name_.end() || checkpoint.is_folder) return false;
  const CheckpointInfo& seen = it->second;
  const bool same = seen.size_bytes == checkpoint.size_bytes && seen.modified_ns == checkpoint.modified_ns &&
                    seen.changed_ns == checkpoint.changed_ns && seen.inode == checkpoint.inode;
  if (!same || seen.changed_ns >= youngest_ns_) return false;
  checkpoint.step = seen.step;
  checkpoint.epoch = seen.epoch;
  checkpoint.metrics = seen.metrics;
  checkpoint.validity = Validity::valid;
  return true;
}

Result<void> CheckpointIndex::update(const fs::path& directory, const std::vector<CheckpointInfo>& checkpoints) {
  by_name_.clear();
  std::string text = fmt::format("{}\n \"checkpoints\": [", kBeginning);
  const char* separator = "\n  ";
  for (const CheckpointInfo& info : checkpoints) {
    const std::string name = info.path.filename().string();
    if (info.validity != Validity::valid || info.is_folder || !is_utf8(name)) continue;
    by_name_.emplace(name, info);
    text += separator + to_json(info, name);
    separator = ",\n  ";
  }
  find_youngest();
  text += "]}\n";
  if (text == text_) return {};
  const fs::path path = directory / kFileName;
  std::error_code ignored;
  if (fs::exists(path, ignored) && beginning_of(path) != kBeginning) {
    return fail_in(path.string(), ErrorCode::invalid_argument,
                   "is not the index of a checkpoint manager; give the run its own folder");
  }
  CKPT_TRY(OutputFile file, OutputFile::create(path, true));
  CKPT_CHECK(file.write_at(0, std::as_bytes(std::span(text))));
  CKPT_CHECK(file.commit(text.size()));
  text_ = std::move(text);
  return {};
}

}  // namespace netcl::ckpt
