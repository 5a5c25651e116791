// What a machine with an OpenCL device allows, and what netcl-ckpt makes of it: one table in one run.
//
//     bench_device DIR [--device N] [--tensors N] [--staged]      DIR on tmpfs, with room for three copies
//
// A checkpoint is N (64) tensors of 4096 x 4096 float32 (4.3 GB), a third like weights and two thirds like Adam
// moments. Rates are GB/s of tensor bytes, the best of several runs; the first run, which pins the staging
// memory, is printed beside it. --staged: not by mapping, on a device that shares the host's memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "codec/crc32.h"
#include "codec/deflate.h"
#include "load/opencl/device_state.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/device.h"
#include "netcl/ckpt/load.h"
#include "netcl/ckpt/open.h"

namespace {

using namespace netcl::ckpt;

constexpr std::uint64_t kSide = 4096;
constexpr std::uint64_t kTensorBytes = kSide * kSide * sizeof(float);
constexpr std::size_t kBlockBytes = std::size_t{4} << 20;

[[noreturn]] void die(const std::string& what) {
  fmt::print(stderr, "bench_device: {}\n", what);
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void row(const std::string& name, std::uint64_t bytes, int runs, const std::function<void()>& work,
         const std::function<void()>& before = {}) {
  double first = 0, best = 1e9;
  for (int run = 0; run < runs; ++run) {
    if (before) before();
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (run == 0) first = took.count();
    best = std::min(best, took.count());
  }
  const double gb = static_cast<double>(bytes) / 1e9;
  fmt::print("{:<46} {:>8.2f} GB/s   first {:>7.2f}\n", name, gb / best, gb / first);
  std::fflush(stdout);
}

Buffer checkpoint_like() {
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  Buffer bytes(kTensorBytes);
  std::vector<float> values(kSide * 64);
  for (float& v : values) v = normal(random) * 0.02F;
  for (std::uint64_t r = 0; r < kSide; ++r) {
    std::byte* const to = bytes.data() + r * kSide * sizeof(float);
    const bool moment = r >= kSide / 3;
    if (moment && random() % 10 < 7) {
      std::memset(to, 0, kSide * sizeof(float));
    } else {
      std::memcpy(to, values.data() + random() % 63 * kSide, kSide * sizeof(float));
    }
  }
  return bytes;
}

void print_machine(const DeviceInfo& d, const std::string& folder) {
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
  fmt::print("cpu       {} ({} threads)\n", model, thread_count(0));
  fmt::print("system    {} {} {}\n", system.sysname, system.release, system.machine);
  fmt::print("device    {}, {} (driver {}), {:.0f} GB\n", d.platform, d.name, d.driver,
             static_cast<double>(d.memory_bytes) / 1e9);
  fmt::print("folder    {}\n\n", folder);
}

/// Copies of the bus alone, from pinned memory, on `lanes` queues at once.
void bus(const DeviceStatePtr& state, const Place& place, std::uint64_t room, unsigned lanes, bool to_device) {
  const std::uint64_t bytes = std::uint64_t{4} << 30;
  row(fmt::format("pinned copy {} device, {} queue{}", to_device ? "to" : "from", lanes, lanes > 1 ? "s" : ""), bytes,
      3, [&] {
        run_on_threads(lanes, [&] {
          auto lane = must(LaneLease::take(state));
          ClEvent left[2];
          for (std::uint64_t i = 0; i < bytes / kBlockBytes / lanes; ++i) {
            must(wait_for(left[i % 2]));
            const Place at = place.at(i * kBlockBytes % (room - kBlockBytes));
            std::span<std::byte> slot(lane->slots[i % 2].data, kBlockBytes);
            must(to_device ? enqueue_write(lane->queue.get(), at, slot, &left[i % 2])
                           : enqueue_read(lane->queue.get(), at, slot, &left[i % 2]));
            opencl().flush(lane->queue.get());
          }
          opencl().finish(lane->queue.get());
        });
      });
}

void on_blocks(unsigned threads, std::uint64_t bytes, const std::function<void(std::uint64_t)>& work) {
  parallel_for(threads, bytes / kBlockBytes, [&](std::size_t i) { work(i * kBlockBytes); });
}

enum class Way { write, write_reserved, map };

void write_limit(const std::string& folder, const Buffer& from, std::uint64_t bytes, unsigned threads, Way way) {
  const std::string path = folder + "/limit";
  int fd = -1;
  const char* const what = way == Way::map ? "mapped" : way == Way::write ? "pwrite" : "fallocate, pwrite";
  row(
      fmt::format("tmpfs write limit: {}, {} thread{}", what, threads, threads > 1 ? "s" : ""), bytes, 2,
      [&] {
        if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) die("ftruncate");
        if (way == Way::write_reserved && ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) die("fallocate");
        char* map = nullptr;
        if (way == Way::map) {
          map = static_cast<char*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
          if (map == MAP_FAILED) die("mmap");
          ::madvise(map, bytes, MADV_HUGEPAGE);
        }
        on_blocks(threads, bytes, [&](std::uint64_t at) {
          const std::byte* const source = from.data() + at % kTensorBytes;
          if (way == Way::map) {
            if (::madvise(map + at, kBlockBytes, MADV_POPULATE_WRITE) != 0) die("madvise");
            std::memcpy(map + at, source, kBlockBytes);
            ::madvise(map + at, kBlockBytes, MADV_DONTNEED);
          } else if (::pwrite(fd, source, kBlockBytes, static_cast<off_t>(at)) != kBlockBytes) {
            die("pwrite");
          }
        });
        if (map != nullptr) ::munmap(map, bytes);
      },
      [&] {
        if (fd >= 0) ::close(fd);
        ::unlink(path.c_str());
        fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0) die(path);
      });
  ::close(fd);
  ::unlink(path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  std::size_t index = 0, num_tensors = 64;
  bool staged = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--device" && i + 1 < argc) {
      index = std::strtoul(argv[++i], nullptr, 10);
    } else if (word == "--tensors" && i + 1 < argc) {
      num_tensors = std::strtoul(argv[++i], nullptr, 10);
    } else if (word == "--staged") {
      staged = true;
    } else {
      folder = word;
    }
  }
  if (folder.empty()) die("which folder?");
  std::filesystem::create_directories(folder);
  const Device device = must(Device::open(index));
  if (staged) device.state()->maps = false;
  print_machine(device.info(), folder);

  const Buffer pattern = checkpoint_like();
  const std::uint64_t bytes = num_tensors * kTensorBytes;
  const unsigned cores = thread_count(0);
  std::vector<DeviceMemory> weights, targets;
  Checkpoint checkpoint;
  std::vector<Tree::Entry> entries;
  const std::vector<std::uint64_t> shape = {kSide, kSide};
  std::vector<TensorLoad> uploads;
  for (std::size_t i = 0; i < num_tensors; ++i) {
    weights.push_back(must(device.allocate(kTensorBytes)));
    targets.push_back(must(device.allocate(kTensorBytes)));
    const TensorTarget weight{make_dtype(ScalarType::float32), shape, weights.back()};
    const ValueId key = checkpoint.tree.add_string(fmt::format("layer{}.weight", i));
    entries.push_back({key, checkpoint.tree.add_tensor(must(view_of(weight)))});
    Tensor host = must(view_of(weight));
    host.storage = borrowed_storage(pattern);
    host.offset_bytes = 0;
    uploads.push_back({host, weight, ""});
  }
  checkpoint.root = checkpoint.tree.add_dict(entries);
  checkpoint.attributes = checkpoint.tree.add_dict({});

  if (!device.state()->maps) {
    const Place place = static_cast<const ClAllocation&>(*targets[0].allocation).place();
    for (const bool to_device : {true, false}) {
      for (const unsigned lanes : {1U, 4U}) bus(device.state(), place, kTensorBytes, lanes, to_device);
    }
  }
  for (const std::uint64_t chunk : {bytes, std::uint64_t{256} << 20}) {
    const auto name = [&](const char* what) { return fmt::format("{} {} buffer(s) of scratch", what, bytes / chunk); };
    std::vector<ClMem> buffers;
    const auto allocate = [&] {
      auto lane = must(LaneLease::take(device.state()));
      const cl_uchar zero = 0;
      for (std::uint64_t at = 0; at < bytes / chunk; ++at) {
        buffers.emplace_back(
            opencl().create_buffer(device.state()->context.get(), CL_MEM_READ_WRITE, chunk, nullptr, nullptr));
        opencl().enqueue_fill_buffer(lane->queue.get(), buffers.back().get(), &zero, 1, 0, 1, 0, nullptr, nullptr);
      }
      opencl().finish(lane->queue.get());
    };
    row(name("allocate"), bytes, 3, allocate, [&] { buffers.clear(); });
    row(
        name("free"), bytes, 3, [&] { buffers.clear(); }, allocate);
  }
  row("copy on the device", bytes, 3, [&] {
    auto lane = must(LaneLease::take(device.state()));
    for (std::size_t i = 0; i < num_tensors; ++i) {
      must(enqueue_copy(lane->queue.get(), static_cast<const ClAllocation&>(*weights[i].allocation).place(),
                        static_cast<const ClAllocation&>(*targets[i].allocation).place(), kTensorBytes));
    }
    opencl().finish(lane->queue.get());
  });
  row("host memory to device (our engine)", bytes, 3, [&] { must(load_tensors(uploads)); });
  {
    std::vector<Buffer> copies(cores, Buffer(kTensorBytes));
    for (const unsigned threads : {1U, cores}) {
      row(fmt::format("memcpy, {} threads", threads), threads * 8 * kTensorBytes, 3, [&] {
        parallel_for(threads, threads, [&](std::size_t t) {
          for (int i = 0; i < 8; ++i) std::memcpy(copies[t].data(), pattern.data(), kTensorBytes);
        });
      });
    }
  }
  row(fmt::format("crc32 (ISA-L), {} threads", cores), bytes, 3, [&] {
    on_blocks(cores, bytes, [&](std::uint64_t at) {
      volatile std::uint32_t keep = crc32(0, std::span(pattern).subspan(at % kTensorBytes, kBlockBytes));
      (void)keep;
    });
  });
  row(fmt::format("deflate (ISA-L level 1), {} threads", cores), bytes, 2, [&] {
    on_blocks(cores, bytes, [&](std::uint64_t at) {
      thread_local Buffer out;
      out.clear();
      must(
          deflate_block(std::span(pattern).subspan(at % kTensorBytes, kBlockBytes), {}, true, DeflateLevel::fast, out));
    });
  });
  // The first touches memory that a virtual machine may not have had before.
  write_limit(folder, pattern, bytes, 1, Way::write);
  write_limit(folder, pattern, bytes, cores, Way::write);
  write_limit(folder, pattern, bytes, cores, Way::write_reserved);
  for (unsigned threads = cores; threads > 0; threads /= 2) write_limit(folder, pattern, bytes, threads, Way::map);

  const auto save = [&](const std::string& name, CompressionChoice compression, unsigned jobs) {
    ConvertOptions options;
    options.to = Format::npz;
    options.compression = compression;
    options.run.jobs = jobs;
    row(
        fmt::format("save {}, {} threads", name, jobs), bytes, 3,
        [&] { must(convert(checkpoint, folder + "/" + name, options)); },
        [&] { std::filesystem::remove(folder + "/" + name); });
  };
  const auto load = [&](const std::string& name, unsigned jobs, const std::string& how = "") {
    Run options;
    options.jobs = jobs;
    row(fmt::format("load {}, {} threads{}", name, jobs, how), bytes, 5, [&] {
      const Checkpoint file = must(open_checkpoint(folder + "/" + name));
      const auto tensors = must(list_tensors(file));
      std::vector<TensorLoad> loads;
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const Tensor& t = file.tree.tensor(tensors[i].value);
        loads.push_back({t, {t.dtype, t.shape, targets[i]}, tensors[i].name});
      }
      must(load_tensors(loads, options));
    });
    for (const DeviceMemory& memory : targets) {
      auto reader = must(memory.allocation->storage()->open());
      Buffer back(kTensorBytes);
      must(reader->read(0, back));
      if (back != pattern) die("what was loaded differs from what was saved");
      cl_uchar zero = 0;  // so that the next load cannot find its work done
      auto lane = must(LaneLease::take(device.state()));
      const Place place = static_cast<const ClAllocation&>(*memory.allocation).place();
      opencl().enqueue_fill_buffer(lane->queue.get(), place.memory, &zero, 1, 0, kTensorBytes, 0, nullptr, nullptr);
      opencl().finish(lane->queue.get());
    }
  };
  for (const unsigned jobs : {cores, std::max(1U, cores * 3 / 4), std::max(1U, cores / 2)}) {
    save("stored.npz", CompressionChoice::none, jobs);
  }
  for (const std::uint64_t megabytes : {8192U, 1024U, 64U}) {
    device.state()->scratch_chunk_bytes = megabytes << 20;
    load("stored.npz", cores, fmt::format(", scratch of {} MiB", megabytes));
  }
  device.state()->scratch_chunk_bytes = std::uint64_t{256} << 20;
  for (const unsigned jobs : {cores, std::max(1U, cores * 3 / 4), std::max(1U, cores / 2)}) load("stored.npz", jobs);
  device.state()->checks_first = true;
  load("stored.npz", cores, ", checked before");
  device.state()->checks_first = false;
  save("deflated.npz", CompressionChoice::fast, cores);
  load("deflated.npz", cores);
}
