#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/export.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/run.h"

namespace netcl::ckpt {

struct ManifestTensor {
  std::string name;  ///< dotted
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::string sha256;  ///< of the elements, as InspectReport has it; "" for an object array
};

struct ManifestFile {
  std::string path;  ///< relative to the manifest's folder, with "/"
  std::uint64_t file_bytes = 0;
  std::string sha256;                   ///< of the file
  std::string format;                   ///< "" for a file that is no checkpoint; it has no tensors
  std::string identity;                 ///< as InspectReport has it
  std::vector<ManifestTensor> tensors;  ///< in file order
};

struct Manifest {
  std::vector<ManifestFile> files;  ///< by path
};

struct ManifestOptions {
  Limits limits;
  Run run;
};

/// Hashes files, and the tensors of those that are checkpoints. A folder stands for all files below it, an
/// npz for its sidecar too; hidden files and manifests are left out.
/// Errors: io; invalid_argument for a path that is not below `base`; what reading a damaged tensor gives: a
/// manifest vouches for nothing that is broken already.
NETCL_CKPT_EXPORT Result<Manifest> create_manifest(const std::vector<std::filesystem::path>& paths,
                                                   const std::filesystem::path& base,
                                                   const ManifestOptions& options = {});

/// The manifest as JSON ("netcl-ckpt.manifest/1", netcl-ckpt-manifest(1)). The same files give the same bytes.
/// Throws: std::bad_alloc.
NETCL_CKPT_EXPORT std::string to_json(const Manifest& manifest);

/// Errors: corrupt if it is no manifest, or names a file outside of its folder; io, truncated, limit_exceeded.
NETCL_CKPT_EXPORT Result<Manifest> read_manifest(const std::filesystem::path& path, const Limits& limits = {});

struct ManifestFinding {
  std::string path;
  std::string tensor;  ///< "" for the file
  std::string message;
};

struct ManifestReport {
  std::size_t num_files = 0;
  std::uint64_t checked_bytes = 0;
  std::vector<ManifestFinding> findings;  ///< in the manifest's order; none: all is as it was
};

/// Compares files below `base` with a manifest. If a file is not what it was, its tensors are compared one by
/// one, so that the damaged ones are named, or it is said that all tensors are the same.
/// Errors: out_of_memory. A file that is missing or cannot be read is a finding.
NETCL_CKPT_EXPORT Result<ManifestReport> check_manifest(const Manifest& manifest, const std::filesystem::path& base,
                                                        const ManifestOptions& options = {});

}  // namespace netcl::ckpt
