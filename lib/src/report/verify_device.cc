// verify --device: whether a checkpoint can be used on a device. Each tensor goes there and comes back by the
// ways that loading and saving take. Neighbours share a buffer of the device, so that small ones cost no
// allocation each, and never more than that buffer is allocated there.
#include "report/verify_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/problem.h"
#include "base/try.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kPoolBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 20;

enum class Support { native, lacking, unknown };

/// Whether kernels of the device have a type for these elements.
Support support_of(ScalarType type, const DeviceInfo& device) {
  switch (type) {
    case ScalarType::float16:
    case ScalarType::complex32: return device.fp16 ? Support::native : Support::lacking;
    case ScalarType::float64:
    case ScalarType::complex128: return device.fp64 ? Support::native : Support::lacking;
    case ScalarType::bfloat16:
    case ScalarType::longdouble:
    case ScalarType::clongdouble:
    case ScalarType::float8_e4m3fn:
    case ScalarType::float8_e5m2:
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz:
    case ScalarType::float8_e8m0fnu: return Support::unknown;
    default: return Support::native;
  }
}

struct Travelling {
  const NamedTensor* named;
  const Tensor* tensor;
  DeviceMemory memory;  // its part of the pool
};

/// True where the device gave back what was sent. A file that cannot be read gives an error.
Result<bool> same_there(const Travelling& t) {
  CKPT_TRY(auto file, TensorReader::open(*t.tensor));
  CKPT_TRY(auto device, t.memory.allocation->storage()->open());
  device->will_read(t.memory.offset_bytes, t.memory.offset_bytes + t.memory.size_bytes);
  const std::uint64_t item = t.tensor->dtype.item_bytes;
  const std::uint64_t step = std::max(kBlockBytes / item, std::uint64_t{1}) * item;
  const auto blocks = thread_buffer(2 * step);
  for (std::uint64_t at = 0; file.remaining_bytes() > 0;) {
    const std::uint64_t n = std::min(step, file.remaining_bytes());
    const auto expected = blocks.first(n), found = blocks.subspan(step, n);
    CKPT_CHECK(file.read(expected));
    CKPT_CHECK(device->read(t.memory.offset_bytes + at, found));
    if (std::memcmp(expected.data(), found.data(), n) != 0) return false;
    at += n;
  }
  return true;
}

bool is_devices(ErrorCode code) { return code == ErrorCode::device || code == ErrorCode::out_of_memory; }

Result<void> round_trip(std::span<Travelling> group, const DeviceMemory& pool, const VerifyOptions& options,
                        VerifyReport& report) {
  std::vector<TensorLoad> loads;
  std::uint64_t at = 0;
  for (Travelling& t : group) {
    t.memory = {pool.allocation, at, t.tensor->size_bytes()};
    at += t.memory.size_bytes;
    loads.push_back({*t.tensor, {little_endian(t.tensor->dtype), t.tensor->shape, t.memory}, t.named->name});
  }
  if (auto loaded = load_tensors(loads, options.run); !loaded) {
    if (is_devices(loaded.error().code)) return loaded;
    if (group.size() == 1) return {};  // the file is damaged, which the checksums have told
    for (Travelling& t : group) CKPT_CHECK(round_trip({&t, 1}, pool, options, report));
    return {};
  }
  std::mutex mutex;
  std::optional<Error> failed;
  parallel_for(thread_count(options.run.jobs), group.size(), [&](std::size_t i) {
    const auto same = guarded([&] { return same_there(group[i]); });
    const std::lock_guard lock(mutex);
    if (!same) {
      if (is_devices(same.error().code) && !failed) failed = same.error();
    } else if (!*same) {
      report.problems.push_back(make_problem(ProblemCode::device_mismatch, group[i].named->name, std::nullopt,
                                             "came back from the device with other bits"));
    } else {
      report.device_bytes += group[i].memory.size_bytes;
    }
  });
  if (failed) return tl::make_unexpected(std::move(*failed));
  return {};
}

}  // namespace

Result<void> verify_on_device(const Tree& tree, std::span<const NamedTensor> tensors, const VerifyOptions& options,
                              VerifyReport& report) {
  const Device& device = *options.device;
  const DeviceInfo& info = device.info();
  const auto add = [&](ProblemCode code, const std::string& where, std::string message,
                       std::optional<Severity> severity = {}) {
    report.problems.push_back(make_problem(code, where, std::nullopt, std::move(message), severity));
  };
  std::vector<Travelling> all;
  std::set<ScalarType> told;
  std::uint64_t total = 0, largest = 0;
  for (const NamedTensor& named : tensors) {
    const Tensor& t = tree.tensor(named.value);
    if (!t.storage) continue;
    const std::uint64_t bytes = t.size_bytes();
    const Support support = support_of(t.dtype.type, info);
    if (support != Support::native && told.insert(t.dtype.type).second) {
      const bool lacking = support == Support::lacking;
      add(ProblemCode::device_dtype, named.name,
          fmt::format("{}: {} {}", info.name, lacking ? "its kernels cannot compute with" : "OpenCL has no type for",
                      t.dtype.name()),
          lacking ? Severity::warning : Severity::note);
    }
    total += bytes;  // of tensors that are all in one file or expanded within limits: no overflow
    if (bytes > info.max_allocation_bytes) {
      add(ProblemCode::device_allocation, named.name,
          fmt::format("{} bytes, but a buffer of {} holds {}", bytes, info.name, info.max_allocation_bytes));
    } else if (bytes > 0) {
      largest = std::max(largest, bytes);
      all.push_back({&named, &t, {}});
    }
  }
  if (total > info.memory_bytes) {
    add(ProblemCode::device_memory, "",
        fmt::format("its tensors are {} bytes, and {} has {}", total, info.name, info.memory_bytes));
  }
  if (all.empty()) return {};
  const std::uint64_t pool_bytes = std::max(largest, std::min({kPoolBytes, total, info.max_allocation_bytes}));
  CKPT_TRY(const DeviceMemory pool, device.allocate(pool_bytes));
  for (std::size_t first = 0; first < all.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = first;
    for (; end < all.size() && all[end].tensor->size_bytes() <= pool_bytes - bytes; ++end) {
      bytes += all[end].tensor->size_bytes();
    }
    CKPT_CHECK(round_trip(std::span(all).subspan(first, end - first), pool, options, report));
    first = end;
  }
  return {};
}

}  // namespace netcl::ckpt
