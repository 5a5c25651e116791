// The elements of two tensors, in one pass over both.
//
// Compressed payloads are compared as they are stored, and inflated only where those bytes differ. Everything else is
// read in blocks that fit the L2 cache; the bytes of a block are compared first, and the numbers only where they
// differ. Large tensors that can be read at any offset are divided into parts for all cores; the figures of the parts
// are merged in order, so that the sums do not depend on who did what.
//
// Norms (for cosine and moved) need every element, also of the blocks that are identical; those are read
// once more, and only if some other block of the tensor is not. Rejected: to always sum up on the way, which
// would cost the two identical files, the most frequent case, half of their speed.
#include "report/diff_payloads.h"

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cstring>
#include <deque>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/jobs.h"
#include "base/try.h"
#include "model/dtype.h"
#include "model/element_text.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kBlockBytes = std::uint64_t{256} << 10;
constexpr std::uint64_t kBlocksInPart = 32;
static_assert(kDiffDecades == kDecades);

bool is_contiguous(const Tensor& t) {
  return t.is_c_contiguous() && t.storage->seekable() && t.offset_bytes <= t.storage->size_bytes() &&
         t.size_bytes() <= t.storage->size_bytes() - t.offset_bytes;
}

bool same_form(const StoredForm& a, const StoredForm& b) {
  return a.source && b.source && a.stored_bytes == b.stored_bytes && a.compression == b.compression &&
         a.header_bytes == b.header_bytes;
}

/// Memory that a thread reads the two sides of a block into, again and again.
class Buffers {
 public:
  std::span<std::byte> a(std::size_t size_bytes) { return take(a_, size_bytes); }
  std::span<std::byte> b(std::size_t size_bytes) { return take(b_, size_bytes); }

 private:
  struct Memory {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size_bytes = 0;
  };
  static std::span<std::byte> take(Memory& memory, std::size_t size_bytes) {
    if (size_bytes > memory.size_bytes) {
      memory.bytes.reset(new std::byte[size_bytes]);  // not zeroed
      memory.size_bytes = size_bytes;
    }
    return {memory.bytes.get(), size_bytes};
  }
  Memory a_;
  Memory b_;
};

}  // namespace

bool same_view(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides && a.offset_bytes == b.offset_bytes &&
         a.storage->size_bytes() == b.storage->size_bytes();
}

bool same_place(const StoredForm& a, const StoredForm& b) {
  if (!same_form(a, b) || a.offset_bytes != b.offset_bytes) return false;
  return a.source == b.source || (a.source->file_id() && a.source->file_id() == b.source->file_id());
}

/// Two tensors of one shape whose elements are compared.
class PayloadComparison::Job {
 public:
  Job(Tensor a, Tensor b, const Criterion& criterion, const DiffOptions& options, TensorDiff& out)
      : a_(std::move(a)),
        b_(std::move(b)),
        comparer_(little_endian(a_.dtype), little_endian(b_.dtype), criterion, options.histogram),
        options_(options),
        out_(out) {
    const std::uint64_t item = std::max<std::uint64_t>({a_.dtype.item_bytes, b_.dtype.item_bytes, 1});
    block_elements_ = std::max<std::uint64_t>(kBlockBytes / item, 1);
    part_elements_ = block_elements_ * kBlocksInPart;
    in_ranges_ = is_contiguous(a_) && is_contiguous(b_);
    parts_.resize(in_ranges_ ? (out_.num_elements - 1) / part_elements_ + 1 : 1);
  }

  std::size_t num_parts() const { return parts_.size(); }
  std::uint64_t size_bytes() const { return a_.size_bytes(); }
  bool found() const { return found_; }
  /// The checksums say already that there will be a difference.
  bool is_suspect() const {
    const auto &x = a_.storage->stored_form().crc32, &y = b_.storage->stored_form().crc32;
    return x && y && *x != *y;
  }

