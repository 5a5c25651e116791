#pragma once

#include <string>
#include <utility>
#include <vector>

#include "format/pickle_view.h"

namespace netcl::ckpt {

/// True where a call makes a torch.nn.Module: its state has parameters, buffers and modules, whatever its class is.
bool is_module(const PickleView& view, PickleId call);

/// What state_dict() of the module gives: dotted names, and the nodes of the tensors.
/// Errors: limit_exceeded, where the modules are nested so deep that their names would take too much.
Result<std::vector<std::pair<std::string, PickleId>>> module_state(const PickleView& view, PickleId call);

}  // namespace netcl::ckpt
