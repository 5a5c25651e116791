// The way between storages and device memory.
//
//   load   file --pread, inflate--> pinned slot --CRC; DMA--> scratch on the device --copy--> targets
//   save   device --DMA--> pinned slot --> the writing engine's block --CRC, deflate--> file
//
// Each thread has a lane: a queue and two slots of 4 MiB, pinned once and kept for the next transfer, so that
// one slot is filled while the other is on the bus. 4 MiB because a bus needs a megabyte at a time to run full,
// and because the CRC then reads what is still in the cache; threads, because one of them copies out of the
// page cache at a tenth of what the bus takes.
//
// All or nothing: a load goes into scratch memory on the device, and from there into its targets when every
// checksum was right, which at the device's own bandwidth takes a fiftieth of the time of the bus. Where the
// device has no room for that, or maps its memory, checksums are compared in a pass of their own before.
#include <algorithm>
#include <cstring>
#include <deque>

#include "base/checked.h"
#include "base/try.h"
#include "load/host_load.h"
#include "load/opencl/device_state.h"

namespace netcl::ckpt {

// ---- lanes ------------------------------------------------------------------------------------------

Lane::~Lane() {
  for (PinnedSlot& slot : slots) {
    if (slot.data != nullptr)
      opencl().enqueue_unmap_mem_object(queue.get(), slot.memory.get(), slot.data, 0, nullptr, nullptr);
  }
  if (queue) opencl().finish(queue.get());
}

Result<std::unique_ptr<Lane>> DeviceState::take_lane() {
  std::unique_ptr<Lane> lane;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      lane = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  cl_int status = CL_SUCCESS;
  if (!lane) {
    lane = std::make_unique<Lane>();
    lane->queue = ClQueue(opencl().create_command_queue(context.get(), id, 0, &status));
    CKPT_CHECK(cl_check("clCreateCommandQueue", status));
  }
  for (PinnedSlot& slot : lane->slots) {
    if (maps || slot.data != nullptr) continue;
    slot.memory = ClMem(opencl().create_buffer(context.get(), CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
                                               kLoadBlockBytes, nullptr, &status));
    CKPT_CHECK(cl_check("clCreateBuffer", status));
    slot.data = static_cast<std::byte*>(opencl().enqueue_map_buffer(lane->queue.get(), slot.memory.get(), CL_TRUE,
                                                                    CL_MAP_READ | CL_MAP_WRITE, 0, kLoadBlockBytes, 0,
                                                                    nullptr, nullptr, &status));
    CKPT_CHECK(cl_check("clEnqueueMapBuffer", status));
  }
  return lane;
}

void DeviceState::give_back(std::unique_ptr<Lane> lane) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(lane));
}

void DeviceState::drop_idle_lanes() {
  const std::lock_guard lock(mutex_);
  idle_.clear();
}

Result<LaneLease> LaneLease::take(DeviceStatePtr state) {
  CKPT_TRY(auto lane, state->take_lane());
  return LaneLease(std::move(state), std::move(lane));
}

// ---- single transfers -------------------------------------------------------------------------------

namespace {

Result<void> cl_result(const char* function, cl_int status, cl_event made, ClEvent* event) {
  if (status != CL_SUCCESS) return tl::make_unexpected(cl_error(function, status));
  if (event != nullptr) *event = ClEvent(made);
  return {};
}

}  // namespace

Result<void> enqueue_write(cl_command_queue queue, const Place& to, std::span<const std::byte> from, ClEvent* event) {
  cl_event made = nullptr;
  cl_event* const wanted = event == nullptr ? nullptr : &made;
  if (to.svm != nullptr) {
    const cl_int status = opencl().enqueue_svm_memcpy(queue, CL_FALSE, to.svm + to.offset_bytes, from.data(),
                                                      from.size(), 0, nullptr, wanted);
    return cl_result("clEnqueueSVMMemcpy", status, made, event);
  }
  const cl_int status = opencl().enqueue_write_buffer(queue, to.memory, CL_FALSE, to.offset_bytes, from.size(),
                                                      from.data(), 0, nullptr, wanted);
  return cl_result("clEnqueueWriteBuffer", status, made, event);
}

