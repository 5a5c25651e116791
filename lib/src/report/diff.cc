// diff: two checkpoints, tensor by tensor, in one pass over both.
//
// What lies in the same place of the same file is not read. Compressed payloads are compared as they are
// stored, and inflated only where those bytes differ. Everything else is read in blocks that fit the L2
// cache; the bytes of a block are compared first, and the numbers only where they differ. Large tensors
// that can be read at any offset are divided into parts for all cores; the figures of the parts are merged
// in order, so that the sums do not depend on who did what.
//
// Norms (for cosine and moved) need every element, also of the blocks that are identical; those are read
// once more, and only if some other block of the tensor is not. Rejected: to always sum up on the way, which
// would cost the two identical files, the most frequent case, half of their speed.
#include "netcl/ckpt/diff.h"

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/glob.h"
#include "base/parallel.h"
#include "base/problem.h"
#include "base/renamer.h"
#include "base/try.h"
#include "model/compare.h"
#include "model/dtype.h"
#include "model/element_text.h"
#include "model/read_budget.h"
#include "model/tree_walk.h"
#include "report/diff_metadata.h"
#include "report/roles.h"
#include "report/unreadable.h"

namespace netcl::ckpt {
namespace {

constexpr std::uint64_t kBlockBytes = std::uint64_t{256} << 10;
constexpr std::uint64_t kBlocksInPart = 32;
static_assert(kDiffDecades == kDecades);

bool is_contiguous(const Tensor& t) {
  return t.is_c_contiguous() && t.storage->seekable() && t.offset_bytes <= t.storage->size_bytes() &&
         t.size_bytes() <= t.storage->size_bytes() - t.offset_bytes;
}

/// The same elements in the same order of storages that hold the same bytes.
bool same_view(const Tensor& a, const Tensor& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.strides == b.strides && a.offset_bytes == b.offset_bytes &&
         a.storage->size_bytes() == b.storage->size_bytes();
}

bool same_form(const StoredForm& a, const StoredForm& b) {
  return a.source && b.source && a.stored_bytes == b.stored_bytes && a.compression == b.compression &&
         a.header_bytes == b.header_bytes;
}

bool same_place(const StoredForm& a, const StoredForm& b) {
  if (!same_form(a, b) || a.offset_bytes != b.offset_bytes) return false;
  return a.source == b.source || (a.source->file_id() && a.source->file_id() == b.source->file_id());
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

/// Two tensors of one shape whose elements are compared.
class Job {
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

struct JobPart {
  Job* job;
  std::size_t number;
};

/// Runs `work(part, buffers)` on all cores, in this order.
template <class Work>
void run_parts(const std::vector<JobPart>& parts, unsigned jobs, Work work) {
  std::atomic<std::size_t> next = 0;
  const auto run = [&] {
    Buffers buffers;
    for (std::size_t i = next++; i < parts.size(); i = next++) work(parts[i], buffers);
  };
  std::uint64_t total_bytes = 0;
  for (const JobPart& part : parts) total_bytes += part.job->size_bytes() / part.job->num_parts();
  constexpr std::uint64_t kWorthThreadsBytes = std::uint64_t{1} << 20;
  run_on_threads(parts.size() < 2 || total_bytes < kWorthThreadsBytes ? 1 : thread_count(jobs), run);
}

void compare_payloads(std::deque<Job>& jobs, const DiffOptions& options) {
  std::vector<JobPart> parts;
  for (Job& job : jobs) {
    for (std::size_t i = 0; i < job.num_parts(); ++i) parts.push_back({&job, i});
  }
  // The largest first, so that no thread is left with a large one at the end; but where one difference is
  // enough, first those that surely have one.
  std::stable_sort(parts.begin(), parts.end(), [&](const JobPart& x, const JobPart& y) {
    if (options.brief && x.job->is_suspect() != y.job->is_suspect()) return x.job->is_suspect();
    return x.job->size_bytes() > y.job->size_bytes();
  });
  std::atomic<bool> found = false;
  run_parts(parts, options.jobs, [&](const JobPart& part, Buffers& buffers) {
    if (options.brief && found) return;
    part.job->compare_part(part.number, buffers);
    if (part.job->found()) found = true;
  });
  std::erase_if(parts, [](const JobPart& part) { return !part.job->needs_norms(); });
  run_parts(parts, options.jobs,
            [](const JobPart& part, Buffers& buffers) { part.job->finish_part(part.number, buffers); });
  Buffers buffers;
  for (Job& job : jobs) job.finish(buffers);
}

/// A tensor of one file on its way to its partner.
struct Candidate {
  std::string own_name;
  std::string mapped;  ///< "" where that is the same
  ValueId value = 0;
  Group group = Group::model;
  bool transposed = false;

  const std::string& name() const { return mapped.empty() ? own_name : mapped; }
  Tensor tensor(const Tree& tree) const {
    Tensor out = tree.tensor(value);
    if (transposed) {
      std::swap(out.shape[0], out.shape[1]);
      std::swap(out.strides[0], out.strides[1]);
    }
    return out;
  }
};

Result<std::vector<Candidate>> list_candidates(const Checkpoint& checkpoint, const DiffOptions& options) {
  CKPT_TRY(auto named, list_tensors(checkpoint, options.limits));
  const auto roles = roles_of(checkpoint, named, options.optimizer_patterns);
  std::vector<Candidate> out;
  out.reserve(named.size());
  for (std::size_t i = 0; i < named.size(); ++i) {
    out.push_back({std::move(named[i].name), "", named[i].value, group_of(roles[i])});
  }
  return out;
}

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& g) { return glob_match(g, name); });
}

Result<void> map_names(std::vector<Candidate>& candidates, const Tree& tree, Renames& renames,
                       const DiffOptions& options) {
  for (Candidate& c : candidates) {
    if (renames.empty()) break;
    CKPT_TRY(c.mapped, renames.apply(c.own_name));
  }
  for (Candidate& c : candidates)
    c.transposed = tree.tensor(c.value).shape.size() == 2 && tree.tensor(c.value).strides.size() == 2 &&
                   matches_any(options.transpose, c.name());
  return {};
}

bool in_scope(Group group, DiffScope scope) {
  switch (scope) {
    case DiffScope::all: return true;
    case DiffScope::model: return group == Group::model;
    case DiffScope::optimizer: return group == Group::optimizer;
    case DiffScope::metadata: return false;
  }
  return false;
}

std::shared_ptr<const DiffSide> side_of(const Candidate& c, const Tensor& tensor) {
  return std::make_shared<const DiffSide>(DiffSide{c.own_name, tensor.dtype, tensor.shape});
}

class Differ {
 public:
  Differ(const Checkpoint& a, const Checkpoint& b, const DiffOptions& options)
      : a_(a),
        b_(b),
        options_(options),
        criterion_{options.rtol, options.atol, options.ulp, options.bitwise, options.equal_nan},
        filter_{options.include, options.exclude},
        budget_a_(a.file_bytes),
        budget_b_(b.file_bytes) {}

