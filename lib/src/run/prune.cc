// Removing old checkpoints. retention.h says which; here they go, the old ones first, each in one step.
#include "run/prune.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/try.h"
#include "format/readers.h"
#include "netcl/ckpt/manifest.h"
#include "run/check.h"
#include "run/retention.h"
#include "run/scan.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrunedPrefix = ".netcl-ckpt-pruned-";

/// The sidecar that goes with an npz: of its own name, and surely netcl's.
std::optional<fs::path> own_sidecar(const fs::path& npz) {
  const fs::path sidecar = find_sidecar(npz);
  if (sidecar.empty() || sidecar.stem() != npz.stem() || !is_netcl_sidecar(sidecar)) return std::nullopt;
  return sidecar;
}

/// What an earlier run that was interrupted left of the folders that it removed.
Result<void> remove_rests(const fs::path& directory) {
  std::error_code failed;
  std::vector<fs::path> rests;
  for (fs::directory_iterator it(directory, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().filename().string().starts_with(kPrunedPrefix)) rests.push_back(it->path());
  }
  for (const fs::path& rest : rests) {
    fs::remove_all(rest, failed);
    if (failed) return fail_io(failed.value(), rest.string(), "cannot remove the rest of a pruned checkpoint");
  }
  return {};
}

}  // namespace

Result<void> remove_checkpoint(const CheckpointInfo& info) {
  return guarded([&]() -> Result<void> {
    if (!info.is_folder) {
      // The arrays first: a sidecar alone is nothing, but arrays alone would look like a whole checkpoint.
      const auto sidecar = own_sidecar(info.path);
      const fs::path manifest = info.path.string() + ".manifest.json";
      if (::unlink(info.path.c_str()) != 0 && errno != ENOENT)
        return fail_io(errno, info.path.string(), "cannot remove it");
      if (sidecar && ::unlink(sidecar->c_str()) != 0 && errno != ENOENT)
        return fail_io(errno, sidecar->string(), "cannot remove it");
      if (read_manifest(manifest)) ::unlink(manifest.c_str());
      return {};
    }
    // Of a long name the end goes: 255 bytes are all that a file's may have.
    const std::string name = (std::string(kPrunedPrefix) + info.path.filename().string()).substr(0, 255);
    const fs::path gone = info.path.parent_path() / name;
    std::error_code failed;
    fs::remove_all(gone, failed);
    if (!failed) fs::rename(info.path, gone, failed);
    if (failed) return fail_io(failed.value(), info.path.string(), "cannot remove it");
    fs::remove_all(gone, failed);
    if (failed) return fail_io(failed.value(), gone.string(), "cannot remove the rest of a pruned checkpoint");
    return {};
  });
}

Result<PruneReport> prune_held(const fs::path& directory, const PruneOptions& options, const CheckpointIndex* index) {
  return guarded([&]() -> Result<PruneReport> {
    std::set<std::string> linked;
    ScanOptions scanning = options.scan;
    if (scanning.check == Check::none) scanning.check = Check::quick;
    scanning.values = options.retention.keep_best || index != nullptr;
    CKPT_TRY(auto list, scan_checkpoints(directory, scanning, &linked));
    check_checkpoints(list, scanning, index);
    CKPT_CHECK(require_checked(list));
    if (options.remove) CKPT_CHECK(remove_rests(directory));

    const auto verdicts = apply_retention(list, options.retention);
    PruneReport report;
    Result<void> removed;  // one that cannot be removed does not keep the others
    for (std::size_t i = 0; i < list.size(); ++i) {
      PruneReport::Verdict v{std::move(list[i]), verdicts[i].keep, verdicts[i].reason};
      const std::string name = v.checkpoint.path.filename().string();
      if (!v.keep && linked.contains(name)) v = {std::move(v.checkpoint), true, "a link points to it"};
      if (!v.keep && std::find(options.protect.begin(), options.protect.end(), name) != options.protect.end()) {
        v = {std::move(v.checkpoint), true, "protected"};
      }
      if (!v.keep) {
        if (options.remove) {
          auto done = remove_checkpoint(v.checkpoint);
          if (!done && removed) removed = std::move(done);
        }
        report.removed_bytes += v.checkpoint.size_bytes;
      }
      report.verdicts.push_back(std::move(v));
    }
    CKPT_CHECK(removed);
    return report;
  });
}

}  // namespace netcl::ckpt
