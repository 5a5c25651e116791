#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/dtype.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

struct ConvertOptions {
  Limits limits;
  /// The target's format; by default from the extension of the output path.
  std::optional<Format> to;
  CompressionChoice compression = CompressionChoice::keep;
  /// float16, bfloat16, float32 or float64: cast the tensors of these four types, to nearest even.
  std::optional<ScalarType> dtype;
  std::vector<std::string> only;  ///< globs; the tensors that `dtype` applies to, all if empty
  /// Any loss is an error: a finite number that a cast turns into Inf, a value that would be left out.
  bool strict = false;
  /// Values that need an unsafe global are left out like those of unknown classes, rather than refused.
  bool drop_unsafe = false;
  std::string root;           ///< dotted name of the part that becomes the whole; "" for all
  bool tensors_only = false;  ///< a flat list of tensors, without any other value
  bool dedupe = false;        ///< safetensors: one tensor under several names is written once
  /// Extended regular expressions and what to put for each match ("\1" is a group), in this order.
  std::vector<std::pair<std::string, std::string>> renames;
  std::vector<std::string> include;  ///< globs on dotted names; all if empty
  std::vector<std::string> exclude;
  bool replace = false;        ///< the output may exist
  bool dry_run = false;        ///< plan and report, write nothing
  bool verify = false;         ///< read the result back and compare every tensor and value before it takes its place
  bool compact = false;        ///< torch: a view keeps only what it uses, not its whole storage
  bool sidecar = true;         ///< read netcl's `.json` beside an npz too
  bool embed_sidecar = false;  ///< npz: metadata inside the archive instead of a `.json` beside it
  Run run;
  /// Receives the finished file instead of the file system, in order.
  std::function<Result<void>(std::span<const std::byte>)> sink;
};

/// A part of the input that is not in the output.
struct LeftOut {
  std::string name;  ///< dotted name of a value, or a member's
  std::string what;  ///< the global that it would need, or why no writer carries it
};

struct ConvertReport {
  std::string path;
  Format format = Format::npz;
  std::uint64_t file_bytes = 0;    ///< of the output; an estimate in a dry run that deflates
  std::uint64_t source_bytes = 0;  ///< of the input
  std::uint64_t num_tensors = 0;
  std::uint64_t tensor_bytes = 0;      ///< decoded
  std::uint64_t overflows = 0;         ///< finite numbers that a cast turned into Inf
  std::optional<std::string> sidecar;  ///< the `.json` written beside the npz
  std::vector<std::string> tensors;    ///< names in the output, in order
  std::vector<LeftOut> left_out;       ///< what the output lacks though nobody asked to drop it
  /// Tensors that were one with an earlier one, and are not in this format: its name and the other's.
  std::vector<std::pair<std::string, std::string>> doubled;
};

/// Writes the checkpoint `in` as `out`, atomically. Input and output may be the same file. netcl's sidecar that an
/// earlier `out` has is replaced or removed with it; a `.json` that is none is never touched.
/// Values of classes and functions that are not known are left out; the report names them.
/// Errors: everything that reading may give, for each tensor that is selected and cannot be read; unsafe if the
/// input names an unsafe global; unsupported, naming the tensor or value that the target cannot hold; invalid_argument
/// if `out` exists and may not be replaced, two tensors would get one name, or replacing the input would lose
/// members that are no arrays, or what follows a pickle; io; cancelled. Nothing is left behind.
NETCL_CKPT_EXPORT Result<ConvertReport> convert(const std::filesystem::path& in, const std::filesystem::path& out,
                                                const ConvertOptions& options = {});

/// The same for an opened checkpoint.
NETCL_CKPT_EXPORT Result<ConvertReport> convert(Checkpoint in, const std::filesystem::path& out,
                                                const ConvertOptions& options = {});

}  // namespace netcl::ckpt
