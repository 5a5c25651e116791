#include "catch.h"
#include "load/opencl/device_state.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::string> codes(const VerifyReport& report) {
  std::vector<std::string> out;
  for (const Problem& p : report.problems) out.push_back(std::string(to_string(p.code)) + " " + p.where);
  return out;
}

/// Gives every second large read with one bit changed.
cl_int reads_badly(cl_command_queue queue, cl_mem memory, cl_bool, std::size_t offset, std::size_t size, void* to,
                   cl_uint, const cl_event*, cl_event* event) {
  const cl_int status = ::clEnqueueReadBuffer(queue, memory, CL_TRUE, offset, size, to, 0, nullptr, event);
  if (size > 1000) static_cast<char*>(to)[size - 1] ^= 1;
  return status;
}

}  // namespace

TEST_CASE("verify: on a device", "[report][device]") {
  auto device = Device::open(0);
  if (!device) return;
  const TemporaryFolder folder;
  const std::vector<double> large(700'000, 2.5), small = {1, 2, 3};
  Tensor transposed = tensor_of(large, make_dtype(ScalarType::float64), {700, 1000});
  transposed.shape = {1000, 700};
  transposed.strides = {1, 1000};
  ConvertOptions as_is;
  REQUIRE(convert(checkpoint_of({{"large", tensor_of(large, ScalarType::float64)},
                                 {"small", tensor_of(small, ScalarType::float64)},
                                 {"transposed", transposed},
                                 {"none", tensor_of(std::vector<float>{}, ScalarType::float32)},
                                 {"half", tensor_of(std::vector<std::uint16_t>(9), ScalarType::float16)},
                                 {"brain", tensor_of(std::vector<std::uint16_t>(9), ScalarType::bfloat16)}}),
                  folder / "a.npz", as_is));
  VerifyOptions options;
  options.device = *device;
  DeviceInfo& info = device->state()->info;
  info.fp16 = false;
  info.fp64 = true;
  for (const bool maps : {true, false}) {
    device->state()->maps = maps;
    const VerifyReport report = verify(folder / "a.npz", options).value();
    CHECK(report.sound());
    CHECK(report.device_bytes == 2 * 700'000 * 8 + 24 + 36);
    CHECK(codes(report) == std::vector<std::string>{"device-dtype half", "device-dtype brain"});
  }

  SECTION("what does not fit") {
    info.fp16 = true;
    info.max_allocation_bytes = 1'000'000;
    info.memory_bytes = 2'000'000;
    const VerifyReport report = verify(folder / "a.npz", options).value();
    CHECK(codes(report) == std::vector<std::string>{"device-allocation large", "device-allocation transposed",
                                                    "device-dtype brain", "device-memory "});
    CHECK(report.device_bytes == 24 + 36);
  }
  SECTION("a device that changes bits") {
    info.fp16 = true;
    const auto original = opencl().enqueue_read_buffer;
    opencl().enqueue_read_buffer = &reads_badly;
    const VerifyReport report = verify(folder / "a.npz", options).value();
    opencl().enqueue_read_buffer = original;
    CHECK_FALSE(report.sound());
    CHECK(report.device_bytes == 24 + 36);
  }
  SECTION("a damaged file says so once, and the rest is compared") {
    std::string file = read_text(folder / "a.npz");
    file[1000] = static_cast<char>(file[1000] ^ 1);
    write_text(folder / "a.npz", file);
    const VerifyReport report = verify(folder / "a.npz", options).value();
    CHECK(codes(report)[0] == "checksum-mismatch large.npy");
    CHECK(report.device_bytes == 700'000 * 8 + 24 + 36);
  }
}
