// One file after another, each on all cores.
#include "write/write_folder.h"

#include "base/try.h"

namespace netcl::ckpt {

Result<std::uint64_t> write_folder(const WritePlan& plan, const std::filesystem::path& folder, const Run& run) {
  std::uint64_t total = 0, done = 0;
  for (const WritePart& part : plan.parts) total += part.size_bytes();
  Run one = run;
  if (run.progress) one.progress = [&](std::uint64_t of_this, std::uint64_t) { run.progress(done + of_this, total); };
  for (const WritePart& part : plan.parts) {
    CKPT_TRY(OutputFile file, OutputFile::create(folder / part.name, false));
    WritePlan single;
    single.parts.push_back(part);
    CKPT_TRY(const std::uint64_t size, write_file(single, file, one));
    CKPT_CHECK(file.commit(size, false));
    done += size;
  }
  return done;
}

}  // namespace netcl::ckpt
