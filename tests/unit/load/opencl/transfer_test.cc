#include <cstring>
#include <optional>

#include "bytes.h"
#include "catch.h"
#include "load/opencl/device_state.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/device_cl.h"
#include "netcl/ckpt/load.h"
#include "netcl/ckpt/open.h"
#include "opencl_tap.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

/// The ways that bytes take to a device; PoCL's maps, and can be made to do otherwise.
enum class Way { mapped, staged, checked_first };
constexpr Way kWays[] = {Way::mapped, Way::staged, Way::checked_first};

/// Absent where this machine has none.
std::optional<Device> open_device(Way way) {
  if (!load_opencl()) return std::nullopt;
  install_tap();
  auto device = Device::open(0);
  if (!device) {
    WARN("not tested: " + device.error().message);
    return std::nullopt;
  }
  device->state()->maps = way == Way::mapped;
  device->state()->checks_first = way == Way::checked_first;
  return std::move(*device);
}

std::vector<std::byte> counting(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 131 + i / 251 + seed);
  return bytes;
}

std::vector<std::byte> bytes_of(const DeviceMemory& memory) {
  std::vector<std::byte> bytes(memory.size_bytes);
  REQUIRE(memory.allocation->storage()->open().value()->read(memory.offset_bytes, bytes));
  return bytes;
}

Tensor bytes_tensor(const std::vector<std::byte>& bytes) {
  return tensor_of(bytes, make_dtype(ScalarType::uint8), {bytes.size()});
}

TensorLoad load_of(const std::vector<std::byte>& bytes, const DeviceMemory& memory) {
  return {bytes_tensor(bytes), {make_dtype(ScalarType::uint8), {bytes.size()}, memory}, "bytes"};
}

DeviceMemory part(DeviceMemory memory, std::uint64_t offset, std::uint64_t size) {
  memory.offset_bytes += offset;
  memory.size_bytes = size;
  return memory;
}

struct Named {
  std::string name;
  TensorTarget target;
};

Result<void> save(const std::filesystem::path& path, const std::vector<Named>& arrays, CompressionChoice compression) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Named& a : arrays) tensors.emplace_back(a.name, view_of(a.target).value());
  ConvertOptions options;
  options.compression = compression;
  options.replace = true;
  const auto done = convert(checkpoint_of(tensors), path, options);
  if (!done) return tl::make_unexpected(done.error());
  return {};
}

Result<void> load(const std::filesystem::path& path, const std::vector<Named>& arrays, unsigned jobs = 0) {
  auto checkpoint = open_checkpoint(path);
  if (!checkpoint) return tl::make_unexpected(checkpoint.error());
  const auto tensors = list_tensors(*checkpoint).value();
  REQUIRE(tensors.size() == arrays.size());
  std::vector<TensorLoad> loads;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    CHECK(tensors[i].name == arrays[i].name);
    loads.push_back({checkpoint->tree.tensor(tensors[i].value), arrays[i].target, arrays[i].name});
  }
  Run options;
  options.jobs = jobs;
  return load_tensors(loads, options);
}

TensorTarget bytes_target(const DeviceMemory& memory) {
  return {make_dtype(ScalarType::uint8), {memory.size_bytes}, memory};
}

}  // namespace

TEST_CASE("transfer: every dtype goes to the device, into a file and back unchanged", "[load]") {
  const TemporaryFolder folder;
  for (const Way way : kWays) {
    const auto device = open_device(way);
    if (!device) return;
    std::vector<Named> saved, loaded;
    std::vector<std::vector<std::byte>> contents;
    for (int t = 0; t <= static_cast<int>(ScalarType::float8_e8m0fnu); ++t) {
      const DType dtype = make_dtype(static_cast<ScalarType>(t));
      if (dtype.type == ScalarType::complex32) continue;  // npz has no name for it
      contents.push_back(counting(35 * dtype.item_bytes, static_cast<unsigned>(t)));
      const std::vector<std::uint64_t> shape = {5, 7};
      const TensorTarget from{dtype, shape, device->allocate(contents.back().size()).value()};
      const TensorTarget to{dtype, shape, device->allocate(contents.back().size()).value()};
      Tensor host = tensor_of(contents.back(), dtype, shape);
      REQUIRE(load_tensors({{{host, from, dtype.name()}}}));
      saved.push_back({dtype.name(), from});
      loaded.push_back({dtype.name(), to});
    }
    for (const auto compression : {CompressionChoice::none, CompressionChoice::fast}) {
      REQUIRE(save(folder / "a.npz", saved, compression));
      const auto done = load(folder / "a.npz", loaded);
      INFO((done ? "" : done.error().to_string()));
      REQUIRE(done);
      for (std::size_t i = 0; i < loaded.size(); ++i) {
        INFO(loaded[i].name);
        CHECK(bytes_of(std::get<DeviceMemory>(loaded[i].target.memory)) == contents[i]);
      }
    }
  }
}

