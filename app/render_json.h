#pragma once

#include <string>

#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/device.h"
#include "netcl/ckpt/directory.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/manifest.h"
#include "netcl/ckpt/repair.h"
#include "netcl/ckpt/strip.h"
#include "netcl/ckpt/verify.h"
#include "render_human.h"
#include "terminal.h"

namespace netcl::ckpt::app {

/// One object as netcl-ckpt-inspect(1) documents it, a tensor a line, without a final newline. It is
/// written as it is made, so a hundred thousand tensors cost no memory.
void render_json(const InspectReport& report, Output& out);

/// One file's object of `verify --json`.
void render_json(const VerifyReport& report, Output& out);

/// `convert --json`: "netcl-ckpt.convert/1".
void render_json(const ConvertReport& report, bool dry_run, Output& out);

/// `strip-optimizer --json`: "netcl-ckpt.strip/1".
void render_json(const StripReport& report, bool dry_run, Output& out);

/// `repair --json`: "netcl-ckpt.repair/1".
void render_json(const RepairReport& report, Output& out);

/// `list`, `latest` and `prune --json`, each with the directory that was named.
void render_json(const std::string& directory, const std::vector<CheckpointInfo>& list, Output& out);
void render_json(const std::string& directory, const LatestReport& report, Output& out);
void render_json(const std::string& directory, const PruneReport& report, bool dry_run, Output& out);

/// `diff --json`: "netcl-ckpt.diff/1".
void render_json(const DiffReport& report, const DiffView& view, Output& out);

/// `devices --json`
void render_json(const std::vector<DeviceInfo>& devices, Output& out);

/// One manifest's object of `manifest check --json`.
void render_json(const std::string& path, const ManifestReport& report, Output& out);

/// The object that stands for a file that could not be looked at, where there are others.
void render_json(const std::string& path, const char* schema, const Error& error, Output& out);

}  // namespace netcl::ckpt::app