  /// Threads: each part by one.
  void compare_part(std::size_t part, Buffers& buffers) {
    auto done = guarded([&] { return in_ranges_ ? compare_range(part, buffers) : compare_all(buffers); });
    if (!done) parts_[part].error = std::move(done.error());
    if (parts_[part].figures.differing > 0) found_ = true;
  }

  /// After all parts: is there something that finish_part() has to add?
  bool needs_norms() const {
    return in_ranges_ && comparer_.is_numeric() && !options_.brief &&
           std::any_of(parts_.begin(), parts_.end(), [](const Part& p) { return p.unequal_bytes; });
  }

  /// Adds the blocks that were identical. Threads: each part by one.
  void finish_part(std::size_t part, Buffers& buffers) {
    auto done = guarded([&] { return add_identical(part, buffers); });
    if (!done && !parts_[part].error) parts_[part].error = std::move(done.error());
  }

  void finish(Buffers& buffers) {
    PairFigures total;
    bool unequal_bytes = false;
    for (Part& part : parts_) {
      if (part.error && !out_.error) out_.error = std::make_shared<const Error>(std::move(*part.error));
      total.merge(part.figures);
      unequal_bytes |= part.unequal_bytes;
    }
    parts_.clear();
    if (out_.error) {
      out_.change = TensorChange::unreadable;
      return;
    }
    out_.differing = total.differing;
    out_.change = total.differing > 0 ? TensorChange::values : TensorChange::same;
    if (unequal_bytes && comparer_.is_numeric() && !options_.brief)
      out_.figures = std::make_shared<const DiffFigures>(figures_of(total));
    if (out_.differing > 0 && options_.max_elements > 0) {
      auto listed = guarded([&] { return list_elements(buffers); });
      if (!listed) out_.error = std::make_shared<const Error>(std::move(listed.error()));
    }
  }

 private:
  struct Part {
    PairFigures figures;
    std::bitset<kBlocksInPart> identical;  // blocks whose norms are not in `figures`
    bool unequal_bytes = false;
    std::optional<Error> error;
  };

  bool stopped() const { return options_.brief && found_; }

  Result<void> compare_range(std::size_t part, Buffers& buffers) {
    Part& p = parts_[part];
    CKPT_TRY(const auto reader_a, a_.storage->open());
    CKPT_TRY(const auto reader_b, b_.storage->open());
    const std::uint64_t first = part * part_elements_;
    const std::uint64_t end = std::min(first + part_elements_, out_.num_elements);
    for (std::uint64_t at = first, block = 0; at < end && !stopped(); at += block_elements_, ++block) {
      const std::uint64_t n = std::min(block_elements_, end - at);
      const auto x = buffers.a(n * a_.dtype.item_bytes), y = buffers.b(n * b_.dtype.item_bytes);
      CKPT_CHECK(reader_a->read(a_.offset_bytes + at * a_.dtype.item_bytes, x));
      CKPT_CHECK(reader_b->read(b_.offset_bytes + at * b_.dtype.item_bytes, y));
      to_little_endian(a_.dtype, x);
      to_little_endian(b_.dtype, y);
      if (comparer_.identical_is_equal() && std::memcmp(x.data(), y.data(), x.size()) == 0) {
        p.identical.set(block);
      } else {
        p.unequal_bytes = true;
        comparer_.compare(x, y, at, p.figures);
      }
    }
    return {};
  }

  Result<void> add_identical(std::size_t part, Buffers& buffers) {
    Part& p = parts_[part];
    CKPT_TRY(const auto reader, a_.storage->open());
    const std::uint64_t first = part * part_elements_;
    const std::uint64_t end = std::min(first + part_elements_, out_.num_elements);
    for (std::uint64_t at = first, block = 0; at < end; at += block_elements_, ++block) {
      if (!p.identical[block]) continue;
      const auto x = buffers.a(std::min(block_elements_, end - at) * a_.dtype.item_bytes);
      CKPT_CHECK(reader->read(a_.offset_bytes + at * a_.dtype.item_bytes, x));
      to_little_endian(a_.dtype, x);
      comparer_.add_identical(x, p.figures);
    }
    return {};
  }