TEST_CASE("transfer: large tensors, parts of pools and what lies beside them", "[load]") {
  const TemporaryFolder folder;
  for (const Way way : kWays) {
    const auto device = open_device(way);
    if (!device) return;
    const auto large = counting(11'000'003, 3);
    const DeviceMemory pool = device->allocate(large.size() + 300).value();
    const auto background = counting(large.size() + 300, 99);
    REQUIRE(load_tensors({{load_of(background, pool)}}));
    const DeviceMemory here = part(pool, 100, large.size());
    const DeviceMemory source = device->allocate(large.size()).value();
    REQUIRE(load_tensors({{load_of(large, source)}}));
    for (const auto compression : {CompressionChoice::none, CompressionChoice::fast}) {
      for (const unsigned jobs : {1U, 3U}) {
        REQUIRE(load_tensors({{load_of(background, pool)}}));
        REQUIRE(save(folder / "a.npz", {{"w", bytes_target(source)}}, compression));
        REQUIRE(load(folder / "a.npz", {{"w", bytes_target(here)}}, jobs));
        auto expected = background;
        std::copy(large.begin(), large.end(), expected.begin() + 100);
        CHECK(bytes_of(pool) == expected);
        // And out of the pool again.
        REQUIRE(save(folder / "b.npz", {{"w", bytes_target(here)}}, compression));
        CHECK(elements_of(open_checkpoint(folder / "b.npz")
                              .value()
                              .tree.tensor(list_tensors(open_checkpoint(folder / "b.npz").value()).value()[0].value)) ==
              large);
      }
    }
  }
}

TEST_CASE("transfer: a program's own buffers, sub-buffers and queue", "[load]") {
  for (const Way way : kWays) {
    const auto opened = open_device(way);
    if (!opened) return;
    cl_int status = CL_SUCCESS;
    const cl_command_queue queue = ::clCreateCommandQueue(context_of(*opened), id_of(*opened), 0, &status);
    const cl_mem buffer = ::clCreateBuffer(context_of(*opened), CL_MEM_READ_WRITE, 8192, nullptr, &status);
    const cl_buffer_region region{4096, 4096};
    const cl_mem sub = ::clCreateSubBuffer(buffer, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &status);
    REQUIRE(status == CL_SUCCESS);
    {
      const Device device = wrap_queue(queue).value();
      device.state()->maps = way == Way::mapped;
      const DeviceMemory all = wrap_buffer(device, buffer, 0, 8192).value();
      const DeviceMemory in_sub = wrap_buffer(device, sub, 16, 1000).value();
      CHECK_FALSE(wrap_buffer(device, sub, 16, 4090));
      CHECK(buffer_of(all) == buffer);
      const auto background = counting(8192, 1), bytes = counting(1000, 2);
      REQUIRE(load_tensors({{load_of(background, all)}}));
      // Still in the program's queue when the load begins, which must wait for it.
      const std::vector<std::byte> late(8192, std::byte{7});
      REQUIRE(::clEnqueueWriteBuffer(queue, buffer, CL_FALSE, 0, 8192, late.data(), 0, nullptr, nullptr) == CL_SUCCESS);
      REQUIRE(load_tensors({{load_of(bytes, in_sub)}}));
      auto expected = late;
      std::copy(bytes.begin(), bytes.end(), expected.begin() + 4096 + 16);
      CHECK(bytes_of(all) == expected);
      CHECK(bytes_of(in_sub) == bytes);

      const auto other = open_device(way);  // another context
      CHECK_FALSE(wrap_buffer(*other, buffer, 0, 8192));
    }
    ::clReleaseMemObject(sub);
    ::clReleaseMemObject(buffer);
    ::clReleaseCommandQueue(queue);
  }
}