Result<void> enqueue_read(cl_command_queue queue, const Place& from, std::span<std::byte> to, ClEvent* event) {
  cl_event made = nullptr;
  cl_event* const wanted = event == nullptr ? nullptr : &made;
  if (from.svm != nullptr) {
    const cl_int status = opencl().enqueue_svm_memcpy(queue, CL_FALSE, to.data(), from.svm + from.offset_bytes,
                                                      to.size(), 0, nullptr, wanted);
    return cl_result("clEnqueueSVMMemcpy", status, made, event);
  }
  const cl_int status = opencl().enqueue_read_buffer(queue, from.memory, CL_FALSE, from.offset_bytes, to.size(),
                                                     to.data(), 0, nullptr, wanted);
  return cl_result("clEnqueueReadBuffer", status, made, event);
}

Result<void> enqueue_copy(cl_command_queue queue, const Place& from, const Place& to, std::uint64_t size_bytes) {
  if (to.svm != nullptr) {
    return cl_check("clEnqueueSVMMemcpy",
                    opencl().enqueue_svm_memcpy(queue, CL_FALSE, to.svm + to.offset_bytes, from.svm + from.offset_bytes,
                                                size_bytes, 0, nullptr, nullptr));
  }
  return cl_check("clEnqueueCopyBuffer",
                  opencl().enqueue_copy_buffer(queue, from.memory, to.memory, from.offset_bytes, to.offset_bytes,
                                               size_bytes, 0, nullptr, nullptr));
}

Result<void> wait_for(ClEvent& event) {
  if (!event) return {};
  const cl_event e = event.get();
  const auto waited = cl_check("clWaitForEvents", opencl().wait_for_events(1, &e));
  event.reset();
  return waited;
}

Result<Mapping> Mapping::make(cl_command_queue queue, const Place& place, std::uint64_t size_bytes, bool for_writing) {
  const cl_map_flags flags = for_writing ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ;
  if (place.svm != nullptr) {
    std::byte* const data = place.svm + place.offset_bytes;
    CKPT_CHECK(cl_check("clEnqueueSVMMap",
                        opencl().enqueue_svm_map(queue, CL_TRUE, flags, data, size_bytes, 0, nullptr, nullptr)));
    return Mapping(queue, place, {data, size_bytes});
  }
  cl_int status = CL_SUCCESS;
  void* const data = opencl().enqueue_map_buffer(queue, place.memory, CL_TRUE, flags, place.offset_bytes, size_bytes, 0,
                                                 nullptr, nullptr, &status);
  CKPT_CHECK(cl_check("clEnqueueMapBuffer", status));
  return Mapping(queue, place, {static_cast<std::byte*>(data), size_bytes});
}

Result<void> Mapping::unmap() {
  if (bytes_.empty()) return {};
  void* const data = std::exchange(bytes_, {}).data();
  if (place_.svm != nullptr) {
    CKPT_CHECK(cl_check("clEnqueueSVMUnmap", opencl().enqueue_svm_unmap(queue_, data, 0, nullptr, nullptr)));
  } else {
    CKPT_CHECK(cl_check("clEnqueueUnmapMemObject",
                        opencl().enqueue_unmap_mem_object(queue_, place_.memory, data, 0, nullptr, nullptr)));
  }
  return cl_check("clFinish", opencl().finish(queue_));
}

Result<void> finish_program_queue(const DeviceState& state) {
  if (!state.program_queue) return {};
  return cl_check("clFinish", opencl().finish(state.program_queue.get()));
}

// ---- saving -----------------------------------------------------------------------------------------

namespace {

/// Reads device memory through the lane's slots, ahead of what is asked for as far as was announced.
class StagedReader final : public StorageReader {
 public:
  StagedReader(LaneLease lane, std::shared_ptr<const ClAllocation> allocation)
      : lane_(std::move(lane)), allocation_(std::move(allocation)) {}
  ~StagedReader() override { (void)drop_all(); }

  void will_read(std::uint64_t, std::uint64_t end_bytes) override {
    end_ = std::min(end_bytes, allocation_->size_bytes());
  }

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    if (offset_bytes > allocation_->size_bytes() || dst.size() > allocation_->size_bytes() - offset_bytes) {
      return fail(ErrorCode::internal, "read past the end of a device buffer");
    }
    if (under_way_.empty() || under_way_.front().begin > offset_bytes || offset_bytes >= under_way_.front().end) {
      CKPT_CHECK(drop_all());
      next_ = offset_bytes;
    }
    const std::uint64_t end = std::max(end_, offset_bytes + dst.size());
    while (!dst.empty()) {
      CKPT_CHECK(read_ahead(end));
      Piece& piece = under_way_.front();
      CKPT_CHECK(wait_for(piece.arrived));
      const std::size_t n = std::min<std::uint64_t>(dst.size(), piece.end - offset_bytes);
      std::memcpy(dst.data(), piece.data + (offset_bytes - piece.begin), n);
      offset_bytes += n;
      dst = dst.subspan(n);
      if (offset_bytes == piece.end) under_way_.pop_front();
    }
    return {};
  }

