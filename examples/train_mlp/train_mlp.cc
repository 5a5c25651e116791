// A training loop that can be killed at any moment: a network of two layers on an OpenCL device, Adam, generated
// data. It begins where its folder's newest valid checkpoint ends, and a run that was killed and taken up again
// ends with the same bits as one that was not.
//
//     train_mlp FOLDER [--steps N] [--every N] [--die-at N]
//
// What matters for that is in Arrays and main(); the rest is the network.
#include <netcl/ckpt/device_cl.h>
#include <netcl/ckpt/load.h>
#include <netcl/ckpt/manager.h>
#include <netcl/ckpt/optimizer.h>
#include <netcl/ckpt/save.h>

#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace netcl::ckpt;

constexpr std::size_t kInputs = 32, kHidden = 64, kOutputs = 8, kBatch = 64;

// Every sum is made by one work-item in a fixed order: floating-point addition in another gives other bits.
constexpr const char* kKernels = R"(
// out[b, o] = sum_i in[b, i] * weight[i, o] + bias[o], and what is negative becomes 0 where `rectify`
kernel void linear(global const float* in, global const float* weight, global const float* bias, global float* out,
                   int inputs, int outputs, int rectify) {
  int o = get_global_id(0), b = get_global_id(1);
  float sum = bias[o];
  for (int i = 0; i < inputs; ++i) sum += in[b * inputs + i] * weight[i * outputs + o];
  out[b * outputs + o] = rectify ? fmax(sum, 0.0f) : sum;
}
// The derivative of the mean squared error
kernel void error(global const float* out, global const float* target, global float* delta, float scale) {
  int k = get_global_id(0);
  delta[k] = (out[k] - target[k]) * scale;
}
kernel void backward(global const float* delta, global const float* weight, global const float* activation,
                     global float* before, int inputs, int outputs) {
  int i = get_global_id(0), b = get_global_id(1);
  float sum = 0;
  for (int o = 0; o < outputs; ++o) sum += delta[b * outputs + o] * weight[i * outputs + o];
  before[b * inputs + i] = activation[b * inputs + i] > 0 ? sum : 0;
}
// One more row of inputs that are 1 gives the bias.
kernel void gradient(global const float* in, global const float* delta, global float* weight, global float* bias,
                     int inputs, int outputs, int batch) {
  int o = get_global_id(0), i = get_global_id(1);
  float sum = 0;
  for (int b = 0; b < batch; ++b) sum += (i < inputs ? in[b * inputs + i] : 1.0f) * delta[b * outputs + o];
  if (i < inputs) weight[i * outputs + o] = sum; else bias[o] = sum;
}
kernel void adam(global float* weight, global const float* gradient, global float* m, global float* v, float rate,
                 float correction1, float correction2) {
  int k = get_global_id(0);
  m[k] = 0.9f * m[k] + 0.1f * gradient[k];
  v[k] = 0.999f * v[k] + 0.001f * gradient[k] * gradient[k];
  weight[k] -= rate * (m[k] / correction1) / (sqrt(v[k] / correction2) + 1e-8f);
}
)";

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "train_mlp: %s\n", what.c_str());
  std::exit(2);
}

void check(cl_int status, const char* what) {
  if (status != CL_SUCCESS) die(std::string(what) + " failed: " + std::to_string(status));
}

template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// One weight or bias with what Adam keeps of it.
struct Weights {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::size_t size = 0;
  cl_mem value = nullptr, gradient = nullptr, m = nullptr, v = nullptr;
};

class Network {
 public:
  Network() {
    cl_platform_id platform = nullptr;
    cl_device_id id = nullptr;
    check(clGetPlatformIDs(1, &platform, nullptr), "clGetPlatformIDs");
    check(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &id, nullptr), "clGetDeviceIDs");
    cl_int status = CL_SUCCESS;
    context_ = clCreateContext(nullptr, 1, &id, nullptr, nullptr, &status);
    check(status, "clCreateContext");
    queue_ = clCreateCommandQueueWithProperties(context_, id, nullptr, &status);
    check(status, "clCreateCommandQueueWithProperties");
    const char* source = kKernels;
    program_ = clCreateProgramWithSource(context_, 1, &source, nullptr, &status);
    check(status, "clCreateProgramWithSource");
    check(clBuildProgram(program_, 1, &id, "", nullptr, nullptr), "clBuildProgram");

