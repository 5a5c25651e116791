// Every operation on every truncation and on one change of each byte of small files, eleven of them, in one process.
//
//     sweep CORPUS [whole]
//
// Which bit changes comes from a fixed seed. A test run does a tenth of the inputs; `whole`, or
// NETCL_CKPT_SWEEP=whole, all of them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "operations.h"

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr const char* kFiles[] = {"npy/fields",         "npz/deflated",     "npz/stored",     "npz/zip64",
                                  "pickle/protocol2",   "pickle/protocol4", "pickle/unsafe",  "safetensors/kinds",
                                  "torch/kinds-legacy", "torch/small",      "operations/flax"};

Bytes read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// What is run next, for whoever finds a dead process.
void run(const Bytes& bytes) {
  netcl::ckpt::fuzz::run_operations(bytes);
  netcl::ckpt::fuzz::run_directory_operations(bytes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: sweep CORPUS [whole]\n");
    return 2;
  }
  const char* asked = std::getenv("NETCL_CKPT_SWEEP");
  const bool whole = argc > 2 || (asked != nullptr && std::strcmp(asked, "whole") == 0);
  std::mt19937 random(1);
  for (const char* name : kFiles) {
    const Bytes seed = read(fs::path(argv[1]) / name);
    if (seed.empty()) {
      std::fprintf(stderr, "sweep: %s is missing\n", name);
      return 2;
    }
    std::printf("%s: %zu bytes\n", name, seed.size());
    run(seed);
    for (std::size_t i = 0; i < seed.size(); ++i) {
      const auto bit = static_cast<std::byte>(1U << random() % 8);
      const bool chosen = whole || random() % 10 == 0;
      if (!chosen) continue;
      std::printf("\r%zu", i);  // the last one is the culprit
      std::fflush(stdout);
      run({seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(i)});
      Bytes changed = seed;
      changed[i] ^= bit;
      run(changed);
    }
    std::printf("\r");
  }
}