  Result<DiffReport> run() {
    CKPT_CHECK(validate());
    if (options_.scope == DiffScope::all || options_.scope == DiffScope::metadata) {
      for (const Checkpoint* checkpoint : {&a_, &b_}) {
        if (auto safe = refuse_unsafe(checkpoint->problems); !safe) {
          safe.error().file = checkpoint->path;
          return tl::make_unexpected(std::move(safe.error()));
        }
      }
      CKPT_CHECK(diff_metadata(a_, b_, criterion_, filter_, options_.limits, report_));
      report_.differs = report_.num_metadata > 0;
    }
    if (options_.scope != DiffScope::metadata && !done()) CKPT_CHECK(pair_tensors());
    compare_jobs();
    for (const TensorDiff& t : report_.tensors) {
      report_.differs |= t.change != TensorChange::same && t.change != TensorChange::not_comparable &&
                         t.change != TensorChange::unreadable;
    }
    return std::move(report_);
  }

 private:
  bool done() const { return options_.brief && report_.differs; }

  Result<void> validate() const {
    CKPT_CHECK(check_roots(a_));
    CKPT_CHECK(check_roots(b_));
    const bool tolerant = options_.rtol != 0 || options_.atol != 0;
    if (!(options_.rtol >= 0) || !(options_.atol >= 0)) {
      return fail(ErrorCode::invalid_argument, "a tolerance is a number that is not negative");
    }
    if (tolerant && options_.ulp > 0) {
      return fail(ErrorCode::invalid_argument, "either tolerances or a distance in ULP, not both");
    }
    if (options_.bitwise && (tolerant || options_.ulp > 0 || options_.ignore_dtype)) {
      return fail(ErrorCode::invalid_argument, "a bitwise comparison has no tolerance and needs the same dtype");
    }
    return {};
  }