 private:
  static constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
  static constexpr std::size_t kPiecesInSlot = kLoadBlockBytes / kPieceBytes;
  static constexpr std::size_t kMaxPieces = 2 * kPiecesInSlot;

  struct Piece {
    std::uint64_t begin = 0, end = 0;
    const std::byte* data = nullptr;
    ClEvent arrived;
  };

  Result<void> read_ahead(std::uint64_t end) {
    bool enqueued = false;
    while (next_ < end && under_way_.size() < kMaxPieces) {
      std::byte* const data = lane_->slots[turn_ / kPiecesInSlot].data + turn_ % kPiecesInSlot * kPieceBytes;
      Piece piece{next_, std::min(end, next_ + kPieceBytes), data, {}};
      CKPT_CHECK(
          enqueue_read(lane_->queue.get(), allocation_->place().at(next_), {data, piece.end - next_}, &piece.arrived));
      next_ = piece.end;
      turn_ = (turn_ + 1) % kMaxPieces;
      under_way_.push_back(std::move(piece));
      enqueued = true;
    }
    return enqueued ? cl_check("clFlush", opencl().flush(lane_->queue.get())) : Result<void>();
  }

  /// The slots are another's when the lane is given back: nothing may still arrive in them.
  Result<void> drop_all() {
    if (under_way_.empty()) return {};
    under_way_.clear();
    return cl_check("clFinish", opencl().finish(lane_->queue.get()));
  }

  LaneLease lane_;
  std::shared_ptr<const ClAllocation> allocation_;
  std::deque<Piece> under_way_;
  std::uint64_t next_ = 0;  // what is read from the device next
  std::uint64_t end_ = 0;   // as was announced
  std::size_t turn_ = 0;
};

/// Where the device's memory is the host's.
class MappedReader final : public StorageReader {
 public:
  MappedReader(LaneLease lane, std::shared_ptr<const ClAllocation> allocation)
      : lane_(std::move(lane)), allocation_(std::move(allocation)) {}

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    if (offset_bytes > allocation_->size_bytes() || dst.size() > allocation_->size_bytes() - offset_bytes) {
      return fail(ErrorCode::internal, "read past the end of a device buffer");
    }
    if (dst.empty()) return {};
    CKPT_TRY(auto mapping, Mapping::make(lane_->queue.get(), allocation_->place().at(offset_bytes), dst.size(), false));
    std::memcpy(dst.data(), mapping.bytes().data(), dst.size());
    return mapping.unmap();
  }

 private:
  LaneLease lane_;
  std::shared_ptr<const ClAllocation> allocation_;
};

class DeviceStorage final : public Storage {
 public:
  explicit DeviceStorage(std::shared_ptr<const ClAllocation> allocation) : allocation_(std::move(allocation)) {
    form_.stored_bytes = allocation_->size_bytes();
  }
  std::uint64_t size_bytes() const override { return allocation_->size_bytes(); }
  bool seekable() const override { return true; }
  const StoredForm& stored_form() const override { return form_; }
  Result<std::unique_ptr<StorageReader>> open() const override {
    const DeviceStatePtr& state = allocation_->state();
    CKPT_CHECK(finish_program_queue(*state));
    CKPT_TRY(auto lane, LaneLease::take(state));
    if (state->maps)
      return std::unique_ptr<StorageReader>(std::make_unique<MappedReader>(std::move(lane), allocation_));
    return std::unique_ptr<StorageReader>(std::make_unique<StagedReader>(std::move(lane), allocation_));
  }

 private:
  std::shared_ptr<const ClAllocation> allocation_;
  StoredForm form_;
};

// ---- loading ----------------------------------------------------------------------------------------

/// Where on the device a load goes.
using PlaceOf = std::function<Result<Place>(std::size_t load)>;

/// Fills slots in turn and sends them on their way.
class StagedSink final : public BlockSink {
 public:
  StagedSink(LaneLease lane, const PlaceOf& place_of) : lane_(std::move(lane)), place_of_(place_of) {}
  ~StagedSink() override { (void)opencl().finish(lane_->queue.get()); }  // nothing may still leave the slots

  Result<std::span<std::byte>> take(std::size_t size, std::span<const Destination>) override {
    if (size > kLoadBlockBytes - filled_) CKPT_CHECK(turn());
    return std::span(lane_->slots[slot_].data + filled_, size);
  }