    std::mt19937 random(1);
    weights_ = {make_weights("fc1.weight", {kInputs, kHidden}, random), make_weights("fc1.bias", {kHidden}, random),
                make_weights("fc2.weight", {kHidden, kOutputs}, random), make_weights("fc2.bias", {kOutputs}, random)};
    constexpr std::size_t kSizes[] = {kInputs, kOutputs, kHidden, kOutputs, kHidden, kOutputs};
    for (std::size_t i = 0; i < scratch_.size(); ++i) scratch_[i] = buffer(std::vector<float>(kBatch * kSizes[i]));
  }
  ~Network() {
    for (const Weights& p : weights_) {
      for (cl_mem memory : {p.value, p.gradient, p.m, p.v}) clReleaseMemObject(memory);
    }
    for (cl_mem memory : scratch_) clReleaseMemObject(memory);
    clReleaseProgram(program_);
    clReleaseCommandQueue(queue_);
    clReleaseContext(context_);
  }
  Network(const Network&) = delete;

  cl_command_queue queue() const { return queue_; }
  const std::array<Weights, 4>& weights() const { return weights_; }

  /// Step `step`, counted from 1. Its batch depends on nothing else, so no generator's state has to be kept.
  void train(std::uint64_t step) {
    std::mt19937 random(static_cast<unsigned>(step));
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> in(kBatch * kInputs), target(kBatch * kOutputs);
    for (float& x : in) x = uniform(random);
    for (std::size_t k = 0; k < target.size(); ++k) {
      const std::size_t b = k / kOutputs, o = k % kOutputs;
      target[k] = in[b * kInputs + o] * in[b * kInputs + o + 1];
    }
    const auto& [x, y, hidden, out, delta_hidden, delta] = scratch_;
    const auto& [w1, b1, w2, b2] = weights_;
    check(clEnqueueWriteBuffer(queue_, x, CL_TRUE, 0, in.size() * 4, in.data(), 0, nullptr, nullptr), "write");
    check(clEnqueueWriteBuffer(queue_, y, CL_TRUE, 0, target.size() * 4, target.data(), 0, nullptr, nullptr), "write");
    const auto inputs = static_cast<cl_int>(kInputs), width = static_cast<cl_int>(kHidden),
               outputs = static_cast<cl_int>(kOutputs), batch = static_cast<cl_int>(kBatch);
    run("linear", kHidden, kBatch, x, w1.value, b1.value, hidden, inputs, width, cl_int{1});
    run("linear", kOutputs, kBatch, hidden, w2.value, b2.value, out, width, outputs, cl_int{0});
    run("error", kBatch * kOutputs, 1, out, y, delta, 2.0F / (kBatch * kOutputs));
    run("backward", kHidden, kBatch, delta, w2.value, hidden, delta_hidden, width, outputs);
    run("gradient", kOutputs, kHidden + 1, hidden, delta, w2.gradient, b2.gradient, width, outputs, batch);
    run("gradient", kHidden, kInputs + 1, x, delta_hidden, w1.gradient, b1.gradient, inputs, width, batch);
    const auto t = static_cast<float>(step);
    for (const Weights& p : weights_) {
      run("adam", p.size, 1, p.value, p.gradient, p.m, p.v, 0.003F, 1 - std::pow(0.9F, t), 1 - std::pow(0.999F, t));
    }
  }

  /// Of the last batch.
  double loss() {
    std::vector<float> delta(kBatch * kOutputs);
    check(clEnqueueReadBuffer(queue_, scratch_[5], CL_TRUE, 0, delta.size() * 4, delta.data(), 0, nullptr, nullptr),
          "read");
    double sum = 0;
    for (const float d : delta) sum += std::pow(d * (kBatch * kOutputs) / 2, 2) / (kBatch * kOutputs);
    return sum;
  }

 private:
  cl_mem buffer(std::vector<float> values) {
    cl_int status = CL_SUCCESS;
    const cl_mem memory =
        clCreateBuffer(context_, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, values.size() * 4, values.data(), &status);
    check(status, "clCreateBuffer");
    return memory;
  }

  Weights make_weights(const char* name, std::vector<std::uint64_t> shape, std::mt19937& random) {
    Weights p;
    p.name = name;
    p.size = shape.size() == 2 ? shape[0] * shape[1] : shape[0];
    p.shape = std::move(shape);
    std::uniform_real_distribution<float> uniform(-0.2F, 0.2F);
    std::vector<float> values(p.size), zeros(p.size);
    for (float& v : values) v = uniform(random);
    p.value = buffer(values);
    p.gradient = buffer(zeros);
    p.m = buffer(zeros);
    p.v = buffer(zeros);
    return p;
  }

  template <class... Arguments>
  void run(const char* name, std::size_t width, std::size_t height, const Arguments&... arguments) {
    cl_int status = CL_SUCCESS;
    const cl_kernel kernel = clCreateKernel(program_, name, &status);
    check(status, name);
    cl_uint index = 0;
    (check(clSetKernelArg(kernel, index++, sizeof arguments, &arguments), name), ...);
    const std::size_t size[2] = {width, height};
    check(clEnqueueNDRangeKernel(queue_, kernel, 2, nullptr, size, nullptr, 0, nullptr, nullptr), name);
    clReleaseKernel(kernel);
  }

  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
  cl_program program_ = nullptr;
  std::array<Weights, 4> weights_;
  std::array<cl_mem, 6> scratch_{};  // inputs, targets, hidden, outputs, and the errors of the last two
};

