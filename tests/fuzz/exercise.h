#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/open.h"

namespace netcl::ckpt::fuzz {

using Read = std::function<Result<void>(const SourcePtr&, const OpenOptions&, Checkpoint&)>;

[[noreturn]] void broken(const std::string& promise);

/// An error is of the input, and says something.
void check_error(const Error& error);

/// Opens the bytes by `read`, thoroughly, then lists and reads what came out, within bounds. Aborts
/// where a promise is broken; an exception that escapes is left to end the program.
void exercise(const std::uint8_t* data, std::size_t size, const Read& read);

}  // namespace netcl::ckpt::fuzz
