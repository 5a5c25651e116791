#include "exercise.h"
#include "format/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  netcl::ckpt::fuzz::exercise(data, size, netcl::ckpt::read_pickle);
  return 0;
}