TEST_CASE("transfer: shared virtual memory", "[load]") {
  for (const Way way : kWays) {
    const auto device = open_device(way);
    if (!device || !device->info().svm) return;
    void* const pointer = ::clSVMAlloc(context_of(*device), CL_MEM_READ_WRITE, 6'000'000, 0);
    REQUIRE(pointer != nullptr);
    const DeviceMemory memory = wrap_svm(*device, pointer, 6'000'000).value();
    CHECK(buffer_of(memory) == nullptr);
    const auto bytes = counting(5'999'000, 4);
    REQUIRE(load_tensors({{load_of(bytes, part(memory, 1000, bytes.size()))}}));
    CHECK(bytes_of(part(memory, 1000, bytes.size())) == bytes);
    ::clSVMFree(context_of(*device), pointer);
  }
}

TEST_CASE("transfer: a checkpoint of one device opens on another", "[load]") {
  const TemporaryFolder folder;
  const auto one = open_device(Way::staged), two = open_device(Way::mapped);
  if (!one) return;
  const auto bytes = counting(4'500'000, 8);
  const DeviceMemory from = one->allocate(bytes.size()).value(), to = two->allocate(bytes.size()).value();
  std::vector<std::byte> host(bytes.size());
  REQUIRE(load_tensors({{load_of(bytes, from)}}));
  REQUIRE(save(folder / "a.npz", {{"w", bytes_target(from)}}, CompressionChoice::none));
  REQUIRE(load(folder / "a.npz", {{"w", bytes_target(to)}}));
  CHECK(bytes_of(to) == bytes);
  // From device to device, and to a device and the host in one load.
  const Tensor tensor = view_of(bytes_target(to)).value();
  REQUIRE(load_tensors(std::vector<TensorLoad>{{tensor, bytes_target(from), "a"},
                                               {tensor, {tensor.dtype, tensor.shape, std::span(host)}, "b"}}));
  CHECK(host == bytes);
}

TEST_CASE("transfer: a damaged member leaves every target as it was", "[load][hostile]") {
  const TemporaryFolder folder;
  for (const Way way : kWays) {
    const auto device = open_device(way);
    if (!device) return;
    const auto good = counting(5'000'000, 1), bad = counting(5'000'000, 7), old = counting(5'000'000, 50);
    for (const auto compression : {CompressionChoice::none, CompressionChoice::fast}) {
      const DeviceMemory a = device->allocate(good.size()).value(), b = device->allocate(bad.size()).value();
      REQUIRE(load_tensors(std::vector{load_of(good, a), load_of(bad, b)}));
      REQUIRE(save(folder / "a.npz", {{"a", bytes_target(a)}, {"b", bytes_target(b)}}, compression));
      REQUIRE(load_tensors(std::vector{load_of(old, a), load_of(old, b)}));
      std::string file = read_text(folder / "a.npz");
      const std::size_t at = file.size() - file.size() / 8;
      file[at] = static_cast<char>(file[at] ^ 1);
      write_text(folder / "a.npz", file);
      const auto done = load(folder / "a.npz", {{"a", bytes_target(a)}, {"b", bytes_target(b)}});
      REQUIRE_FALSE(done);
      CHECK(done.error().member.starts_with("b"));
      CHECK(bytes_of(a) == old);
      CHECK(bytes_of(b) == old);
    }
  }
}

