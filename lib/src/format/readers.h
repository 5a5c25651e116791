#pragma once

#include <filesystem>

#include "container/zip_directory.h"
#include "netcl/ckpt/open.h"

// One function a format: fill `out` (tree, root, attributes, members, problems) from an open source.
// `out.format`, `path` and `file_bytes` are set by the caller, `attributes` is an empty dict.

namespace netcl::ckpt {

Result<void> read_npy(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
/// npz and `.netcl` (an npz with a `__netcl_meta__` member).
Result<void> read_npz(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options,
                      Checkpoint& out);
Result<void> read_torch_zip(const SourcePtr& source, const ZipDirectoryPtr& directory, const OpenOptions& options,
                            Checkpoint& out);
Result<void> read_torch_legacy(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
/// A tar: torch's own, from before version 0.1.11; any other is refused, naming what it holds.
Result<void> read_tar(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
/// A legacy torch file in the bytes of a pickle, as pickle.dump writes a tensor's storage. Returns what it holds.
Result<ValueId> read_nested_torch(const StoragePtr& storage, std::uint64_t offset_bytes, std::uint64_t size_bytes,
                                  const OpenOptions& options, Checkpoint& out);
Result<void> read_pickle(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
Result<void> read_safetensors(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);
Result<void> read_flax(const SourcePtr& source, const OpenOptions& options, Checkpoint& out);

/// True where a file begins with a map of msgpack. 0x80 alone is an empty one, and with more behind it a pickle.
bool has_flax_start(std::string_view head);

/// True where all of a file is one value of msgpack, or an array of Flax is met before the fault.
bool is_flax(const SourcePtr& source, const OpenOptions& options);

/// True where an archive is torch's: a pickle of the object beside the storages.
bool is_torch_zip(const ZipDirectory& directory);

/// True where a tar is torch's. Only its first members are looked at.
bool is_torch_tar(const SourcePtr& source);

/// True for a file that begins as one that `repair` can rebuild: a zip, or safetensors.
bool can_repair(const ByteSource& source);

/// True where all of `payload` is a pickle. It is not interpreted.
bool is_whole_pickle(const Storage& payload, const Limits& limits);

/// netcl's `.json` beside an npz, or "": of "run.v2.npz" it is "run.v2.json", else the "run.json" that
/// with_suffix() makes of "run.v2".
std::filesystem::path find_sidecar(const std::filesystem::path& npz);

/// Whether the file is surely netcl's, whole or cut short, and not some other program's `.json`.
bool is_netcl_sidecar(const std::filesystem::path& path);

/// netcl's `.json` beside the npz at `path`: its values become `out.attributes`. A missing one is
/// nothing; a truncated or foreign one is a problem in `out`, never an error.
void read_sidecar(const std::filesystem::path& path, const OpenOptions& options, Checkpoint& out);

/// The pickle in `payload` (an object array's) is read, and run by nobody: what it would call becomes
/// problems of `out` under `where`. Returns the value that it builds, in out.tree.
/// Errors: corrupt, truncated, limit_exceeded.
Result<ValueId> read_object_pickle(const StoragePtr& payload, const std::string& where, const OpenOptions& options,
                                   Checkpoint& out);

/// JSON text, NaN and Infinity as Python writes them included, as values of `tree`.
/// Errors, with the byte offset: truncated; corrupt (a key twice, invalid UTF-8, trailing bytes);
/// limit_exceeded (max_json_bytes, max_depth, max_values).
Result<ValueId> parse_json(std::string_view text, const Limits& limits, Tree& tree);

/// A JSON document in a file of its own: a manifest, an index of shards.
struct JsonFile {
  std::string text;  ///< as it is on the disk
  Tree tree;
  ValueId root = 0;
};
/// Errors, naming the file: io; those of parse_json(); limit_exceeded beyond limits.max_json_bytes.
Result<JsonFile> read_json_file(const std::filesystem::path& path, const Limits& limits);

}  // namespace netcl::ckpt
