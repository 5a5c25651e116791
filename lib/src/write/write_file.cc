// The engine under every writer: pulls the parts of a plan into a file, on all cores.
//
// Two shapes of work. Where each size is known beforehand (everything but deflating) every piece has
// its place, so pieces are read, summed and written in any order: inflating many members at once, or
// many blocks of one stored payload. Where members are deflated their sizes are not known, so blocks
// pass through a pipeline that compresses in parallel, gives out places in order and writes in parallel.
//
// A member that deflate would shrink by less than 2 % is stored after all, when its last block shows
// it: exact, where a guess from a sample is not, and paid for only by what does not compress.
#include "write/write_file.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/buffer.h"
#include "base/jobs.h"
#include "base/try.h"
#include "codec/crc32.h"
#include "codec/deflate.h"
#include "container/zip_writer.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 20;  // fits a core's cache
constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;  // a unit of positioned work
constexpr std::uint64_t kAlignment = 64;                       // of stored payloads: a cache line, as torch pads
constexpr std::size_t kDictionaryBytes = 32768;

/// The bytes of one part, in ascending ranges of its payload.
class PartReader {
 public:
  static Result<PartReader> open(const WritePart& part) {
    PartReader r(part);
    if (part.payload && !part.moved) {
      if (r.positioned()) {
        CKPT_TRY(r.storage_, part.payload->storage->open());
      } else {
        CKPT_TRY(auto ordered, TensorReader::open(*part.payload));
        r.ordered_.emplace(std::move(ordered));
      }
    }
    return r;
  }

  /// True where the payload is a run of its storage's bytes; else it is gathered from its start on.
  static bool positioned(const WritePart& part) {
    if (part.moved || !part.payload || !part.in_c_order) return true;
    const Tensor& t = *part.payload;
    return t.is_c_contiguous() && little_endian(t.dtype) == t.dtype;
  }

  /// True where pieces of the payload can be read by several threads.
  static bool splittable(const WritePart& part) {
    return positioned(part) && (part.moved || !part.payload || part.payload->storage->seekable());
  }

  static std::uint64_t payload_bytes(const WritePart& part) {
    return part.moved ? part.moved->stored_bytes : part.payload ? part.payload->size_bytes() : 0;
  }

  /// Before a range of the payload is read.
  void will_read(std::uint64_t begin, std::uint64_t end) {
    if (storage_) storage_->will_read(part_->payload->offset_bytes + begin, part_->payload->offset_bytes + end);
  }

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) {
    if (dst.empty()) return {};
    if (part_->moved) return part_->moved->source->read_at(part_->moved->offset_bytes + offset_bytes, dst);
    if (ordered_) return ordered_->read(dst);
    return storage_->read(part_->payload->offset_bytes + offset_bytes, dst);
  }

 private:
  explicit PartReader(const WritePart& part) : part_(&part) {}
  bool positioned() const { return positioned(*part_); }

  const WritePart* part_;
  std::unique_ptr<StorageReader> storage_;
  std::optional<TensorReader> ordered_;
};

