// Each public operation once, so that each must link: describe a checkpoint, convert it, compare the two.
#include <netcl/ckpt/convert.h>
#include <netcl/ckpt/device.h>
#include <netcl/ckpt/diff.h>
#include <netcl/ckpt/inspect.h>
#include <netcl/ckpt/open.h>
#include <netcl/ckpt/verify.h>

#include <cstdio>

using namespace netcl::ckpt;

namespace {

int failed(const Error& error) {
  std::fprintf(stderr, "%s\n", error.to_string().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  auto checkpoint = open_checkpoint(argv[1]);
  if (!checkpoint) return failed(checkpoint.error());
  const auto report = inspect(*checkpoint);
  if (!report) return failed(report.error());
  const auto sound = verify(argv[1]);
  if (!sound) return failed(sound.error());
  const auto written = convert(*checkpoint, argv[2], {});
  if (!written) return failed(written.error());
  const auto copy = open_checkpoint(argv[2]);
  if (!copy) return failed(copy.error());
  const auto difference = diff(*checkpoint, *copy);
  if (!difference) return failed(difference.error());
  (void)list_devices();  // may fail where there is no driver
  std::printf("%zu tensors, %s, %s\n", report->tensors.size(), sound->sound() ? "sound" : "not sound",
              difference->differs ? "different" : "same");
  return 0;
}