  Result<void> pair_tensors() {
    CKPT_TRY(auto a, list_candidates(a_, options_));
    CKPT_TRY(auto b, list_candidates(b_, options_));
    CKPT_TRY(Renames renames, Renames::compile(options_.map, a_.tree.size()));
    CKPT_CHECK(map_names(a, a_.tree, renames, options_));
    if (a.size() == 1 && b.size() == 1) {  // an npy has no name for its array, and npz calls one without a name arr_0
      if (a[0].name().empty()) a[0].mapped = b[0].own_name;
      if (b[0].name().empty()) b[0].mapped = a[0].name();
    }
    CKPT_CHECK(require_readable(a_, a, &renames));
    CKPT_CHECK(require_readable(b_, b, nullptr));
    // The first of each name, and the next of the same name.
    std::unordered_map<std::string_view, std::size_t> partners(b.size());
    std::vector<std::size_t> next(b.size(), b.size());
    for (std::size_t i = b.size(); i-- > 0;) {
      const auto [first, fresh] = partners.try_emplace(b[i].name(), i);
      if (!fresh) next[i] = std::exchange(first->second, i);
    }
    std::vector<bool> taken(b.size());
    report_.tensors.reserve(a.size() + b.size());  // jobs point into it; only what is used takes memory
    for (Candidate& candidate : a) {
      const auto found = partners.find(candidate.name());
      if (found == partners.end() || found->second == b.size()) {
        add_single(candidate, a_.tree, TensorChange::only_in_a);
        continue;
      }
      const std::size_t i = std::exchange(found->second, next[found->second]);
      taken[i] = true;
      add_pair(candidate, b[i]);
    }
    for (std::size_t i = 0; i < b.size(); ++i) {
      if (!taken[i]) add_single(b[i], b_.tree, TensorChange::only_in_b);
    }
    return {};
  }

  /// What is selected and cannot be read is not "the same", nor only in the other file. `renames`: of its names, or
  /// null.
  Result<void> require_readable(const Checkpoint& checkpoint, const std::vector<Candidate>& candidates,
                                Renames* renames) const {
    std::vector<Unreadable> found;
    for (Unreadable& member : unreadable_members(checkpoint)) {
      std::string name = member.name;
      if (renames != nullptr && !renames->empty()) {
        CKPT_TRY(name, renames->apply(name));
      }
      if (filter_.selects(name)) found.push_back(std::move(member));
    }
    for (const Candidate& c : candidates) {
      std::string why = why_unreadable(checkpoint.tree.tensor(c.value));
      if (!why.empty() && filter_.selects(c.name()) && in_scope(c.group, options_.scope))
        found.push_back({c.own_name, std::move(why)});
    }
    auto refused = refuse_unreadable(found);
    if (!refused) refused.error().file = checkpoint.path;
    return refused;
  }

  void add_single(const Candidate& c, const Tree& tree, TensorChange change) {
    if (!filter_.selects(c.name()) || !in_scope(c.group, options_.scope)) return;
    TensorDiff& t = report_.tensors.emplace_back();
    t.name = c.name();
    t.change = change;
    t.group = c.group;
    (change == TensorChange::only_in_a ? t.a : t.b) = side_of(c, c.tensor(tree));
    report_.differs = true;
  }

