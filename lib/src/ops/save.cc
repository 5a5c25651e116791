// Saving: a program's state becomes a checkpoint whose storages are the program's memory, and convert()
// writes it like any other.
//
// One commit for netcl's pair: the npz carries its metadata inside, where NumPy and netcl pass over it, and
// is put in place in one step; the sidecar follows as a copy. Whoever dies between the two leaves an old
// copy beside a new npz, and the reader knows it by its text, which is not what the npz says.
#include "netcl/ckpt/save.h"

#include <unistd.h>

#include <algorithm>
#include <future>

#include "base/text.h"
#include "base/try.h"
#include "format/structure.h"
#include "model/tree.h"
#include "netcl/ckpt/convert.h"
#include "ops/architecture.h"
#include "ops/checkpoint_name.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

Result<void> write(Checkpoint checkpoint, const fs::path& path, std::optional<Format> format,
                   const SaveOptions& options) {
  ConvertOptions convert_options;
  convert_options.to = format;
  convert_options.compression = options.compression;
  convert_options.jobs = options.jobs;
  convert_options.verify = options.verify;
  convert_options.cancel = options.cancel;
  convert_options.replace = true;
  CKPT_TRY([[maybe_unused]] const ConvertReport report, convert(std::move(checkpoint), path, convert_options));
  return options.on_durable ? options.on_durable() : Result<void>();
}

fs::path with_extension(fs::path path) {
  const bool folder = !path.has_filename();              // of npy files
  if (!folder && !written_format(path)) path += ".npz";  // not replace_extension(), which would eat a dotted stem
  return path;
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

/// A tensor's bytes in memory of their own.
Result<Tensor> copied(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.size_bytes());
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  CKPT_CHECK(reader.read(bytes));
  Tensor out = tensor;
  out.dtype.big_endian = false;
  out.strides = c_strides(out.shape);
  out.offset_bytes = 0;
  out.storage = file_storage(memory_source(std::move(bytes), "snapshot"), 0, tensor.size_bytes());
  return out;
}

}  // namespace

TensorTarget host_target(std::span<float> values, std::vector<std::uint64_t> shape) {
  return {make_dtype(ScalarType::float32), std::move(shape), std::as_writable_bytes(values)};
}

/// What a list, tuple or dict holds, shared by the copies of its Value.
struct Value::Container {
  ValueKind kind;
  Items items;
  Entries entries;

  Container(ValueKind k, Items i, Entries e) : kind(k), items(std::move(i)), entries(std::move(e)) {}
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  /// What is nested goes one after another, not by recursion: a state may be nested as deep as memory is large.
  ~Container() {
    thread_local Items* pending = nullptr;
    Items own;
    const bool outermost = pending == nullptr;
    if (outermost) pending = &own;
    const auto put_off = [](Value& value) {
      if (!std::holds_alternative<std::shared_ptr<const Container>>(value.data_)) return;
      try {
        pending->push_back(std::move(value));
      } catch (const std::bad_alloc&) {
        // Then it is destroyed here and now.
      }
    };
    for (Value& item : items) put_off(item);
    for (auto& entry : entries) put_off(entry.second);
    if (!outermost) return;
    while (!own.empty()) {
      const Value next = std::move(own.back());
      own.pop_back();
    }
    pending = nullptr;
  }
};

Value Value::list(Items items) {
  return Value(std::make_shared<const Container>(ValueKind::list, std::move(items), Entries()));
}

Value Value::tuple(Items items) {
  return Value(std::make_shared<const Container>(ValueKind::tuple, std::move(items), Entries()));
}

Value Value::dict(Entries entries) {
  return Value(std::make_shared<const Container>(ValueKind::dict, Items(), std::move(entries)));
}

bool Value::is_dict() const {
  const auto* container = std::get_if<std::shared_ptr<const Container>>(&data_);
  return container != nullptr && *container && (*container)->kind == ValueKind::dict;
}

Value Value::with_default(std::string key, Value value) const {
  if (!is_dict()) return *this;
  Entries entries = std::get<std::shared_ptr<const Container>>(data_)->entries;
  const auto is_key = [&](const auto& entry) { return entry.first == key; };
  if (std::any_of(entries.begin(), entries.end(), is_key)) return *this;
  entries.emplace_back(std::move(key), std::move(value));
  return dict(std::move(entries));
}

Result<ValueId> Value::add_to(Tree& tree) const {
  return guarded([&] { return add_to(tree, 0); });
}

