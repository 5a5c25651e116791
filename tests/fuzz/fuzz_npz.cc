#include "base/try.h"
#include "container/zip_scan.h"
#include "exercise.h"

using namespace netcl::ckpt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::exercise(data, size, [](const SourcePtr& source, const ReadOptions& options, Checkpoint& out) -> Result<void> {
    // Repairing reads what is too broken to open.
    std::uint64_t work_bytes = 0;
    const auto scan = scan_zip(source, options.limits, [&](std::uint64_t bytes) -> Result<void> {
      constexpr std::uint64_t kEnough = std::uint64_t{64} << 20;  // of what bombs decode to
      work_bytes += bytes;
      if (work_bytes > kEnough) return fail(ErrorCode::cancelled, "enough");
      return {};
    });
    if (!scan && scan.error().code == ErrorCode::internal) __builtin_trap();
    CKPT_TRY(out, read_checkpoint(source, "", options));
    return {};
  });
  return 0;
}
