// Loads into memory of the process, and the sorting of loads by where they go.
//
// All or nothing: the checksums are compared in a first pass and the targets filled in a second, straight
// from the file. The second read comes from the page cache at memory speed. Rejected: to read into a copy
// and move it over at the end, which takes twice the model's memory and the time of faulting it in.
#include "device/host_load.h"

#include <algorithm>
#include <cstring>
#include <map>

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
  PreparedHostLoad(LoadPlan plan, LoadOptions options) : plan_(std::move(plan)), options_(std::move(options)) {}
  Result<void> commit() override {
    std::vector<std::span<std::byte>> targets;
    for (const TensorLoad& load : plan_.loads()) {
      targets.push_back(std::get<std::span<std::byte>>(load.to.memory));
    }
    return fill_host(plan_, targets, options_);
  }

 private:
  LoadPlan plan_;
  LoadOptions options_;
};

class BorrowedStorage final : public Storage {
 public:
  explicit BorrowedStorage(std::span<const std::byte> bytes) : bytes_(bytes) { form_.stored_bytes = bytes.size(); }
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  bool seekable() const override { return true; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    return std::unique_ptr<StorageReader>(std::make_unique<Reader>(bytes_));
  }

 private:
  class Reader final : public StorageReader {
   public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
      if (offset_bytes > bytes_.size() || dst.size() > bytes_.size() - offset_bytes) {
        return fail(ErrorCode::internal, "read past the end of a storage");
      }
      if (!dst.empty()) std::memcpy(dst.data(), bytes_.data() + offset_bytes, dst.size());
      return {};
    }

   private:
    std::span<const std::byte> bytes_;
  };
  std::span<const std::byte> bytes_;
  StoredForm form_;
};

}  // namespace

StoragePtr borrowed_storage(std::span<const std::byte> bytes) { return std::make_shared<BorrowedStorage>(bytes); }

Result<void> check_plan(const LoadPlan& plan, const LoadOptions& options) {
  return plan.run(LoadPlan::Pass::check, options,
                  [] { return Result<std::unique_ptr<BlockSink>>(std::make_unique<NoSink>()); });
}

Result<void> fill_host(const LoadPlan& plan, std::span<const std::span<std::byte>> targets,
                       const LoadOptions& options) {
  return plan.run(LoadPlan::Pass::fill, options,
                  [&] { return Result<std::unique_ptr<BlockSink>>(std::make_unique<HostSink>(targets)); });
}

Result<void> load_tensors(std::span<const TensorLoad> loads, const LoadOptions& options) {
  return guarded([&]() -> Result<void> {
    // One group for the process's own memory and one for each device.
    std::map<const void*, std::vector<TensorLoad>> groups;
    for (const TensorLoad& load : loads) {
      const auto* memory = std::get_if<DeviceMemory>(&load.to.memory);
      if (memory != nullptr && !memory->allocation) {
        return fail_at(ErrorCode::invalid_argument, load.name, std::nullopt, "its target has no memory");
      }
      groups[memory == nullptr ? nullptr : memory->allocation->device()].push_back(load);
    }
    std::vector<std::unique_ptr<PreparedLoad>> prepared;
    for (const auto& [device, group] : groups) {
      if (device != nullptr) {
        const auto& allocation = std::get<DeviceMemory>(group.front().to.memory).allocation;
        CKPT_TRY(auto load, allocation->prepare(group, options));
        prepared.push_back(std::move(load));
        continue;
      }
      CKPT_TRY(auto plan, LoadPlan::make(group));
      CKPT_CHECK(check_plan(plan, options));
      prepared.push_back(std::make_unique<PreparedHostLoad>(std::move(plan), options));
    }
    for (const auto& load : prepared) CKPT_CHECK(load->commit());
    return {};
  });
}

}  // namespace netcl::ckpt