Result<ValueId> Value::add_to(Tree& tree, int depth) const {
  constexpr int kMaxDepth = 1000;
  if (depth > kMaxDepth) return fail(ErrorCode::limit_exceeded, "the state is nested deeper than {} levels", kMaxDepth);
  if (const auto* v = std::get_if<bool>(&data_)) return tree.add_boolean(*v);
  if (const auto* v = std::get_if<std::int64_t>(&data_)) return tree.add_integer(*v);
  if (const auto* v = std::get_if<double>(&data_)) return tree.add_real(*v);
  if (const auto* v = std::get_if<std::string>(&data_)) return tree.add_string(*v);
  if (const auto* v = std::get_if<Tensor>(&data_)) return tree.add_tensor(*v);
  if (const auto* v = std::get_if<TensorTarget>(&data_)) {
    CKPT_TRY(Tensor tensor, view_of(*v));
    return tree.add_tensor(std::move(tensor));
  }
  const auto* container = std::get_if<std::shared_ptr<const Container>>(&data_);
  if (container == nullptr || !*container) return tree.add_none();
  std::vector<ValueId> items;
  for (const Value& item : (*container)->items) {
    CKPT_TRY(const ValueId id, item.add_to(tree, depth + 1));
    items.push_back(id);
  }
  std::vector<Tree::Entry> entries;
  for (const auto& [name, value] : (*container)->entries) {
    const ValueId key = tree.add_string(name);
    CKPT_TRY(const ValueId id, value.add_to(tree, depth + 1));
    entries.push_back({key, id});
  }
  return (*container)->kind == ValueKind::dict ? tree.add_dict(entries) : tree.add_sequence((*container)->kind, items);
}

Result<void> save_state(const Value& state, const fs::path& path, const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    Checkpoint checkpoint;
    CKPT_TRY(checkpoint.root, state.add_to(checkpoint.tree));
    checkpoint.attributes = checkpoint.tree.add_dict({});
    return write(std::move(checkpoint), with_extension(path), std::nullopt, options);
  });
}

std::vector<Parameter> numbered(std::vector<TensorTarget> targets) {
  std::vector<Parameter> out;
  for (TensorTarget& t : targets) out.push_back({fmt::format("p{}", out.size()), std::move(t)});
  return out;
}

Result<void> save_params(std::span<const Parameter> parameters, const fs::path& path, const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    CKPT_TRY(Checkpoint checkpoint, checkpoint_of(parameters, path));
    return write(std::move(checkpoint), with_extension(path), std::nullopt, options);
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
    return write(std::move(checkpoint), with_extension(path), std::nullopt, options);
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
    return write(std::move(checkpoint), path, Format::netcl, options);
  });
}

Value AdamState::value() const {
  Value::Items pairs;
  for (const auto& [m, v] : moments) pairs.push_back(Value::tuple({m, v}));
  return Value::dict({{"t", t}, {"moments", Value::list(std::move(pairs))}});
}

Value MomentumState::value() const {
  return Value::dict({{"velocity", Value::list(Value::Items(velocity.begin(), velocity.end()))}});
}

Value EmaState::value() const {
  return Value::dict({{"decay", decay},
                      {"warmup", warmup},
                      {"step_count", step_count},
                      {"shadow", Value::list(Value::Items(shadow.begin(), shadow.end()))}});
}

// ---- in the background ----

struct PendingSave::State {
  const pid_t owner = ::getpid();
  std::shared_future<Result<void>> outcome;
  bool claimed = false;
};

PendingSave::PendingSave(std::unique_ptr<State> state) : state_(std::move(state)) {}
PendingSave::PendingSave(PendingSave&&) noexcept = default;
PendingSave::~PendingSave() {
  // A child after fork() has no thread to wait for.
  if (state_ && ::getpid() != state_->owner) static_cast<void>(state_.release());
  if (state_ && !state_->claimed && !state_->outcome.get()) std::terminate();
}

Result<void> PendingSave::wait() {
  if (!state_) return fail(ErrorCode::invalid_argument, "this save was moved from");
  if (::getpid() != state_->owner)
    return fail(ErrorCode::invalid_argument, "this save is process {}'s, and goes on there", state_->owner);
  state_->claimed = true;
  return state_->outcome.get();
}

bool PendingSave::done() const {
  return !state_ || state_->outcome.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

Result<PendingSave> save_async(const Value& state, const fs::path& path, const SaveOptions& options) {
  return guarded([&]() -> Result<PendingSave> {
    auto snapshot = std::make_shared<Checkpoint>();
    CKPT_TRY(snapshot->root, state.add_to(snapshot->tree));
    for (Tensor& tensor : snapshot->tree.tensors()) {
      CKPT_TRY(tensor, copied(tensor));
    }
    snapshot->attributes = snapshot->tree.add_dict({});
    auto pending = std::make_unique<PendingSave::State>();
    pending->outcome = std::async(std::launch::async, [snapshot, target = with_extension(path), options] {
                         return guarded([&] { return write(std::move(*snapshot), target, std::nullopt, options); });
                       }).share();
    return PendingSave(std::move(pending));
  });
}

}  // namespace netcl::ckpt