  Result<void> compare_all(Buffers& buffers) {
    CKPT_TRY(const bool same, same_stored_bytes(buffers));
    if (same) return {};
    Part& p = parts_.front();
    return for_each_block(buffers, [&](std::span<const std::byte> x, std::span<const std::byte> y, std::uint64_t at) {
      if (comparer_.identical_is_equal() && std::memcmp(x.data(), y.data(), x.size()) == 0) {
        if (!options_.brief) comparer_.add_identical(x, p.figures);
      } else {
        p.unequal_bytes = true;
        comparer_.compare(x, y, at, p.figures);
      }
      return !(options_.brief && p.figures.differing > 0);
    });
  }

  /// Are the compressed bytes the same?
  Result<bool> same_stored_bytes(Buffers& buffers) {
    const StoredForm &a = a_.storage->stored_form(), &b = b_.storage->stored_form();
    const bool worthwhile = a.compression != Compression::none && same_form(a, b) && same_view(a_, b_) &&
                            comparer_.identical_is_equal() && !is_suspect();
    if (!worthwhile) return false;
    for (std::uint64_t at = 0; at < a.stored_bytes; at += kBlockBytes) {
      const std::uint64_t n = std::min(kBlockBytes, a.stored_bytes - at);
      const auto x = buffers.a(n), y = buffers.b(n);
      CKPT_CHECK(a.source->read_at(a.offset_bytes + at, x));
      CKPT_CHECK(b.source->read_at(b.offset_bytes + at, y));
      if (std::memcmp(x.data(), y.data(), n) != 0) return false;
    }
    return true;
  }

  /// Calls visit(a, b, index of the first element) with whole elements in C order, until it says false.
  template <class Visit>
  Result<void> for_each_block(Buffers& buffers, Visit visit) {
    CKPT_TRY(auto reader_a, TensorReader::open(a_, options_.limits.max_buffered_bytes));
    CKPT_TRY(auto reader_b, TensorReader::open(b_, options_.limits.max_buffered_bytes));
    for (std::uint64_t at = 0; at < out_.num_elements; at += block_elements_) {
      const std::uint64_t n = std::min(block_elements_, out_.num_elements - at);
      const auto x = buffers.a(n * a_.dtype.item_bytes), y = buffers.b(n * b_.dtype.item_bytes);
      CKPT_CHECK(reader_a.read(x));
      CKPT_CHECK(reader_b.read(y));
      if (!visit(x, y, at)) break;
    }
    return {};
  }

  /// A pass of its own: what is listed is little, and knows its values.
  Result<void> list_elements(Buffers& buffers) {
    const std::uint64_t wanted = std::min(options_.max_elements, out_.differing);
    const DType dtype_a = little_endian(a_.dtype), dtype_b = little_endian(b_.dtype);
    return for_each_block(buffers, [&](std::span<const std::byte> x, std::span<const std::byte> y, std::uint64_t at) {
      const std::size_t item_a = a_.dtype.item_bytes, item_b = b_.dtype.item_bytes, count = x.size() / item_a;
      const auto differing = [&](std::size_t from, std::size_t n) {
        PairFigures some;
        comparer_.compare(x.subspan(from * item_a, n * item_a), y.subspan(from * item_b, n * item_b), 0, some);
        return some.differing > 0;
      };
      constexpr std::size_t kRun = 256;
      for (std::size_t run = 0; run < count && out_.elements.size() < wanted; run += kRun) {
        const std::size_t end = std::min(run + kRun, count);
        if (!differing(run, end - run)) continue;
        for (std::size_t i = run; i < end && out_.elements.size() < wanted; ++i) {
          if (!differing(i, 1)) continue;
          out_.elements.push_back({at + i, element_text(dtype_a, x.subspan(i * item_a, item_a)),
                                   element_text(dtype_b, y.subspan(i * item_b, item_b))});
        }
      }
      return out_.elements.size() < wanted;
    });
  }

