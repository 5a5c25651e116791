#include "operations.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  netcl::ckpt::fuzz::run_directory_operations(std::as_bytes(std::span(data, size)));
  return 0;
}