/// Records a failure under the part's name. True if there was none.
bool take(RunState& state, const Result<void>& result, const WritePart& part) {
  if (result) return true;
  Error error = result.error();
  if (error.member.empty()) error.member = part.name;
  state.add(std::move(error));
  return false;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

ZipEntry entry_for(const WritePart& part) {
  ZipEntry e;
  e.name = part.name;
  e.extra = part.extra;
  e.size_bytes = part.size_bytes();
  if (part.moved) {
    e.method = part.moved->compression == Compression::none ? 0 : 8;
    e.stored_bytes = part.moved->stored_bytes;
    e.crc32 = *part.moved->crc32;
  } else {
    e.stored_bytes = e.size_bytes;
  }
  return e;
}

Result<std::uint64_t> finish_zip(const WritePlan& plan, std::span<const ZipEntry> entries, std::uint64_t at,
                                 OutputFile& out) {
  const std::string directory = zip_central_directory(entries, at, plan.comment);
  CKPT_CHECK(out.write_at(at, bytes_of(directory)));
  return at + directory.size();
}

// ---- every size known -------------------------------------------------------------------------------

struct Piece {
  std::size_t part = 0;
  std::uint64_t begin = 0;  // in the payload
  std::uint64_t end = 0;
  std::uint32_t crc = 0;  // of these bytes, head and tail included
  std::uint64_t bytes = 0;
};

class PositionedWriter {
 public:
  PositionedWriter(const WritePlan& plan, OutputFile& out) : plan_(plan), out_(out) {}

  Result<std::uint64_t> run(const Run& run, unsigned threads) {
    lay_out();
    CKPT_CHECK(out_.preallocate(end_));
    RunState state(run, end_);
    // What cannot be split goes first, largest first, so that no core ends with it alone.
    std::vector<Piece*> order;
    for (Piece& p : pieces_) order.push_back(&p);
    std::stable_sort(order.begin(), order.end(), [](const Piece* a, const Piece* b) {
      const std::uint64_t x = a->bytes > kPieceBytes * 2 ? a->bytes : 0, y = b->bytes > kPieceBytes * 2 ? b->bytes : 0;
      return x > y;
    });
    parallel_for(threads, order.size(), [&](std::size_t i) {
      Piece& piece = *order[i];
      if (!state.stopped()) take(state, write(piece, state), plan_.parts[piece.part]);
    });
    CKPT_CHECK(state.result());
    if (!plan_.zip) return end_;
    CKPT_CHECK(write_headers());
    return finish_zip(plan_, entries_, end_, out_);
  }

 private:
  void lay_out() {
    for (std::size_t i = 0; i < plan_.parts.size(); ++i) {
      const WritePart& part = plan_.parts[i];
      if (plan_.zip) {
        ZipEntry e = entry_for(part);
        e.header_offset = end_;
        place_zip_data(e, e.method == 0 ? kAlignment : 1);
        places_.push_back(e.data_offset);
        end_ = e.data_offset + e.stored_bytes;
        entries_.push_back(std::move(e));
      } else {
        places_.push_back(end_);
        end_ += part.size_bytes();
      }
      const std::uint64_t payload = PartReader::payload_bytes(part);
      const std::uint64_t step = PartReader::splittable(part) ? kPieceBytes : std::max<std::uint64_t>(payload, 1);
      std::uint64_t at = 0;
      do {
        const std::uint64_t end = std::min(payload, at + step);
        pieces_.push_back({i, at, end, 0, end - at});
        at = end;
      } while (at < payload);
    }
  }

  Result<void> write(Piece& piece, RunState& state) {
    const WritePart& part = plan_.parts[piece.part];
    const std::uint64_t payload = PartReader::payload_bytes(part);
    CKPT_TRY(auto reader, PartReader::open(part));
    reader.will_read(piece.begin, piece.end);
    std::uint64_t to = places_[piece.part] + (piece.begin == 0 ? 0 : (part.moved ? 0 : part.head.size()) + piece.begin);
    Buffer block;
    block.reserve(part.head.size() + kBlockBytes + part.tail.size());
    auto flush = [&]() -> Result<void> {
      if (plan_.zip) piece.crc = crc32(piece.crc, block);
      CKPT_CHECK(out_.write_at(to, block));
      to += block.size();
      state.advance(block.size());
      block.clear();
      return {};
    };
    if (piece.begin == 0 && !part.moved) block.assign(bytes_of(part.head).begin(), bytes_of(part.head).end());
    for (std::uint64_t at = piece.begin; at < piece.end;) {
      if (state.stopped()) return {};
      const std::uint64_t n = std::min(kBlockBytes, piece.end - at);
      const std::size_t start = block.size();
      block.resize(start + n);
      CKPT_CHECK(reader.read(at, std::span(block).subspan(start)));
      at += n;
      if (at < piece.end) CKPT_CHECK(flush());
    }
    if (piece.end == payload && !part.moved) {
      block.insert(block.end(), bytes_of(part.tail).begin(), bytes_of(part.tail).end());
    }
    CKPT_CHECK(flush());
    piece.bytes =
        to - (places_[piece.part] + (piece.begin == 0 ? 0 : (part.moved ? 0 : part.head.size()) + piece.begin));
    return {};
  }

  Result<void> write_headers() {
    std::vector<std::uint32_t> sums(plan_.parts.size(), 0);
    for (const Piece& p : pieces_) sums[p.part] = crc32_combine(sums[p.part], p.crc, p.bytes);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      ZipEntry& e = entries_[i];
      const WritePart& part = plan_.parts[i];
      if (!part.moved) {
        e.crc32 = sums[i];
      } else if (part.moved->compression == Compression::none && e.crc32 != sums[i]) {
        return fail_at(ErrorCode::checksum_mismatch, part.name, std::nullopt,
                       "CRC-32 does not match: the payload is damaged");
      }
      CKPT_CHECK(out_.write_at(e.header_offset, bytes_of(zip_local_header(e))));
    }
    return {};
  }

  const WritePlan& plan_;
  OutputFile& out_;
  std::vector<ZipEntry> entries_;
  std::vector<std::uint64_t> places_;  // of each part's first byte
  std::vector<Piece> pieces_;
  std::uint64_t end_ = 0;
};

// ---- deflating --------------------------------------------------------------------------------------

