#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/memory.h"
#include "netcl/ckpt/storage.h"
#include "netcl/ckpt/tensor.h"

// Saving and loading what a program trains, wherever it lives: netcl's calls with their promises kept.
//
//   std::vector<float> weight(6), m(6), v(6);
//   const TensorTarget w = host_target(weight, {2, 3});
//   auto saved = save_state(Value::dict({{"model", Value::dict({{"fc.weight", w}})},
//                                        {"optimizer", AdamState{7, {{host_target(m, {2, 3}), host_target(v, {2,
//                                        3})}}}.value()},
//                                        {"epoch", 3}}),
//                           "run.v2");                         // run.v2.npz
//   auto state = load_state("run.v2");                         // a Checkpoint; no payload is read yet
//   auto report = load_parameters(*state, {{{"fc.weight", w}}}, {.scope = "model"});
//
// What is written opens in netcl 0.4.4, np.load and the others; what they write opens here.

namespace netcl::ckpt {

/// A state as a program builds it: None, bool, int, float, text, an array in memory, and lists, tuples and
/// dicts of these. Copying one copies no array and no container.
/// Throws std::bad_alloc, as the standard containers do. A moved-from one is None.
/// Lifetime: arrays are borrowed, see Memory.
class Value {
 public:
  using Items = std::vector<Value>;
  using Entries = std::vector<std::pair<std::string, Value>>;

  Value() = default;  ///< None
  Value(bool v) : data_(v) {}
  Value(int v) : data_(std::int64_t{v}) {}
  Value(std::int64_t v) : data_(v) {}
  Value(double v) : data_(v) {}
  Value(const char* v) : data_(std::string(v)) {}
  Value(std::string v) : data_(std::move(v)) {}
  Value(TensorTarget v) : data_(std::move(v)) {}
  Value(Tensor v) : data_(std::move(v)) {}
  static Value list(Items items);
  static Value tuple(Items items);
  static Value dict(Entries entries);

  bool is_dict() const;
  /// The dict with `value` under `key`, where it has nothing under it; what is no dict, as it is.
  Value with_default(std::string key, Value value) const;

  /// Adds the value to `tree`.
  /// Errors: invalid_argument for an array whose memory is not of its size; limit_exceeded where it is
  /// nested deeper than a thousand levels.
  Result<ValueId> add_to(Tree& tree) const;

 private:
  struct Container;
  explicit Value(std::shared_ptr<const Container> v) : data_(std::move(v)) {}
  Result<ValueId> add_to(Tree& tree, int depth) const;

  std::variant<std::monostate, bool, std::int64_t, double, std::string, TensorTarget, Tensor,
               std::shared_ptr<const Container>>
      data_;
};

/// The memory of `values` as an array of `shape`.
TensorTarget host_target(std::span<float> values, std::vector<std::uint64_t> shape);

/// An array of a program under its name.
struct Parameter {
  std::string name;
  TensorTarget target;
};

struct SaveOptions {
  /// Stored while training; `fast` or `best` for the checkpoint that is kept.
  CompressionChoice compression = CompressionChoice::none;
  unsigned jobs = 0;                          ///< threads; 0 is one for each core
  bool verify = false;                        ///< read it back and compare before it takes its place
  const std::atomic<bool>* cancel = nullptr;  ///< where it becomes true: `cancelled`, nothing changed
  /// Called when the new file is durable, in the thread that wrote it. What it returns, the save returns.
  std::function<Result<void>()> on_durable;
};

/// Writes the state, atomically and durably, in the format of the path's extension; a path without one of
/// the known extensions gets ".npz" behind all that it has ("run.v2" -> "run.v2.npz"). An existing file is
/// replaced. Afterwards the path names the whole new state; after an error or a crash the whole old one.
/// Errors: those of add_to(), unsupported where the format cannot hold a value, io, device, cancelled.
Result<void> save_state(const Value& state, const std::filesystem::path& path, const SaveOptions& options = {});

/// Opens a saved state; where the path as given is no file, ".npz" is put behind it, and last in the place of
/// what follows its last dot, as netcl does. Reads no payload.
/// Errors: as read_checkpoint().
Result<Checkpoint> load_state(const std::filesystem::path& path);

struct MatchOptions {
  /// A missing, unexpected or different tensor is an error; else it is in the report, and the rest is loaded.
  bool strict = true;
  /// Convert between float16, bfloat16, float32 and float64, as netcl does with all that it loads.
  bool allow_cast = false;
  std::string scope;                   ///< only the tensors below this dotted path ("model"), named from there
  std::string strip_prefix;            ///< taken off the file's names that begin with it ("module.")
  std::string add_prefix;              ///< put before the file's names
  std::vector<std::string> transpose;  ///< globs: the file's matrices are transposed (torch's Linear weights)
  Limits limits;
  LoadOptions load;
};

/// Names as the program has them.
struct MatchReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing;     ///< the program has them, the file does not
  std::vector<std::string> unexpected;  ///< the file has them, the program does not
  std::vector<std::string> mismatched;  ///< another shape or dtype, with both: "w: float32 (2,) for float32 (3,)"
};

