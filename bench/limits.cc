// How fast this machine can do what netcl-ckpt's operations are made of. Nothing that the tool does is
// faster than the slowest row that it needs, so these are the goals that its own rates are held to.
//
//     bench_limits [NAME…]
//
// Each thread works on a block of its own; a row is the median of several runs, in decoded bytes.
#include <fcntl.h>
#include <fmt/format.h>
#include <isa-l/igzip_lib.h>
#include <nettle/sha2.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "codec/crc32.h"
#include "codec/deflate.h"

namespace {

using namespace netcl::ckpt;
using Bytes = Buffer;

constexpr std::size_t kBlockBytes = std::size_t{64} << 20;
constexpr std::size_t kReadBytes = std::size_t{4} << 20;
constexpr int kRuns = 5;

[[noreturn]] void die(const char* what) {
  fmt::print(stderr, "bench_limits: {}\n", what);
  std::exit(1);
}

/// What a checkpoint holds: one part weights, two parts moments, of which most rows were never touched.
Bytes checkpoint_like() {
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  std::vector<float> values(kBlockBytes / sizeof(float));
  constexpr std::size_t kRow = 384;
  for (std::size_t i = 0; i < values.size(); i += kRow) {
    const bool moment = i >= values.size() / 3;
    if (moment && random() % 10 < 7) continue;
    for (std::size_t j = i; j < std::min(i + kRow, values.size()); ++j) values[j] = normal(random) * 0.02F;
  }
  Bytes bytes(kBlockBytes);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// Raw deflate by zlib at its default level, as np.savez_compressed writes.
Bytes zlib_deflated(const Bytes& bytes) {
  z_stream z{};
  if (::deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) die("zlib");
  Bytes out(::deflateBound(&z, bytes.size()));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (::deflate(&z, Z_FINISH) != Z_STREAM_END) die("zlib");
  out.resize(z.total_out);
  ::deflateEnd(&z);
  return out;
}

struct Row {
  const char* name;
  std::function<void(Bytes& scratch)> work;  // on one block, in one thread
};

/// Median rate over all threads, in GB/s.
double rate(const Row& row, unsigned threads) {
  std::vector<Bytes> scratch(threads, Bytes(kBlockBytes));
  std::vector<double> rates;
  for (int run = 0; run < kRuns + 1; ++run) {  // the first warms up
    std::atomic<unsigned> ready = 0;
    std::vector<std::thread> workers;
    std::vector<std::chrono::steady_clock::time_point> begin(threads), end(threads);
    for (unsigned t = 0; t < threads; ++t) {
      workers.emplace_back([&, t] {
        ++ready;
        while (ready < threads) std::this_thread::yield();
        begin[t] = std::chrono::steady_clock::now();
        row.work(scratch[t]);
        end[t] = std::chrono::steady_clock::now();
      });
    }
    for (auto& w : workers) w.join();
    const std::chrono::duration<double> took =
        *std::max_element(end.begin(), end.end()) - *std::min_element(begin.begin(), begin.end());
    if (run > 0) rates.push_back(static_cast<double>(kBlockBytes) * threads / took.count() / 1e9);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

void print_machine() {
  utsname system{};
  ::uname(&system);
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line, model = "unknown";
  while (std::getline(cpuinfo, line)) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  fmt::print("cpu       {} ({} threads)\n", model, std::thread::hardware_concurrency());
  fmt::print("system    {} {} {}\n", system.sysname, system.release, system.machine);
  fmt::print("compiler  {}\n", __VERSION__);
  fmt::print("zlib      {}\n\n", ::zlibVersion());
}

}  // namespace

int main(int argc, char** argv) {
  const Bytes block = checkpoint_like();
  const Bytes deflated = zlib_deflated(block);

  std::string path = "/tmp/bench_limits-XXXXXX";
  const int file = ::mkstemp(path.data());
  if (file < 0 || ::write(file, block.data(), block.size()) != static_cast<ssize_t>(block.size())) die("/tmp");
  ::unlink(path.c_str());

  const std::vector<Row> rows = {
      {"memcpy", [&](Bytes& to) { std::memcpy(to.data(), block.data(), block.size()); }},
      {"pread",
       [&](Bytes& to) {
         for (std::size_t at = 0; at < kBlockBytes; at += kReadBytes) {
           if (::pread(file, to.data(), kReadBytes, static_cast<off_t>(at)) != kReadBytes) die("pread");
         }
       }},
      {"crc32",
       [&](Bytes&) {
         static std::atomic<std::uint32_t> keep;
         keep = crc32(0, block);
       }},
      {"inflate",
       [&](Bytes& to) {
         inflate_state state;
         isal_inflate_init(&state);
         state.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(deflated.data()));
         state.avail_in = static_cast<std::uint32_t>(deflated.size());
         state.next_out = reinterpret_cast<std::uint8_t*>(to.data());
         state.avail_out = static_cast<std::uint32_t>(to.size());
         if (isal_inflate(&state) != ISAL_DECOMP_OK || state.total_out != kBlockBytes) die("inflate");
       }},
      {"deflate",
       [&](Bytes& to) {
         to.clear();
         if (!deflate_block(block, {}, true, DeflateLevel::fast, to)) die("deflate");
       }},
      {"sha256",
       [&](Bytes&) {
         sha256_ctx context;
         sha256_init(&context);
         sha256_update(&context, block.size(), reinterpret_cast<const std::uint8_t*>(block.data()));
         std::uint8_t digest[SHA256_DIGEST_SIZE];
         sha256_digest(&context, sizeof digest, digest);
       }},
  };

  print_machine();
  fmt::print("{:<10} {:>12} {:>12}\n", "GB/s", "one thread", "two threads");
  for (const Row& row : rows) {
    const bool wanted =
        argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char* n) { return !std::strcmp(n, row.name); });
    if (wanted) fmt::print("{:<10} {:>12.2f} {:>12.2f}\n", row.name, rate(row, 1), rate(row, 2));
  }
  ::close(file);
}