TEST_CASE("transfer: a device without room for a copy of the load checks it first", "[load]") {
  const auto device = open_device(Way::staged);
  if (!device) return;
  const auto a = counting(6'000'000, 1), b = counting(5'000'000, 2), c = counting(100, 3);
  const DeviceMemory to_a = device->allocate(a.size()).value(), to_b = device->allocate(b.size()).value(),
                     to_c = device->allocate(c.size()).value();
  const std::vector<TensorLoad> loads = {load_of(a, to_a), load_of(b, to_b), load_of(c, to_c)};
  const std::uint64_t limit = device->state()->info.max_allocation_bytes;
  for (const std::uint64_t chunk : {1'000ULL, 5'000'100ULL, 20'000'000ULL}) {
    for (const bool room : {true, false}) {
      device->state()->scratch_chunk_bytes = chunk;
      device->state()->info.max_allocation_bytes = room ? limit : 5'500'000;
      const std::vector<std::byte> none(a.size());
      REQUIRE(load_tensors({{load_of(none, to_a)}}));
      const long before = tap_counts().copies;
      REQUIRE(load_tensors(loads));
      CHECK(tap_counts().copies - before == (room ? 3 : 0));
      CHECK(bytes_of(to_a) == a);
      CHECK(bytes_of(to_b) == b);
      CHECK(bytes_of(to_c) == c);
    }
  }
}

TEST_CASE("transfer: small tensors travel together", "[load]") {
  const TemporaryFolder folder;
  const auto device = open_device(Way::staged);
  if (!device) return;
  constexpr std::size_t kCount = 2000;
  const DeviceMemory pool = device->allocate(kCount * 64).value();
  const auto bytes = counting(kCount * 64, 1);
  REQUIRE(load_tensors({{load_of(bytes, pool)}}));
  std::vector<Named> biases;
  for (std::size_t i = 0; i < kCount; ++i) {
    biases.push_back({"b" + std::to_string(i), bytes_target(part(pool, i * 64, 40))});
  }
  REQUIRE(save(folder / "a.npz", biases, CompressionChoice::none));
  REQUIRE(load_tensors({{load_of(std::vector<std::byte>(bytes.size()), pool)}}));
  const long before = tap_counts().writes;
  REQUIRE(load(folder / "a.npz", biases));
  CHECK(tap_counts().writes - before <= 4);
  const auto back = bytes_of(pool);
  for (std::size_t i = 0; i < kCount; ++i) {
    REQUIRE(std::memcmp(back.data() + i * 64, bytes.data() + i * 64, 40) == 0);
    REQUIRE(back[i * 64 + 40] == std::byte{0});
  }
}

TEST_CASE("transfer: whichever call of OpenCL fails, nothing leaks and the error is told", "[load]") {
  const TemporaryFolder folder;
  for (const Way way : kWays) {
    const long objects = tap_counts().objects, mappings = tap_counts().mappings;
    long failures = 0;
    for (long n = 0;; ++n) {
      const auto device = open_device(way);
      if (!device) return;
      const auto bytes = counting(4'500'000, 1), old = counting(4'500'000, 2);
      const DeviceMemory memory = device->allocate(bytes.size()).value();
      REQUIRE(load_tensors({{load_of(bytes, memory)}}));
      REQUIRE(save(folder / "a.npz", {{"w", bytes_target(memory)}}, CompressionChoice::none));
      REQUIRE(load_tensors({{load_of(old, memory)}}));
      device->state()->drop_idle_lanes();  // so that making them can fail too
      tap_counts().until_failure = n;
      const auto saved = save(folder / "b.npz", {{"w", bytes_target(memory)}}, CompressionChoice::none);
      const auto loaded = load(folder / "a.npz", {{"w", bytes_target(memory)}}, 1);
      const bool failed = tap_counts().until_failure < 0;
      tap_counts().until_failure = -1;
      if (!saved || !loaded) {
        ++failures;
        const Error& e = saved ? loaded.error() : saved.error();
        CHECK(e.code == ErrorCode::device);
      }
      if (loaded) CHECK(bytes_of(memory) == bytes);
      if (!failed) break;
    }
    CHECK(failures > 5);
    CHECK(tap_counts().objects == objects);
    CHECK(tap_counts().mappings == mappings);
    CHECK(tap_counts().svm == 0);
  }
}

TEST_CASE("device: there is no device beyond the last", "[load]") {
  if (!open_device(Way::mapped)) return;
  const auto devices = list_devices().value();
  CHECK(devices[0].index == 0);
  CHECK(devices[0].memory_bytes > 0);
  const auto none = Device::open(devices.size());
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ErrorCode::invalid_argument);
  CHECK_FALSE(Device::open(0).value().allocate(0));
}