/// Loads the checkpoint's tensors into the parameters of the same names, all or nothing: names, dtypes, shapes
/// and checksums are compared before the first byte of any parameter changes.
/// Errors: invalid_argument with all that does not match, in one message, where `strict`; those of
/// load_tensors().
Result<MatchReport> load_parameters(const Checkpoint& checkpoint, std::span<const Parameter> parameters,
                                    const MatchOptions& options = {});

// ---- netcl's calls ----

/// "p0", "p1", …: netcl's names where none are given.
std::vector<Parameter> numbered(std::vector<TensorTarget> targets);

Result<void> save_params(std::span<const Parameter> parameters, const std::filesystem::path& path,
                         const SaveOptions& options = {});
/// As netcl's: tensors that the program does not name are passed over.
Result<MatchReport> load_params(std::span<const Parameter> parameters, const std::filesystem::path& path,
                                MatchOptions options = {});

/// What netcl keeps beside the parameters. The optimizer's arrays are saved as arrays.
struct CheckpointExtras {
  std::optional<Value> optim_state;
  std::optional<Value> config;
};
/// Writes PATH.npz and PATH.json. The two are one commit: the npz holds all of it, and the sidecar is a copy
/// for netcl and for people, which a reader here takes only where it is of the same save.
Result<void> save_checkpoint(std::span<const Parameter> parameters, const std::filesystem::path& path,
                             const CheckpointExtras& extras = {}, const SaveOptions& options = {});

struct LoadedCheckpoint {
  MatchReport report;
  Checkpoint checkpoint;               ///< for the optimizer's arrays: load_parameters() with scope "optim_state"
  std::optional<ValueId> optim_state;  ///< in checkpoint.tree
  std::optional<ValueId> config;
};
Result<LoadedCheckpoint> load_checkpoint(std::span<const Parameter> parameters, const std::filesystem::path& path,
                                         MatchOptions options = {});

/// netcl's single file, exactly at `path`. `layers`: its `config`, a list of {"type": …, "args": {…}};
/// parameters are named "<layer index>:<name>".
Result<void> save_model(const Value& layers, std::span<const Parameter> parameters, const std::filesystem::path& path,
                        const SaveOptions& options = {});
/// The architecture is in the checkpoint's attributes, under "__netcl_meta__".
Result<LoadedCheckpoint> load_model(std::span<const Parameter> parameters, const std::filesystem::path& path,
                                    MatchOptions options = {});

// ---- optimizers, as netcl's state_dict() has them ----

struct AdamState {  ///< Adam and AdamW
  std::int64_t t = 0;
  std::vector<std::pair<TensorTarget, TensorTarget>> moments;  ///< (m, v) in the parameters' order
  Value value() const;
};
struct MomentumState {  ///< SGD; RMSprop keeps its averages likewise
  std::vector<TensorTarget> velocity;
  Value value() const;
};
struct EmaState {
  double decay = 0;
  bool warmup = false;
  std::int64_t step_count = 0;
  std::vector<TensorTarget> shadow;
  Value value() const;
};
/// Fills the arrays and the numbers from the state below the dotted path `scope`, which one of value() made
/// or netcl wrote.
/// Errors: as load_parameters(), strictly.
Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, AdamState& state);
Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, MomentumState& state);
Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, EmaState& state);

// ---- in the background ----

/// A save that goes on while the program does. Errors never get lost: wait() gives them; a handle that is
/// destroyed without wait() waits, and where the save failed ends the program with std::terminate(), as an
/// exception does that nobody catches. In a child after fork() it neither waits nor ends anything.
class PendingSave {
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
Result<PendingSave> save_async(const Value& state, const std::filesystem::path& path, const SaveOptions& options = {});

}  // namespace netcl::ckpt
