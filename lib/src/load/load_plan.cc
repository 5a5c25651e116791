// A load as blocks. Tensors that share a storage are read once; a storage with a checksum is read whole,
// others only where a tensor wants them. Every block has one set of destinations, so that a worker can read
// it straight to where it goes:
//
//   storage    |npy header|......4 MiB......|......4 MiB......|..rest..|
//   tensor a                <------------------------------------------>
//   blocks                  [       0       |       1         |   2    ]     each with its own CRC; zlib's
//                                                                             crc32_combine puts them together
//
// Small blocks of neighbouring storages form one job, so that a hundred thousand biases are not a hundred
// thousand hand-overs. A compressed storage is one job: it inflates front to back, and its reader checks it.
#include "load/load_plan.h"

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/jobs.h"
#include "base/try.h"
#include "codec/crc32.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

Result<void> check_target(const TensorLoad& load) {
  const auto& [from, to, name] = load;
  const auto refuse = [&](std::string what) {
    return fail_at(ErrorCode::invalid_argument, name, std::nullopt, "{}", what);
  };
  if (!from.storage) {
    return fail_at(ErrorCode::unsupported, name, std::nullopt, "an object array is a pickle, which is not loaded");
  }
  if (from.shape != to.shape) {
    return refuse(
        fmt::format("shape ({}), but the target's is ({})", fmt::join(from.shape, ", "), fmt::join(to.shape, ", ")));
  }
  if (little_endian(from.dtype) != to.dtype) {
    return refuse(fmt::format("dtype {}, but the target's is {}", from.dtype.name(), to.dtype.name()));
  }
  CKPT_CHECK(view_of(to));
  return {};
}

/// True where the elements lie in the storage as the target wants them.
bool lies_as_wanted(const Tensor& t) { return t.is_c_contiguous() && little_endian(t.dtype) == t.dtype; }

struct Extent {  // a tensor's bytes in its storage
  std::uint64_t begin, end;
  std::size_t load;
};

}  // namespace

Result<LoadPlan> LoadPlan::make(std::span<const TensorLoad> loads) {
  LoadPlan plan;
  plan.loads_.assign(loads.begin(), loads.end());
  std::unordered_map<const Storage*, std::size_t> places;
  std::vector<std::vector<std::size_t>> shared;  // loads by storage, in the order of the loads
  for (std::size_t i = 0; i < loads.size(); ++i) {
    auto checked = check_target(loads[i]);
    if (!checked && checked.error().member.empty()) checked.error().member = loads[i].name;
    CKPT_CHECK(checked);
    const auto [it, added] = places.emplace(loads[i].from.storage.get(), shared.size());
    if (added) shared.emplace_back();
    shared[it->second].push_back(i);
    plan.target_bytes_ += loads[i].from.size_bytes();
  }
  for (const auto& group : shared) CKPT_CHECK(plan.add_unit(loads[group.front()].from.storage, group));
  plan.make_jobs();
  return plan;
}