  DiffFigures figures_of(const PairFigures& total) const {
    const auto peak = [](const Peak& p) -> std::optional<DiffPeak> {
      if (!(p.value > 0)) return std::nullopt;
      return DiffPeak{p.value, p.index};
    };
    DiffFigures out;
    out.max_abs = peak(total.max_abs);
    out.max_rel = peak(total.max_rel);
    if (comparer_.has_ulp()) out.max_ulp = total.max_ulp;
    const long double a = std::sqrt(total.squares_of_a), b = std::sqrt(total.squares_of_b);
    const long double distance = std::sqrt(total.squares_of_difference);
    if (total.finite > 0) out.rms = static_cast<double>(distance / std::sqrt(static_cast<long double>(total.finite)));
    if (a > 0 && b > 0) out.cosine = static_cast<double>(std::clamp(total.products / a / b, -1.0L, 1.0L));
    if (a > 0) out.moved = static_cast<double>(distance / a);
    out.nan_appeared = total.nan_appeared;
    out.nan_vanished = total.nan_vanished;
    out.inf_appeared = total.inf_appeared;
    out.inf_vanished = total.inf_vanished;
    if (options_.histogram) out.histogram = total.decades;
    return out;
  }

  Tensor a_;
  Tensor b_;
  PairComparer comparer_;
  const DiffOptions& options_;
  TensorDiff& out_;
  std::uint64_t block_elements_ = 1;
  std::uint64_t part_elements_ = 1;
  bool in_ranges_ = false;  // else as two streams, by one thread
  std::vector<Part> parts_;
  std::atomic<bool> found_ = false;
};

struct PayloadComparison::Jobs {
  struct Part {
    Job* job;
    std::size_t number;
  };

  /// Runs `work(part, buffers)` on all cores.
  template <class Work>
  Result<void> run(std::span<const Part> parts, Work work) const {
    std::vector<std::uint64_t> costs;
    for (const Part& part : parts) costs.push_back(part.job->size_bytes() / part.job->num_parts());
    return run_jobs(options.run, costs,
                    [&] { return [&, buffers = Buffers()](std::size_t i) mutable { work(parts[i], buffers); }; });
  }

  const Criterion& criterion;
  const DiffOptions& options;
  std::deque<Job> list;
};

PayloadComparison::PayloadComparison(const Criterion& criterion, const DiffOptions& options)
    : jobs_(std::make_unique<Jobs>(Jobs{criterion, options, {}})) {}
PayloadComparison::~PayloadComparison() = default;

void PayloadComparison::add(Tensor a, Tensor b, TensorDiff& out) {
  jobs_->list.emplace_back(std::move(a), std::move(b), jobs_->criterion, jobs_->options, out);
}

std::size_t PayloadComparison::size() const { return jobs_->list.size(); }

Result<bool> PayloadComparison::run() {
  using Part = Jobs::Part;
  const bool brief = jobs_->options.brief;
  std::vector<Part> parts;
  for (Job& job : jobs_->list) {
    for (std::size_t i = 0; i < job.num_parts(); ++i) parts.push_back({&job, i});
  }
  std::atomic<bool> found = false;
  const auto compare = [&](const Part& part, Buffers& buffers) {
    if (brief && found) return;
    part.job->compare_part(part.number, buffers);
    if (part.job->found()) found = true;
  };
  // If one difference is enough, first those that surely have one.
  const auto rest = std::stable_partition(parts.begin(), parts.end(),
                                          [&](const Part& part) { return brief && part.job->is_suspect(); });
  CKPT_CHECK(jobs_->run(std::span(parts.begin(), rest), compare));
  CKPT_CHECK(jobs_->run(std::span(rest, parts.end()), compare));
  std::erase_if(parts, [](const Part& part) { return !part.job->needs_norms(); });
  CKPT_CHECK(
      jobs_->run(parts, [](const Part& part, Buffers& buffers) { part.job->finish_part(part.number, buffers); }));
  Buffers buffers;
  for (Job& job : jobs_->list) job.finish(buffers);
  jobs_->list.clear();
  return found.load();
}

}  // namespace netcl::ckpt