/// The network's buffers as arrays that are saved and loaded.
struct Arrays {
  Arrays(const Device& device, const Network& network) {
    const auto array_of = [&](const Weights& w, cl_mem buffer) {
      return TensorTarget{make_dtype(ScalarType::float32), w.shape,
                          must(wrap_buffer(device, buffer, 0, w.size * sizeof(float)))};
    };
    for (const Weights& w : network.weights()) {
      model.push_back({w.name, array_of(w, w.value)});
      adam.moments.emplace_back(array_of(w, w.m), array_of(w, w.v));
    }
  }

  Value state() const {
    Value::Entries entries;
    for (const Parameter& p : model) entries.emplace_back(p.name, p.target);
    return Value::dict({{"model", Value::dict(std::move(entries))}, {"optimizer", adam.value()}});
  }

  void load(const Checkpoint& checkpoint) {
    MatchOptions options;
    options.scope = "model";
    must(load_parameters(checkpoint, model, options));
    must(load_optimizer(checkpoint, "optimizer", adam));
  }

  std::vector<Parameter> model;
  AdamState adam;
};

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  std::uint64_t steps = 300, every = 20, die_at = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    std::uint64_t* const number = word == "--steps"    ? &steps
                                  : word == "--every"  ? &every
                                  : word == "--die-at" ? &die_at
                                                       : nullptr;
    if (number != nullptr && i + 1 < argc) {
      *number = std::strtoull(argv[++i], nullptr, 10);
    } else {
      folder = word;
    }
  }
  if (folder.empty() || every == 0) die("usage: train_mlp FOLDER [--steps N] [--every N] [--die-at N]");
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was printed before a kill is seen
  Network network;
  Arrays arrays(must(wrap_queue(network.queue())), network);
  ManagerOptions options;
  options.every_steps = every;
  options.retention.keep_last = 3;
  CheckpointManager manager = must(CheckpointManager::open(folder, options));
  if (const auto last = must(manager.restore_latest())) {
    arrays.load(last->checkpoint);
    std::printf("resumed from %s\n", last->info.path.filename().c_str());
  }
  std::printf("begins after step %lld\n", static_cast<long long>(arrays.adam.t));
  for (std::uint64_t step = static_cast<std::uint64_t>(arrays.adam.t) + 1; step <= steps; ++step) {
    network.train(step);
    if (step % 50 == 0) std::printf("step %llu  loss %.5f\n", static_cast<unsigned long long>(step), network.loss());
    if (step == die_at) std::raise(SIGKILL);
    arrays.adam.t = static_cast<std::int64_t>(step);
    if (must(manager.maybe_save(step, 0, arrays.state())))
      std::printf("saved %llu\n", static_cast<unsigned long long>(step));
  }
  must(manager.save_final(steps, 0, arrays.state()));
}