Result<void> LoadPlan::add_unit(const StoragePtr& storage, std::span<const std::size_t> loads) {
  const StoredForm& form = storage->stored_form();
  const std::uint64_t size = storage->size_bytes();
  Unit unit;
  unit.storage = storage;
  unit.whole = form.crc32 || !storage->seekable();
  unit.checked = form.crc32 && form.source && storage->seekable();
  unit.first_block = blocks_.size();
  std::vector<Extent> runs;
  std::vector<std::uint64_t> cuts;
  if (unit.whole) cuts = {0, size};
  for (const std::size_t i : loads) {
    const Tensor& t = loads_[i].from;
    const std::uint64_t bytes = t.size_bytes();
    if (bytes == 0) continue;
    if (!lies_as_wanted(t)) {
      unit.gathered.push_back(i);
      continue;
    }
    const auto end = checked_add(t.offset_bytes, bytes);
    if (!end || *end > size) {
      return fail_at(ErrorCode::corrupt, loads_[i].name, std::nullopt, "the tensor lies beyond its storage of {} bytes",
                     size);
    }
    runs.push_back({t.offset_bytes, *end, i});
    cuts.push_back(t.offset_bytes);
    cuts.push_back(*end);
  }
  std::sort(cuts.begin(), cuts.end());
  std::sort(runs.begin(), runs.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  std::vector<Extent> open;  // the runs that cover the current position
  std::size_t next_run = 0;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    if (cuts[c] == cuts[c + 1]) continue;
    std::erase_if(open, [&](const Extent& r) { return r.end <= cuts[c]; });
    while (next_run < runs.size() && runs[next_run].begin <= cuts[c]) open.push_back(runs[next_run++]);
    if (open.empty() && !unit.whole) continue;
    for (std::uint64_t at = cuts[c]; at < cuts[c + 1];) {
      const std::uint64_t end = std::min(cuts[c + 1], (at / kLoadBlockBytes + 1) * kLoadBlockBytes);
      blocks_.push_back({units_.size(), at, end, destinations_.size(), open.size()});
      for (const Extent& r : open) destinations_.push_back({r.load, at - r.begin});
      read_bytes_ += end - at;
      at = end;
    }
  }
  if (unit.whole && size == 0) blocks_.push_back({units_.size(), 0, 0, 0, 0});  // an empty member has a CRC too
  unit.num_blocks = blocks_.size() - unit.first_block;
  units_.push_back(std::move(unit));
  return {};
}

void LoadPlan::make_jobs() {
  std::vector<Job> large;  // what cannot be split goes first, so that no thread ends with it alone
  std::vector<Job> small;
  std::uint64_t bytes = 0;
  for (const Unit& unit : units_) {
    for (const std::size_t load : unit.gathered) {
      large.push_back({0, 0, load});
      read_bytes_ += loads_[load].from.size_bytes();
    }
    if (!unit.storage->seekable()) {
      large.push_back({unit.first_block, unit.num_blocks});
      continue;
    }
    for (std::size_t b = unit.first_block; b < unit.first_block + unit.num_blocks; ++b) {
      const std::uint64_t n = blocks_[b].end - blocks_[b].begin;
      const bool joins =
          !small.empty() && small.back().first_block + small.back().num_blocks == b && bytes + n <= kLoadBlockBytes;
      if (!joins) {
        small.push_back({b, 0});
        bytes = 0;
      }
      ++small.back().num_blocks;
      bytes += n;
    }
  }
  jobs_ = std::move(large);
  jobs_.insert(jobs_.end(), small.begin(), small.end());
}

std::string LoadPlan::name_of(const Job& job) const {
  if (job.gathered != SIZE_MAX) return loads_[job.gathered].name;
  for (std::size_t b = job.first_block; b < job.first_block + job.num_blocks; ++b) {
    if (blocks_[b].num_destinations > 0) return loads_[destinations_[blocks_[b].first_destination].load].name;
  }
  return "";
}

Result<void> LoadPlan::run(Pass pass, const Run& run,
                           const std::function<Result<std::unique_ptr<BlockSink>>()>& make_sink) const {
  std::vector<std::uint32_t> crcs(blocks_.size(), 0);
  const auto threads = static_cast<unsigned>(std::min<std::size_t>(thread_count(run.jobs), jobs_.size()));
  if (threads == 0) return {};
  RunState state(run, read_bytes_);
  std::atomic<std::size_t> next = 0;
  run_on_threads(threads, [&] {
    auto sink = make_sink();
    if (!sink) return state.add(std::move(sink.error()));
    for (std::size_t i = next++; i < jobs_.size() && !state.stopped(); i = next++) {
      auto outcome = guarded([&] { return run_job(jobs_[i], pass, **sink, crcs); });
      if (!outcome) {
        if (outcome.error().member.empty()) outcome.error().member = name_of(jobs_[i]);
        return state.add(std::move(outcome.error()));
      }
      std::uint64_t bytes = jobs_[i].gathered == SIZE_MAX ? 0 : loads_[jobs_[i].gathered].from.size_bytes();
      for (std::size_t b = 0; b < jobs_[i].num_blocks; ++b) {
        const Block& block = blocks_[jobs_[i].first_block + b];
        bytes += block.end - block.begin;
      }
      state.advance(bytes);
    }
    if (auto finished = (*sink)->finish(); !finished) state.add(std::move(finished.error()));
  });
  CKPT_CHECK(state.result());
  return pass == Pass::fill ? Result<void>() : compare_checksums(crcs);
}

