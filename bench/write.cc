// Which writer an npz should go through: libzip's, or our own records around positioned writes. Both write the same
// arrays from memory into the same folder, in one run, beside what the file system takes.
//
//     bench_write FOLDER
//
// No row syncs: that costs the same whoever wrote. A row is the median of several runs, in bytes of the arrays.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "netcl/ckpt/output_file.h"
#include "netcl/ckpt/source.h"
#include "write/write_file.h"

namespace {

using namespace netcl::ckpt;

constexpr std::size_t kMembers = 32;
constexpr std::size_t kMemberBytes = std::size_t{8} << 20;
constexpr int kRuns = 5;

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "bench_write: {}\n", what);
  std::exit(1);
}

std::string member_name(std::size_t i) { return fmt::format("layer{}.weight.npy", i); }

std::vector<std::byte> weights() {
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  std::vector<std::byte> bytes(kMemberBytes);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    const float value = normal(random) * 0.02F;
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
  return bytes;
}

void by_pwrite(const std::string& path, const std::vector<std::byte>& bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  for (std::size_t i = 0; i < kMembers; ++i) {
    if (::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(i * kMemberBytes)) !=
        static_cast<ssize_t>(bytes.size()))
      die("pwrite");
  }
  ::close(file);
}

void by_libzip(const std::string& path, const std::vector<std::byte>& bytes, bool deflate) {
  zip_t* archive = ::zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  if (archive == nullptr) die("libzip");
  for (std::size_t i = 0; i < kMembers; ++i) {
    zip_source_t* source = ::zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
    const zip_int64_t index = ::zip_file_add(archive, member_name(i).c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0 || ::zip_set_file_compression(archive, static_cast<zip_uint64_t>(index),
                                                deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, deflate ? 1 : 0) != 0)
      die("libzip");
  }
  if (::zip_close(archive) != 0) die("libzip");
}

void by_us(const std::string& path, const StoragePtr& weights, bool deflate) {
  WritePlan plan;
  plan.zip = true;
  for (std::size_t i = 0; i < kMembers; ++i) {
    WritePart part;
    part.name = member_name(i);
    Tensor tensor;
    tensor.dtype = make_dtype(ScalarType::float32);
    tensor.shape = {weights->size_bytes() / sizeof(float)};
    tensor.strides = c_strides(tensor.shape);
    tensor.storage = weights;
    part.payload = tensor;
    part.deflate = deflate;
    plan.parts.push_back(std::move(part));
  }
  auto out = OutputFile::create(path, true);
  if (!out || !write_file(plan, *out, {})) die("write_file");
}

double rate(const std::function<void()>& work) {
  std::vector<double> rates;
  for (int run = 0; run < kRuns + 1; ++run) {  // the first warms up
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (run > 0) rates.push_back(static_cast<double>(kMembers * kMemberBytes) / took.count() / 1e9);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) die("bench_write FOLDER");
  const std::string path = (std::filesystem::path(argv[1]) / "bench_write.npz").string();
  const std::vector<std::byte> bytes = weights();
  const StoragePtr storage = file_storage(memory_source(bytes, "weights"), 0, bytes.size());
  const auto print = [&](const char* name, const std::function<void()>& work) {
    fmt::print("{:<34} {:>6.2f} GB/s\n", name, rate(work));
    std::filesystem::remove(path);
  };
  fmt::print("{} arrays of {} MiB, {} threads\n", kMembers, kMemberBytes >> 20, thread_count(0));
  print("pwrite, one thread, no checksum", [&] { by_pwrite(path, bytes); });
  print("libzip, stored", [&] { by_libzip(path, bytes, false); });
  print("netcl-ckpt, stored", [&] { by_us(path, storage, false); });
  print("libzip, deflated (zlib level 1)", [&] { by_libzip(path, bytes, true); });
  print("netcl-ckpt, deflated", [&] { by_us(path, storage, true); });
}
