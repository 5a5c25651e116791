#pragma once

#include <string>
#include <vector>

#include "netcl/ckpt/verify.h"
#include "terminal.h"

namespace netcl::ckpt::app {

/// What verify said of one file.
struct VerifiedFile {
  std::string path;
  Result<VerifyReport> report;
};

/// JUnit's XML: a test case for each file, failed where it is not sound.
void render_junit(const std::vector<VerifiedFile>& files, Output& out);

/// GitHub's workflow commands: "::error file=…,title=…::…", an annotation for each problem.
void render_github(const std::vector<VerifiedFile>& files, Output& out);

/// SARIF 2.1.0, for code scanning.
void render_sarif(const std::vector<VerifiedFile>& files, Output& out);

}  // namespace netcl::ckpt::app