  Result<void> put(std::span<const std::byte> block, std::span<const Destination> destinations) override {
    for (const Destination& d : destinations) {
      CKPT_TRY(const Place whole, place_of_(d.load));
      const Place to = whole.at(d.to);
      // Neighbours in the slot that are neighbours on the device travel together: small tensors mostly.
      const bool joins = !pending_.empty() && pending_.data() + pending_.size() == block.data() &&
                         to.memory == pending_to_.memory && to.svm == pending_to_.svm &&
                         to.offset_bytes == pending_to_.offset_bytes + pending_.size();
      if (joins) {
        pending_ = {pending_.data(), pending_.size() + block.size()};
        continue;
      }
      CKPT_CHECK(send());
      pending_ = block;
      pending_to_ = to;
    }
    filled_ += block.size();
    return filled_ == kLoadBlockBytes ? turn() : Result<void>();
  }

  Result<void> finish() override {
    CKPT_CHECK(send());
    return cl_check("clFinish", opencl().finish(lane_->queue.get()));
  }

 private:
  Result<void> send() {
    if (pending_.empty()) return {};
    CKPT_CHECK(enqueue_write(lane_->queue.get(), pending_to_, pending_, &left_[slot_]));
    pending_ = {};
    return {};
  }

  /// The slot goes, and the other one is taken up when it has left.
  Result<void> turn() {
    CKPT_CHECK(send());
    CKPT_CHECK(cl_check("clFlush", opencl().flush(lane_->queue.get())));
    slot_ = 1 - slot_;
    filled_ = 0;
    return wait_for(left_[slot_]);  // its last write; those before it on this queue are done by then
  }

  LaneLease lane_;
  const PlaceOf& place_of_;
  std::array<ClEvent, 2> left_;
  std::size_t slot_ = 0, filled_ = 0;
  std::span<const std::byte> pending_;  // not yet put on the queue
  Place pending_to_;
};

/// Memory on the device that a load is kept in until it is known to be sound: chunks that are allocated when the
/// first block comes for them, because drivers take milliseconds for a gigabyte, in which the bus would stand idle.
class Scratch {
 public:
  explicit Scratch(DeviceStatePtr state) : state_(std::move(state)) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    for (const Chunk& chunk : chunks_) {
      if (chunk.svm != nullptr) opencl().svm_free(state_->context.get(), chunk.svm);
    }
  }

  /// Gives each load a place; allocates nothing. False where a load is larger than the device's buffers.
  bool lay_out(std::span<const Place> targets, std::span<const std::uint64_t> sizes) {
    const std::uint64_t limit = state_->info.max_allocation_bytes;
    const std::uint64_t usual = std::min(limit, state_->scratch_chunk_bytes);
    std::array<Chunk*, 2> open{};  // of buffers and of SVM, between which nothing can be copied
    parts_.resize(targets.size());
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (sizes[i] > limit) return false;
      Chunk*& chunk = open[targets[i].svm != nullptr];
      if (chunk == nullptr || sizes[i] > std::max(usual, chunk->bytes) - chunk->bytes) {
        chunk = &chunks_.emplace_back();
        chunk->is_svm = targets[i].svm != nullptr;
      }
      parts_[i] = {chunk, chunk->bytes};
      chunk->bytes += sizes[i];
    }
    return true;
  }

  /// Threads: any.
  /// Errors: out_of_memory, device where it does not fit.
  Result<Place> place(std::size_t load) {
    Chunk& chunk = *parts_[load].chunk;
    std::call_once(chunk.once, [&] { allocate(chunk); });
    if (!chunk.memory && chunk.svm == nullptr) return fail(ErrorCode::out_of_memory, "not enough memory on the device");
    return Place{chunk.memory.get(), chunk.svm, parts_[load].offset_bytes};
  }

 private:
  struct Chunk {
    std::uint64_t bytes = 0;
    bool is_svm = false;
    std::once_flag once;
    ClMem memory;
    std::byte* svm = nullptr;
  };
  struct Part {
    Chunk* chunk = nullptr;
    std::uint64_t offset_bytes = 0;
  };

  void allocate(Chunk& chunk) {
    const cl_context context = state_->context.get();
    if (chunk.is_svm) {
      chunk.svm = static_cast<std::byte*>(opencl().svm_alloc(context, CL_MEM_READ_WRITE, chunk.bytes, 0));
    } else {
      cl_int status = CL_SUCCESS;
      chunk.memory = ClMem(opencl().create_buffer(context, CL_MEM_READ_WRITE, chunk.bytes, nullptr, &status));
    }
  }

  DeviceStatePtr state_;
  std::deque<Chunk> chunks_;
  std::vector<Part> parts_;
};

