// Runs a fuzz target without libFuzzer, so that every compiler and every test run has it: each file of
// the corpus as it is, cut short, and with bytes changed. The changes come from a fixed seed.
//
//     replay_TARGET CORPUS_DIR…
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::size_t kCuts = 100;
constexpr int kChanges = 400;

void run(const Bytes& bytes) { LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

void run_all(const Bytes& seed, std::mt19937& random) {
  run(seed);
  const std::size_t step = std::max<std::size_t>(seed.size() / kCuts, 1);
  for (std::size_t size = 0; size < seed.size(); size += step)
    run({seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(size)});
  // Values that lie at the edges of signed, unsigned and lengths.
  constexpr std::uint8_t kEdges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  for (int i = 0; i < kChanges && !seed.empty(); ++i) {
    Bytes changed = seed;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      const std::uint32_t r = static_cast<std::uint32_t>(random());
      changed[random() % changed.size()] = r % 2 == 0 ? static_cast<std::uint8_t>(r >> 8) : kEdges[(r >> 8) % 5];
    }
    run(changed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
  }
  if (files.empty()) {
    std::fprintf(stderr, "replay: no corpus\n");
    return 2;
  }
  std::sort(files.begin(), files.end());
  std::mt19937 random(1);
  for (const auto& path : files) {
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);  // the last line names the culprit
    std::ifstream in(path, std::ios::binary);
    run_all(Bytes(std::istreambuf_iterator<char>(in), {}), random);
  }
}
