#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netcl/ckpt/checkpoint.h"
#include "netcl/ckpt/device.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/expectations.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/loaders.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

struct VerifyOptions {
  Limits limits;
  /// Also look for NaN and Inf in every tensor of floating-point or complex numbers.
  bool finite = false;
  /// Patterns of foreign globals that are no problem: "proj.config.*". Unsafe ones are, whatever stands here.
  std::vector<std::string> allow;
  /// Compare names, dtypes and shapes with these; nothing is compared if absent.
  std::optional<std::vector<ExpectedTensor>> expected;
  /// Also say which of these programs would refuse the file, and why; see parse_loaders().
  std::vector<Loader> loaders;
  /// Also send every tensor to this device and back, and compare.
  std::optional<Device> device;
  Run run;
};

struct NETCL_CKPT_EXPORT VerifyReport {
  std::string path;
  std::optional<Format> format;  ///< absent if the file is too broken to tell
  std::uint64_t file_bytes = 0;
  std::uint64_t num_tensors = 0;
  std::uint64_t checked_bytes = 0;  ///< decoded bytes that were read through
  std::string device;               ///< the name of the one that was asked for
  std::uint64_t device_bytes = 0;   ///< that came back from it unchanged
  Problems problems;                ///< in the order of the file, each member's together
  bool repairable = false;          ///< it is damaged, and `repair` may take out what is whole

  /// False if any problem is an error or unsafe: `netcl-ckpt verify` exits 1.
  bool sound() const;
};

/// Reads all of a checkpoint and reports what is wrong with it: structure, every CRC, headers against
/// payloads, netcl's pair, pickle safety. Runs nothing that a pickle holds.
/// Errors: io, out_of_memory, unsupported if it is no checkpoint: it could not look. A file that is
/// recognised but broken beyond listing is a report with one problem. device, if one was asked for and fails.
NETCL_CKPT_EXPORT Result<VerifyReport> verify(const std::filesystem::path& path, const VerifyOptions& options = {});

/// The same for an open source; `path` may be empty.
NETCL_CKPT_EXPORT Result<VerifyReport> verify(SourcePtr source, const std::filesystem::path& path,
                                              const VerifyOptions& options = {});

/// Verifies many files, several at once, and gives each report to `done` as soon as all before it are given: in the
/// order of `paths`, one call at a time, from any thread. "-" is standard input.
/// options.run's progress is that of each file.
/// Errors: out_of_memory; internal if `done` throws. What one file cannot be looked at for is in its report.
NETCL_CKPT_EXPORT Result<void> verify_all(
    std::span<const std::string> paths, const VerifyOptions& options,
    const std::function<void(const std::string& path, Result<VerifyReport> report)>& done);

}  // namespace netcl::ckpt
