#pragma once

#include <string>

#include "format/pickle_view.h"

namespace netcl::ckpt {

/// A date, time, path, number or id of Python's library as the text that str() gives.
/// Errors: corrupt; unsupported, where it is called in a way that is not known here.
Result<std::string> python_text(const PickleView& view, PickleId call, Meaning meaning);

}  // namespace netcl::ckpt