struct Block {
  std::size_t part = 0;
  std::uint64_t begin = 0;  // in the payload
  std::uint64_t end = 0;
  bool first = false, last = false;
  bool filled = false;  // `bytes` were read by the first stage
  Buffer dictionary;    // what precedes, for the better codec
  Buffer bytes;
  Buffer packed;
  std::uint32_t crc = 0;
  std::optional<std::uint64_t> place;  // in the file
};
using BlockPtr = std::unique_ptr<Block>;

class DeflatingWriter {
 public:
  DeflatingWriter(const WritePlan& plan, OutputFile& out, const Run& run, std::uint64_t total_bytes)
      : plan_(plan), out_(out), total_bytes_(total_bytes), state_(run, total_bytes) {}

  Result<std::uint64_t> run(unsigned threads) {
    Pipeline<Block> pipeline;
    pipeline.next = [&] { return state_.stopped() ? nullptr : next(); };
    pipeline.transform = [&](Block& b) {
      if (!state_.stopped()) take(state_, pack(b), plan_.parts[b.part]);
    };
    pipeline.append = [&](Block& b) {
      if (!state_.stopped()) take(state_, append(b), plan_.parts[b.part]);
    };
    pipeline.store = [&](Block& b) {
      store(b);
      const std::lock_guard lock(spare_mutex_);
      spare_.push_back(std::move(b));
    };
    // What deflates badly is stored after all, so the sum of the sizes and something for headers is enough.
    out_.expect_at_most(total_bytes_ + total_bytes_ / 64);
    pipeline.run(threads);
    CKPT_CHECK(state_.result());
    return finish_zip(plan_, entries_, end_, out_);
  }

 private:
  struct Leaving {
    explicit Leaving(std::atomic<int>& count) : count_(count) {}
    ~Leaving() {
      --count_;
      count_.notify_all();
    }
    std::atomic<int>& count_;
  };

  /// The next block in order; reads it where only one thread can.
  BlockPtr next() {
    if (part_ == plan_.parts.size()) return nullptr;
    const WritePart& part = plan_.parts[part_];
    const std::uint64_t payload = PartReader::payload_bytes(part);
    auto b = std::make_unique<Block>(spare_block());
    b->part = part_;
    b->begin = at_;
    b->end = std::min(payload, at_ + kBlockBytes);
    b->first = at_ == 0;
    b->last = b->end == payload;
    if (!PartReader::splittable(part) && payload > kBlockBytes) {
      if (!take(state_, read_in_order(part, *b), part)) return nullptr;
    }
    at_ = b->end;
    if (b->last) {
      ++part_;
      at_ = 0;
      sequential_.reset();
    }
    return b;
  }

  /// An empty block, with the memory of one that has been written where there is such: new pages cost a fifth of the
  /// time of a fast compression.
  Block spare_block() {
    const std::lock_guard lock(spare_mutex_);
    Block fresh;
    if (spare_.empty()) return fresh;
    Block& used = spare_.back();
    for (auto buffer : {&Block::dictionary, &Block::bytes, &Block::packed}) {
      fresh.*buffer = std::move(used.*buffer);
      (fresh.*buffer).clear();
    }
    spare_.pop_back();
    return fresh;
  }

  void store(Block& b) {
    if (!b.place) return;
    const Leaving leaving(writing_);
    const WritePart& part = plan_.parts[b.part];
    if (!state_.stopped()) take(state_, out_.write_at(*b.place, part.deflate ? b.packed : b.bytes), part);
  }

  Result<void> read_in_order(const WritePart& part, Block& b) {
    if (!sequential_) {
      CKPT_TRY(auto reader, PartReader::open(part));
      sequential_.emplace(std::move(reader));
      before_.clear();
    }
    b.dictionary = before_;
    CKPT_CHECK(fill(part, *sequential_, b));
    before_.assign(b.bytes.end() - std::min<std::ptrdiff_t>(kDictionaryBytes, std::ssize(b.bytes)), b.bytes.end());
    b.filled = true;
    return {};
  }

  Result<void> fill(const WritePart& part, PartReader& reader, Block& b) {
    const std::size_t head = b.first && !part.moved ? part.head.size() : 0;
    b.bytes.resize(head + (b.end - b.begin));
    if (head > 0) std::copy_n(bytes_of(part.head).begin(), head, b.bytes.begin());
    CKPT_CHECK(reader.read(b.begin, std::span(b.bytes).subspan(head)));
    if (b.last && !part.moved) b.bytes.insert(b.bytes.end(), bytes_of(part.tail).begin(), bytes_of(part.tail).end());
    return {};
  }