Result<void> LoadPlan::run_job(const Job& job, Pass pass, BlockSink& sink, std::vector<std::uint32_t>& crcs) const {
  if (job.gathered != SIZE_MAX) return pass == Pass::check ? Result<void>() : gather(job.gathered, sink);
  std::unique_ptr<StorageReader> reader;
  std::size_t read_unit = SIZE_MAX;
  for (std::size_t b = job.first_block; b < job.first_block + job.num_blocks; ++b) {
    const Block& block = blocks_[b];
    const Unit& unit = units_[block.unit];
    const bool checks = pass != Pass::fill && unit.whole;
    const auto destinations =
        std::span(destinations_).subspan(block.first_destination, pass == Pass::check ? 0 : block.num_destinations);
    // A compressed storage is read through whatever is wanted of it.
    if (!checks && destinations.empty() && unit.storage->seekable()) continue;
    const std::uint64_t size = block.end - block.begin;
    std::span<std::byte> bytes;
    if (destinations.empty()) {
      bytes = thread_buffer(size);
    } else {
      CKPT_TRY(bytes, sink.take(size, destinations));
    }
    if (unit.checked) {
      const StoredForm& form = unit.storage->stored_form();
      CKPT_CHECK(form.source->read_at(form.offset_bytes + form.header_bytes + block.begin, bytes));
      if (checks) crcs[b] = crc32(0, bytes);
    } else {
      if (read_unit != block.unit) {
        CKPT_TRY(reader, unit.storage->open());
        read_unit = block.unit;
      }
      CKPT_CHECK(reader->read(block.begin, bytes));
    }
    if (!destinations.empty()) CKPT_CHECK(sink.put(bytes, destinations));
  }
  return {};
}

Result<void> LoadPlan::gather(std::size_t load, BlockSink& sink) const {
  const Tensor& tensor = loads_[load].from;
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  const std::uint64_t step =
      std::max(kLoadBlockBytes / tensor.dtype.item_bytes, std::uint64_t{1}) * tensor.dtype.item_bytes;
  for (std::uint64_t at = 0; reader.remaining_bytes() > 0;) {
    const std::uint64_t size = std::min(step, reader.remaining_bytes());
    const Destination destination{load, at};
    CKPT_TRY(const auto bytes, sink.take(size, {&destination, 1}));
    CKPT_CHECK(reader.read(bytes));
    CKPT_CHECK(sink.put(bytes, {&destination, 1}));
    at += size;
  }
  return {};
}

Result<void> LoadPlan::compare_checksums(const std::vector<std::uint32_t>& crcs) const {
  Buffer header;
  for (const Unit& unit : units_) {
    if (!unit.checked) continue;
    const StoredForm& form = unit.storage->stored_form();
    header.resize(form.header_bytes);
    CKPT_CHECK(form.source->read_at(form.offset_bytes, header));
    std::uint32_t crc = crc32(0, header);
    for (std::size_t b = unit.first_block; b < unit.first_block + unit.num_blocks; ++b) {
      crc = crc32_combine(crc, crcs[b], blocks_[b].end - blocks_[b].begin);
    }
    if (crc != *form.crc32) {
      Error e;
      e.code = ErrorCode::checksum_mismatch;
      e.message = "CRC-32 does not match: the payload is damaged";
      for (const TensorLoad& load : loads_) {
        if (load.from.storage == unit.storage && e.member.empty()) e.member = load.name;
      }
      return tl::make_unexpected(std::move(e));
    }
  }
  return {};
}

}  // namespace netcl::ckpt