  void add_pair(const Candidate& a, const Candidate& b) {
    if (!filter_.selects(a.name())) return;
    if (!in_scope(a.group, options_.scope) && !in_scope(b.group, options_.scope)) return;
    TensorDiff& t = report_.tensors.emplace_back();
    const Tensor x = a.tensor(a_.tree), y = b.tensor(b_.tree);
    t.name = a.name();
    t.group = b.group;
    t.a = side_of(a, x);
    t.b = a.own_name == b.own_name && x.dtype == y.dtype && x.shape == y.shape ? t.a : side_of(b, y);
    t.change = first_look(x, y);
    if (t.change != TensorChange::values) {
      report_.differs |= t.change == TensorChange::shape || t.change == TensorChange::dtype;
      if (t.change == TensorChange::same) t.num_elements = x.num_elements();
      return;
    }
    t.num_elements = x.num_elements();
    for (const auto& [tensor, budget] : {std::pair{&x, &budget_a_}, {&y, &budget_b_}}) {
      auto taken = budget->take(*tensor->storage, tensor->size_bytes());
      if (taken) continue;
      t.change = TensorChange::unreadable;
      t.error = std::make_shared<const Error>(std::move(taken.error()));
      return;
    }
    jobs_.emplace_back(x, y, criterion_, options_, t);
    if (jobs_.size() == kMaxJobs) compare_jobs();
  }

  /// The pairs that were found so far. In turns, because a job takes a kilobyte, and files have 200,000 tensors.
  void compare_jobs() {
    if (!done()) compare_payloads(jobs_, options_);
    if (options_.brief) {
      for (const Job& job : jobs_) report_.differs |= job.found();
    }
    jobs_.clear();
  }

  /// What names, types and places tell; `values` where the elements must be looked at.
  TensorChange first_look(const Tensor& a, const Tensor& b) const {
    if (a.shape != b.shape) return TensorChange::shape;
    const DType dtype_a = little_endian(a.dtype), dtype_b = little_endian(b.dtype);
    const bool comparable = PairComparer::comparable(dtype_a, dtype_b);
    if (!(dtype_a == dtype_b) && !(options_.ignore_dtype && comparable)) return TensorChange::dtype;
    if (a.num_elements() == 0) return TensorChange::same;
    if (!a.storage || !b.storage) return TensorChange::not_comparable;
    const bool same = same_view(a, b) && same_place(a.storage->stored_form(), b.storage->stored_form()) &&
                      PairComparer(dtype_a, dtype_b, criterion_, false).identical_is_equal();
    return same ? TensorChange::same : TensorChange::values;
  }

  static constexpr std::size_t kMaxJobs = 10'000;

  const Checkpoint& a_;
  const Checkpoint& b_;
  const DiffOptions& options_;
  Criterion criterion_;
  NameFilter filter_;
  DiffReport report_;
  std::deque<Job> jobs_;
  ReadBudget budget_a_;
  ReadBudget budget_b_;
};

}  // namespace

const char* to_string(TensorChange change) {
  switch (change) {
    case TensorChange::same: return "same";
    case TensorChange::values: return "values";
    case TensorChange::dtype: return "dtype";
    case TensorChange::shape: return "shape";
    case TensorChange::only_in_a: return "only-in-a";
    case TensorChange::only_in_b: return "only-in-b";
    case TensorChange::not_comparable: return "not-comparable";
    case TensorChange::unreadable: return "unreadable";
  }
  return "same";
}

std::uint64_t DiffReport::count(TensorChange change) const {
  return static_cast<std::uint64_t>(
      std::count_if(tensors.begin(), tensors.end(), [&](const TensorDiff& t) { return t.change == change; }));
}

bool DiffReport::complete() const {
  return count(TensorChange::not_comparable) == 0 && count(TensorChange::unreadable) == 0;
}

Result<DiffReport> diff(const Checkpoint& a, const Checkpoint& b, const DiffOptions& options) {
  return guarded([&] { return Differ(a, b, options).run(); });
}

}  // namespace netcl::ckpt
