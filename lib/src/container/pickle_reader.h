#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "container/pickle_graph.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// Asked after each BUILD of a call: how many bytes follow it, from `offset_bytes` on, that are no opcodes; nothing
/// for objects that have none. The graph is the same object each time, and grows.
using RawBytesAfter = std::function<Result<std::optional<std::uint64_t>>(const PickleGraph& graph, PickleId call,
                                                                         std::uint64_t offset_bytes)>;

/// Runs the pickle machine over `storage` from `offset_bytes` to STOP, without doing what it says:
/// globals stay names and calls stay calls. Reads opcodes, not payloads.
/// `globals_before_error`, where given, gets what had been named when it failed: a pickle that calls
/// os.system has done so by the time that its damage is met.
/// Errors, with the opcode's offset: truncated, corrupt, limit_exceeded, io.
Result<PickleGraph> read_pickle_graph(const Storage& storage, std::uint64_t offset_bytes, const Limits& limits,
                                      std::vector<PickleGlobal>* globals_before_error = nullptr,
                                      const RawBytesAfter& raw_bytes_after = nullptr);

}  // namespace netcl::ckpt