class DeviceLoad final : public PreparedLoad {
 public:
  static Result<std::unique_ptr<PreparedLoad>> prepare(const DeviceStatePtr& state, std::span<const TensorLoad> loads,
                                                       const Run& run) {
    CKPT_TRY(auto plan, LoadPlan::make(loads));
    auto load = std::unique_ptr<DeviceLoad>(new DeviceLoad(state, std::move(plan), run));
    CKPT_CHECK(load->prepare());
    return std::unique_ptr<PreparedLoad>(std::move(load));
  }

  Result<void> commit() override {
    CKPT_CHECK(finish_program_queue(*state_));
    if (scratch_) return copy_from_scratch();
    return state_->maps ? fill_mapped()
                        : fill_staged(LoadPlan::Pass::fill, [this](std::size_t i) { return targets_[i]; });
  }

 private:
  DeviceLoad(DeviceStatePtr state, LoadPlan plan, Run run)
      : state_(std::move(state)), plan_(std::move(plan)), run_(std::move(run)) {
    for (const TensorLoad& load : plan_.loads()) {
      const auto& memory = std::get<DeviceMemory>(load.to.memory);
      targets_.push_back(static_cast<const ClAllocation&>(*memory.allocation).place().at(memory.offset_bytes));
      sizes_.push_back(memory.size_bytes);
    }
  }

  Result<void> prepare() {
    if (state_->maps || state_->checks_first) return check_plan(plan_, run_);
    scratch_ = std::make_unique<Scratch>(state_);
    if (scratch_->lay_out(targets_, sizes_)) {
      const auto filled =
          fill_staged(LoadPlan::Pass::check_and_fill, [this](std::size_t i) { return scratch_->place(i); });
      if (filled || (filled.error().code != ErrorCode::out_of_memory && filled.error().code != ErrorCode::device)) {
        return filled;
      }
    }
    scratch_.reset();  // no room: read twice; drivers tell it by several errors, and some when memory is first used
    return check_plan(plan_, run_);
  }

  Result<void> fill_staged(LoadPlan::Pass pass, const PlaceOf& place_of) {
    return plan_.run(pass, run_, [&]() -> Result<std::unique_ptr<BlockSink>> {
      CKPT_TRY(auto lane, LaneLease::take(state_));
      return std::unique_ptr<BlockSink>(std::make_unique<StagedSink>(std::move(lane), place_of));
    });
  }

  Result<void> copy_from_scratch() {
    CKPT_TRY(const auto lane, LaneLease::take(state_));
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      if (sizes_[i] == 0) continue;
      CKPT_TRY(const Place from, scratch_->place(i));
      CKPT_CHECK(enqueue_copy(lane->queue.get(), from, targets_[i], sizes_[i]));
    }
    return cl_check("clFinish", opencl().finish(lane->queue.get()));
  }

  Result<void> fill_mapped() {
    CKPT_TRY(const auto lane, LaneLease::take(state_));
    std::vector<Mapping> mappings;
    std::vector<std::span<std::byte>> spans;
    mappings.reserve(targets_.size());
    for (std::size_t i = 0; i < targets_.size(); ++i) {
      if (sizes_[i] == 0) {
        spans.emplace_back();
        continue;
      }
      CKPT_TRY(auto mapping, Mapping::make(lane->queue.get(), targets_[i], sizes_[i], true));
      spans.push_back(mapping.bytes());
      mappings.push_back(std::move(mapping));
    }
    CKPT_CHECK(fill_host(plan_, spans, run_));
    for (Mapping& m : mappings) CKPT_CHECK(m.unmap());
    return {};
  }

  DeviceStatePtr state_;
  LoadPlan plan_;
  Run run_;
  std::vector<Place> targets_;
  std::vector<std::uint64_t> sizes_;
  std::unique_ptr<Scratch> scratch_;  // null where the checksums were compared in a pass of their own
};

}  // namespace

StoragePtr ClAllocation::storage() const { return std::make_shared<DeviceStorage>(shared_from_this()); }

Result<std::unique_ptr<PreparedLoad>> ClAllocation::prepare(std::span<const TensorLoad> loads, const Run& run) const {
  return DeviceLoad::prepare(state_, loads, run);
}

}  // namespace netcl::ckpt
