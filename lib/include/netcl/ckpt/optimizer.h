#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/memory.h"
#include "netcl/ckpt/value.h"

// Optimizers' states, as netcl's state_dict() has them.

namespace netcl::ckpt {

struct NETCL_CKPT_EXPORT AdamState {  ///< Adam and AdamW
  std::int64_t t = 0;
  std::vector<std::pair<TensorTarget, TensorTarget>> moments;  ///< (m, v) in the parameters' order
  Value value() const;
};
struct NETCL_CKPT_EXPORT MomentumState {  ///< SGD; RMSprop keeps its averages likewise
  std::vector<TensorTarget> velocity;
  Value value() const;
};
struct NETCL_CKPT_EXPORT EmaState {
  double decay = 0;
  bool warmup = false;
  std::int64_t step_count = 0;
  std::vector<TensorTarget> shadow;
  Value value() const;
};
/// Fills the arrays and the numbers from the state below the dotted path `scope`, which one of value() made
/// or netcl wrote.
/// Errors: as load_parameters(), strictly.
NETCL_CKPT_EXPORT Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, AdamState& state);
NETCL_CKPT_EXPORT Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope,
                                              MomentumState& state);
NETCL_CKPT_EXPORT Result<void> load_optimizer(const Checkpoint& checkpoint, const std::string& scope, EmaState& state);

}  // namespace netcl::ckpt
