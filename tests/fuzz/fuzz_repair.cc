#include "container/zip_scan.h"

#include "base/try.h"
#include "exercise.h"
#include "netcl/ckpt/repair.h"
#include "operations.h"

using namespace netcl::ckpt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const SourcePtr source = memory_source({bytes.begin(), bytes.end()}, "fuzz");
  std::uint64_t work_bytes = 0;
  const auto scan = scan_zip(source, {}, [&](std::uint64_t more) -> Result<void> {
    constexpr std::uint64_t kEnough = std::uint64_t{16} << 20;  // of what bombs decode to
    work_bytes += more;
    if (work_bytes > kEnough) return fail(ErrorCode::cancelled, "enough");
    return {};
  });
  if (!scan) {
    fuzz::check_error(scan.error());
    return 0;
  }
  RepairOptions options;
  options.replace = true;
  options.run.jobs = 1;
  const auto target = fuzz::scratch() / "repaired.npz";
  const auto report = repair(source, target, options);
  if (!report) {
    fuzz::check_error(report.error());
    return 0;
  }
  // What was taken out is whole.
  const auto back = scan_zip(open_file(target).value(), {}, [](std::uint64_t) -> Result<void> { return {}; });
  if (!back) fuzz::broken("a repaired archive can be scanned: " + back.error().to_string());
  for (const ScannedMember& m : back->members) {
    if (!m.fault.empty()) fuzz::broken("a repaired archive has no lost member: " + m.fault);
  }
  return 0;
}
