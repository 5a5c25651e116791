// Loads into memory of the process.
//
// All or nothing: the checksums are compared in a first pass and the targets filled in a second, straight
// from the file. The second read comes from the page cache at memory speed. Rejected: to read into a copy
// and move it over at the end, which takes twice the model's memory and the time of faulting it in.
#include "load/host_load.h"

#include <cstring>

#include "base/buffer.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

/// Takes blocks nowhere: the pass that only checks.
class NoSink final : public BlockSink {
 public:
  Result<std::span<std::byte>> take(std::size_t size, std::span<const Destination>) override {
    return thread_buffer(size);
  }
  Result<void> put(std::span<const std::byte>, std::span<const Destination>) override { return {}; }
  Result<void> finish() override { return {}; }
};

class HostSink final : public BlockSink {
 public:
  explicit HostSink(std::span<const std::span<std::byte>> targets) : targets_(targets) {}
  Result<std::span<std::byte>> take(std::size_t size, std::span<const Destination> destinations) override {
    return place(destinations.front(), size);
  }
  Result<void> put(std::span<const std::byte> block, std::span<const Destination> destinations) override {
    for (const Destination& d : destinations.subspan(1)) {
      std::memcpy(place(d, block.size()).data(), block.data(), block.size());
    }
    return {};
  }
  Result<void> finish() override { return {}; }

 private:
  std::span<std::byte> place(const Destination& d, std::size_t size) const {
    return targets_[d.load].subspan(d.to, size);
  }
  std::span<const std::span<std::byte>> targets_;
};

class PreparedHostLoad final : public PreparedLoad {
 public:
  PreparedHostLoad(LoadPlan plan, Run run) : plan_(std::move(plan)), run_(std::move(run)) {}
  Result<void> commit() override {
    std::vector<std::span<std::byte>> targets;
    for (const TensorLoad& load : plan_.loads()) {
      targets.push_back(std::get<std::span<std::byte>>(load.to.memory));
    }
    return fill_host(plan_, targets, run_);
  }

 private:
  LoadPlan plan_;
  Run run_;
};

}  // namespace

Result<void> check_plan(const LoadPlan& plan, const Run& run) {
  return plan.run(LoadPlan::Pass::check, run,
                  [] { return Result<std::unique_ptr<BlockSink>>(std::make_unique<NoSink>()); });
}

Result<void> fill_host(const LoadPlan& plan, std::span<const std::span<std::byte>> targets, const Run& run) {
  return plan.run(LoadPlan::Pass::fill, run,
                  [&] { return Result<std::unique_ptr<BlockSink>>(std::make_unique<HostSink>(targets)); });
}

Result<std::unique_ptr<PreparedLoad>> prepare_host_load(std::span<const TensorLoad> loads, const Run& run) {
  CKPT_TRY(auto plan, LoadPlan::make(loads));
  CKPT_CHECK(check_plan(plan, run));
  return std::unique_ptr<PreparedLoad>(std::make_unique<PreparedHostLoad>(std::move(plan), run));
}

}  // namespace netcl::ckpt
