#include "base/try.h"
#include "exercise.h"
#include "format/readers.h"

using namespace netcl::ckpt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::exercise(data, size, [](const SourcePtr& source, const ReadOptions& options, Checkpoint& out) -> Result<void> {
    CKPT_TRY(const ZipDirectory directory, read_zip_directory(source, options.limits, out.problems));
    return read_npz(source, directory, options, out);
  });
  return 0;
}
