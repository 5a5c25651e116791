// Saving: a program's state becomes a checkpoint whose storages are the program's memory, and convert()
// writes it like any other.
#include "write/save.h"

#include <unistd.h>

#include <future>

#include "base/try.h"
#include "format/file_extension.h"
#include "netcl/ckpt/convert.h"

namespace netcl::ckpt {

namespace fs = std::filesystem;

namespace {

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

Result<void> save_opened(Checkpoint checkpoint, const fs::path& path, std::optional<Format> format,
                         const SaveOptions& options) {
  ConvertOptions convert_options;
  convert_options.to = format;
  convert_options.compression = options.compression;
  convert_options.run = options.run;
  convert_options.verify = options.verify;
  convert_options.replace = true;
  CKPT_TRY([[maybe_unused]] const ConvertReport report, convert(std::move(checkpoint), path, convert_options));
  return options.on_durable ? options.on_durable() : Result<void>();
}

fs::path saved_path(fs::path path) {
  const bool folder = !path.has_filename();              // of npy files
  if (!folder && !written_format(path)) path += ".npz";  // not replace_extension(), which would eat a dotted stem
  return path;
}

Result<void> save_state(const Value& state, const fs::path& path, const SaveOptions& options) {
  return guarded([&]() -> Result<void> {
    Checkpoint checkpoint;
    CKPT_TRY(checkpoint.root, state.add_to(checkpoint.tree));
    checkpoint.attributes = checkpoint.tree.add_dict({});
    return save_opened(std::move(checkpoint), saved_path(path), std::nullopt, options);
  });
}

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
    pending->outcome =
        std::async(std::launch::async, [snapshot, target = saved_path(path), options] {
          return guarded([&] { return save_opened(std::move(*snapshot), target, std::nullopt, options); });
        }).share();
    return PendingSave(std::move(pending));
  });
}

}  // namespace netcl::ckpt