  Result<void> pack(Block& b) {
    const WritePart& part = plan_.parts[b.part];
    if (!b.filled) {
      CKPT_TRY(auto reader, PartReader::open(part));
      if (plan_.best && b.begin > 0 && part.deflate) {
        b.dictionary.resize(kDictionaryBytes);
        CKPT_CHECK(reader.read(b.begin - kDictionaryBytes, b.dictionary));
      }
      CKPT_CHECK(fill(part, reader, b));
    }
    b.crc = crc32(0, b.bytes);
    if (!part.deflate) return {};
    return deflate_block(b.bytes, b.dictionary, b.last, plan_.best ? DeflateLevel::best : DeflateLevel::fast, b.packed);
  }

  Result<void> append(Block& b) {
    const WritePart& part = plan_.parts[b.part];
    if (b.first) {
      ZipEntry e = entry_for(part);
      if (part.deflate) e.method = 8;
      e.header_offset = end_;
      place_zip_data(e, e.method == 0 ? kAlignment : 1);
      end_ = e.data_offset;
      crc_ = 0;
      entries_.push_back(std::move(e));
    }
    ZipEntry& e = entries_.back();
    const auto& bytes = part.deflate ? b.packed : b.bytes;
    b.place = end_;
    end_ += bytes.size();
    crc_ = crc32_combine(crc_, b.crc, b.bytes.size());
    state_.advance(b.bytes.size());
    ++writing_;
    if (!b.last) return {};
    if (!part.moved) e.crc32 = crc_;
    if (part.deflate) {
      e.stored_bytes = end_ - e.data_offset;
      // A gain under 2 % does not pay for inflating it at every load.
      if (e.stored_bytes > e.size_bytes - e.size_bytes / 50) CKPT_CHECK(store_instead(part, b, e));
    } else if (part.moved && e.method == 0 && e.crc32 != crc_) {
      return fail(ErrorCode::checksum_mismatch, "CRC-32 does not match: the payload is damaged");
    }
    return out_.write_at(e.header_offset, bytes_of(zip_local_header(e)));
  }

  Result<void> store_instead(const WritePart& part, Block& last, ZipEntry& e) {
    last.place.reset();
    --writing_;
    // Blocks of this part that are still being written lie where it will.
    for (int n = writing_; n > 0; n = writing_) writing_.wait(n);
    e.method = 0;
    e.stored_bytes = e.size_bytes;
    place_zip_data(e, kAlignment);
    end_ = e.data_offset;
    if (last.first) {
      CKPT_CHECK(out_.write_at(end_, last.bytes));
      end_ += last.bytes.size();
      return {};
    }
    CKPT_TRY(auto reader, PartReader::open(part));
    Block b;
    for (const std::uint64_t payload = PartReader::payload_bytes(part); b.end < payload;) {
      b.first = b.end == 0;
      b.begin = b.end;
      b.end = std::min(payload, b.begin + kBlockBytes);
      b.last = b.end == payload;
      CKPT_CHECK(fill(part, reader, b));
      CKPT_CHECK(out_.write_at(end_, b.bytes));
      end_ += b.bytes.size();
    }
    return {};
  }

  const WritePlan& plan_;
  OutputFile& out_;
  const std::uint64_t total_bytes_;
  RunState state_;
  std::atomic<int> writing_ = 0;  // blocks that have a place and are not in it yet
  std::mutex spare_mutex_;
  std::vector<Block> spare_;  // written, at most as many as are under way
  // First stage.
  std::size_t part_ = 0;
  std::uint64_t at_ = 0;
  std::optional<PartReader> sequential_;
  Buffer before_;
  // Third stage.
  std::vector<ZipEntry> entries_;
  std::uint64_t end_ = 0;
  std::uint32_t crc_ = 0;
};

}  // namespace

Result<std::uint64_t> write_file(const WritePlan& plan, OutputFile& out, const Run& run) {
  return guarded([&]() -> Result<std::uint64_t> {
    for (const WritePart& part : plan.parts) {
      if (plan.zip && std::max(part.name.size(), part.extra.size()) > kMaxZipFieldBytes - 64) {
        return fail_at(ErrorCode::unsupported, part.name.substr(0, 100), std::nullopt,
                       "the name is too long for a zip member");
      }
    }
    const unsigned threads = thread_count(run.jobs);
    const bool deflates =
        std::any_of(plan.parts.begin(), plan.parts.end(), [](const WritePart& p) { return p.deflate; });
    if (!deflates) return PositionedWriter(plan, out).run(run, threads);
    std::uint64_t total = 0;
    for (const WritePart& part : plan.parts) total += part.size_bytes();
    return DeflatingWriter(plan, out, run, total).run(threads);
  });
}

}  // namespace netcl::ckpt
