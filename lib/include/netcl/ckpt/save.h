#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/storage.h"
#include "netcl/ckpt/value.h"

// Saving what a program trains, wherever it lives. load.h loads it, netcl.h has netcl's own calls.
//
//   std::vector<float> weight(6), m(6), v(6);
//   const TensorTarget w = host_target(weight, {2, 3});
//   AdamState adam{7, {{host_target(m, {2, 3}), host_target(v, {2, 3})}}};
//   auto saved = save_state({{"model", {{"fc.weight", w}}}, {"optimizer", adam.value()}, {"epoch", 3}}, "run.v2");
//   auto state = load_state("run.v2");  // of run.v2.npz, as a Checkpoint; no payload is read yet
//   auto report = load_parameters(*state, {{{"fc.weight", w}}}, {.scope = "model"});
//
// What is written opens in netcl 0.4.4, np.load and the others; what they write opens here.

namespace netcl::ckpt {

struct SaveOptions {
  /// Stored while training; `fast` or `best` for the checkpoint that is kept.
  CompressionChoice compression = CompressionChoice::none;
  bool verify = false;  ///< read it back and compare before it takes its place
  Run run;
  /// Called when the new file is durable, in the thread that wrote it. What it returns, the save returns.
  std::function<Result<void>()> on_durable;
};

/// Writes the state, atomically and durably, in the format of the path's extension; a path without one of
/// the known extensions gets ".npz" behind all that it has ("run.v2" -> "run.v2.npz"). An existing file is
/// replaced. Afterwards the path names the whole new state; after an error or a crash the whole old one.
/// Errors: those of add_to(), unsupported if the format cannot hold a value, io, device, cancelled.
NETCL_CKPT_EXPORT Result<void> save_state(const Value& state, const std::filesystem::path& path,
                                          const SaveOptions& options = {});

/// A save that goes on while the program does. Errors never get lost: wait() gives them; a handle that is
/// destroyed without wait() waits, and if the save failed ends the program with std::terminate(), as an
/// exception does that nobody catches. In a child after fork() it neither waits nor ends anything.
class NETCL_CKPT_EXPORT PendingSave {
 public:
  PendingSave(PendingSave&&) noexcept;
  PendingSave& operator=(PendingSave&&) = delete;
  ~PendingSave();
  /// Returns when the save is done. A second call returns the same.
  /// Errors: of the save; invalid_argument in a child after fork().
  Result<void> wait();
  bool done() const;

 private:
  friend Result<PendingSave> save_async(const Value&, const std::filesystem::path&, const SaveOptions&);
  struct State;
  explicit PendingSave(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Copies every array into memory of its own and returns; the file is written by another thread.
/// Errors: out_of_memory and those of reading the arrays; those of writing come from wait().
NETCL_CKPT_EXPORT Result<PendingSave> save_async(const Value& state, const std::filesystem::path& path,
                                                 const SaveOptions& options = {});

}  // namespace netcl::ckpt
