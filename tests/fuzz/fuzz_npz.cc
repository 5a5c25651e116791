#include "base/try.h"
#include "exercise.h"

using namespace netcl::ckpt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::exercise(data, size, [](const SourcePtr& source, const OpenOptions& options, Checkpoint& out) -> Result<void> {
    CKPT_TRY(out, open_checkpoint(source, "", options));
    return {};
  });
  return 0;
}
