#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "netcl/ckpt/error.h"
#include "netcl/ckpt/load.h"

namespace netcl::ckpt {

constexpr std::uint64_t kLoadBlockBytes = std::uint64_t{4} << 20;

/// Where a block goes: `to` bytes into the target of a load.
struct Destination {
  std::size_t load = 0;
  std::uint64_t to = 0;
};

/// What one worker does with the blocks it reads. A block is taken, filled, and put.
/// Threads: one at a time.
class BlockSink {
 public:
  virtual ~BlockSink() = default;
  /// Memory for `size` bytes, at most kLoadBlockBytes, on their way to `destinations`.
  virtual Result<std::span<std::byte>> take(std::size_t size, std::span<const Destination> destinations) = 0;
  virtual Result<void> put(std::span<const std::byte> block, std::span<const Destination> destinations) = 0;
  /// After the worker's last block: what was put is where it belongs.
  virtual Result<void> finish() = 0;
};

/// What a load reads, in blocks that workers take in any order.
class LoadPlan {
 public:
  /// Compares each load with its target.
  /// Errors: invalid_argument, corrupt where a tensor lies beyond its storage, unsupported.
  static Result<LoadPlan> make(std::span<const TensorLoad> loads);

  std::span<const TensorLoad> loads() const { return loads_; }
  std::uint64_t target_bytes() const { return target_bytes_; }

  enum class Pass {
    check_and_fill,  ///< everything, checksums too
    check,           ///< what has a checksum; sinks get no destinations
    fill,            ///< what has a destination
  };
  /// Reads on several threads, each with a sink of its own from `make_sink`.
  Result<void> run(Pass pass, const Run& run,
                   const std::function<Result<std::unique_ptr<BlockSink>>()>& make_sink) const;

 private:
  struct Unit {  // a storage that tensors of the load share
    StoragePtr storage;
    bool checked = false;  // its checksum is to be compared here, because it is read in pieces
    bool whole = false;    // all of it is read, since a checksum is of all of it
    std::size_t first_block = 0, num_blocks = 0;
    std::vector<std::size_t> gathered;  // loads whose elements do not lie as the target wants them
  };
  struct Block {  // a range of a storage, all of which goes to the same destinations
    std::size_t unit = 0;
    std::uint64_t begin = 0, end = 0;
    std::size_t first_destination = 0, num_destinations = 0;
  };
  struct Job {  // what one worker does in a row: blocks, or one gathered load
    std::size_t first_block = 0, num_blocks = 0;
    std::size_t gathered = SIZE_MAX;
  };

  Result<void> add_unit(const StoragePtr& storage, std::span<const std::size_t> loads);
  void make_jobs();
  Result<void> run_job(const Job& job, Pass pass, BlockSink& sink, std::vector<std::uint32_t>& crcs) const;
  Result<void> gather(std::size_t load, BlockSink& sink) const;
  Result<void> compare_checksums(const std::vector<std::uint32_t>& crcs) const;
  std::string name_of(const Job& job) const;

  std::vector<TensorLoad> loads_;
  std::vector<Unit> units_;
  std::vector<Block> blocks_;  // each unit's in ascending order
  std::vector<Destination> destinations_;
  std::vector<Job> jobs_;
  std::uint64_t target_bytes_ = 0;
  std::uint64_t read_bytes_ = 0;
};

}  // namespace netcl::ckpt
