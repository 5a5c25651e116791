// inspect: what a checkpoint holds, from its directory and headers alone.
//
// Metadata comes out as a second, small tree. A pickle's own tree may share one dict a million times,
// contain itself, or be as deep as its file is long; whoever shows it would have to mind all of that,
// so it is cut to size once, here, without recursion.
#include "netcl/ckpt/inspect.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_set>

#include "base/endian.h"
#include "base/glob.h"
#include "base/jobs.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "codec/sha256.h"
#include "model/dtype.h"
#include "model/read_budget.h"
#include "model/scalar.h"
#include "model/tree_walk.h"
#include "report/identity.h"
#include "report/roles.h"
#include "report/stats.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
/// Shared containers are shown in full at each place until this many values have been shown.
constexpr std::size_t kMaxMetadataValues = 200'000;
constexpr std::size_t kMaxMetadataTextBytes = std::size_t{64} << 20;
constexpr std::string_view kCut = "…";
/// Of an object that is not known here: enough for its settings, not for its data.
constexpr std::size_t kMaxAttributes = 100;
constexpr std::size_t kMaxAttributeItems = 16;

/// Copies the values that are no tensors from one tree into another, within the bounds above.
class MetadataCopy {
 public:
  MetadataCopy(const Tree& from, Tree& to) : from_(from), to_(to) {}

  ValueId copy(std::span<const ValueId> roots) {
    std::vector<Tree::Entry> entries;
    for (ValueId root : roots) {
      if (from_.kind(root) != ValueKind::dict) {
        if (auto value = copy_value(root)) entries.push_back({to_.add_string(""), *value});
        continue;
      }
      for (const Tree::Entry& e : from_.entries(root)) {
        if (auto value = copy_value(e.value)) entries.push_back({add_key(e.key), *value});
      }
    }
    return to_.add_dict(entries);
  }

 private:
  struct Frame {
    ValueId from;
    std::size_t next = 0;
    bool lost = false;  // something below was left out
    std::vector<ValueId> items;
    std::vector<Tree::Entry> entries;
  };

  static bool is_container(ValueKind kind) {
    return kind == ValueKind::list || kind == ValueKind::tuple || kind == ValueKind::set ||
           kind == ValueKind::frozenset || kind == ValueKind::dict;
  }

  /// Nothing where it is a tensor, or holds tensors and nothing else.
  std::optional<ValueId> copy_value(ValueId root) {
    std::vector<Frame> stack;
    std::optional<ValueId> done = enter(root, stack);
    while (!stack.empty()) {
      Frame& top = stack.back();
      if (top.next < num_children(from_, top.from)) {
        const std::size_t i = top.next++;
        const std::size_t depth = stack.size();
        const auto value = enter(child(from_, top.from, i), stack);
        if (stack.size() == depth) attach(stack.back(), i, value);  // else the child's own turn comes first
        continue;
      }
      const Frame frame = std::move(top);
      stack.pop_back();
      on_path_[frame.from] = false;
      const bool empty = frame.items.empty() && frame.entries.empty();
      done = empty && frame.lost ? std::nullopt : std::optional(build(frame));
      if (!stack.empty()) attach(stack.back(), stack.back().next - 1, done);
    }
    return done;
  }

  /// A finished value, or nothing: either a tensor, or a container that is now on the stack.
  std::optional<ValueId> enter(ValueId id, std::vector<Frame>& stack) {
    const ValueKind kind = from_.kind(id);
    if (kind == ValueKind::tensor) {
      // A container of many tensors may be shared many times, and shows nothing of it.
      if (++passed_ > from_.size() + kMaxMetadataValues) shown_ = kMaxMetadataValues + 1;
      return std::nullopt;
    }
    ++shown_;
    if (kind == ValueKind::opaque) {
      // The attributes and their lists are two levels more.
      const bool room = stack.size() + 4 <= kMaxMetadataDepth;
      return to_.add_opaque(from_.text(id), room ? attributes_of(id) : std::vector<ValueId>());
    }
    if (!is_container(kind)) return leaf(id, kind);
    if (on_path_.empty()) on_path_.resize(from_.size());
    // The root dict is one level too.
    if (on_path_[id] || stack.size() + 2 > kMaxMetadataDepth || shown_ > kMaxMetadataValues)
      return to_.add_string(kCut);
    on_path_[id] = true;
    stack.push_back({id, 0, false, {}, {}});
    return std::nullopt;
  }

  bool is_plain(ValueId id) const {
    const ValueKind kind = from_.kind(id);
    return !is_container(kind) && kind != ValueKind::tensor && kind != ValueKind::opaque;
  }

  bool is_short_list(ValueId id) const {
    const ValueKind kind = from_.kind(id);
    if (!is_container(kind) || kind == ValueKind::dict) return false;
    const auto items = from_.items(id);
    return items.size() <= kMaxAttributeItems &&
           std::all_of(items.begin(), items.end(), [&](ValueId item) { return is_plain(item); });
  }

  /// Of an object that is not known here, the settings among its attributes: one dict, or nothing. Python gives its
  /// state as a dict, or, if it has __slots__, as a pair of dicts.
  std::vector<ValueId> attributes_of(ValueId opaque) {
    std::vector<Tree::Entry> found;
    for (const ValueId part : from_.items(opaque)) {
      if (from_.kind(part) == ValueKind::dict) add_attributes(part, found);
      if (from_.kind(part) != ValueKind::tuple || from_.items(part).size() != 2) continue;
      for (const ValueId half : from_.items(part)) {
        if (from_.kind(half) == ValueKind::dict) add_attributes(half, found);
      }
    }
    return found.empty() ? std::vector<ValueId>() : std::vector{to_.add_dict(found)};
  }

  void add_attributes(ValueId dict, std::vector<Tree::Entry>& found) {
    for (const Tree::Entry& e : from_.entries(dict)) {
      // One dict may be the state of a million objects, and show nothing of it.
      if (++passed_ > from_.size() + kMaxMetadataValues) shown_ = kMaxMetadataValues + 1;
      if (shown_ > kMaxMetadataValues || found.size() > kMaxAttributes) return;
      const bool plain = is_plain(e.value);
      if (from_.kind(e.key) != ValueKind::string || (!plain && !is_short_list(e.value))) continue;
      if (found.size() == kMaxAttributes) {
        found.push_back({to_.add_string(kCut), to_.add_string(kCut)});
        return;
      }
      ++shown_;
      ValueId value = 0;
      if (plain) {
        value = leaf(e.value, from_.kind(e.value));
      } else {
        std::vector<ValueId> items;
        for (const ValueId item : from_.items(e.value)) {
          ++shown_;
          items.push_back(leaf(item, from_.kind(item)));
        }
        value = to_.add_sequence(from_.kind(e.value), items);
      }
      found.push_back({add_key(e.key), value});
    }
  }

  void attach(Frame& parent, std::size_t i, std::optional<ValueId> value) {
    if (shown_ > kMaxMetadataValues) parent.next = num_children(from_, parent.from);
    if (!value) {
      parent.lost = true;
      return;
    }
    if (from_.kind(parent.from) == ValueKind::dict) {
      const ValueId key = from_.entries(parent.from)[i].key;
      parent.entries.push_back({add_key(key), *value});
    } else {
      parent.items.push_back(*value);
    }
  }

  ValueId add_key(ValueId key) {
    if (text_bytes_ > kMaxMetadataTextBytes) return to_.add_string(kCut);
    const std::string text = key_text(from_, key);
    text_bytes_ += text.size();
    return to_.add_string(text);
  }

  ValueId build(const Frame& frame) {
    const ValueKind kind = from_.kind(frame.from);
    return kind == ValueKind::dict ? to_.add_dict(frame.entries) : to_.add_sequence(kind, frame.items);
  }

  ValueId leaf(ValueId id, ValueKind kind) {
    if (kind == ValueKind::string || kind == ValueKind::bytes || kind == ValueKind::big_integer) {
      text_bytes_ += from_.text(id).size();  // one string may be shared a million times
      if (text_bytes_ > kMaxMetadataTextBytes) return to_.add_string(kCut);
    }
    switch (kind) {
      case ValueKind::boolean: return to_.add_boolean(from_.boolean(id));
      case ValueKind::integer: return to_.add_integer(from_.integer(id));
      case ValueKind::big_integer: return to_.add_big_integer(from_.text(id));
      case ValueKind::real: return to_.add_real(from_.real(id));
      case ValueKind::complex: return to_.add_complex(from_.real(id), from_.imaginary(id));
      case ValueKind::string: return to_.add_string(from_.text(id));
      case ValueKind::bytes: return to_.add_bytes(from_.text(id));
      case ValueKind::name: return to_.add_name(from_.text(id));
      case ValueKind::scalar: return add_scalar_value(from_.tensor(id), to_);
      default: return to_.add_none();
    }
  }

  const Tree& from_;
  Tree& to_;
  std::vector<bool> on_path_;
  std::size_t shown_ = 0;
  std::size_t passed_ = 0;  // that are not shown
  std::size_t text_bytes_ = 0;
};

TensorInfo describe(const NamedTensor& named, const Tensor& tensor, Group group) {
  TensorInfo info;
  info.name = named.name;
  info.dtype = tensor.dtype;
  info.shape = tensor.shape;
  info.fortran_order = tensor.is_f_contiguous();
  info.group = group;
  info.size_bytes = tensor.size_bytes();
  if (tensor.storage) {
    const StoredForm& form = tensor.storage->stored_form();
    info.stored_bytes = form.stored_bytes;
    info.compression = form.compression;
    info.crc32 = form.crc32;
  }
  return info;
}

/// Knows the tensors that were seen: the same elements under another name are not counted again.
class TiedTensors {
 public:
  bool is_first(const Tensor& t) {
    return !t.storage || seen_.emplace(t.storage.get(), t.offset_bytes, t.dtype.item_bytes, t.shape, t.strides).second;
  }

 private:
  using Sizes = std::vector<std::uint64_t>;
  std::set<std::tuple<const Storage*, std::uint64_t, std::uint64_t, Sizes, Sizes>> seen_;
};

/// A block of memory that a thread reads into, again and again.
class Buffer {
 public:
  std::span<std::byte> take(std::size_t size_bytes) {
    if (size_bytes > size_bytes_) {
      bytes_.reset(new std::byte[size_bytes]);  // not zeroed
      size_bytes_ = size_bytes;
    }
    return {bytes_.get(), size_bytes};
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_bytes_ = 0;
};

/// One tensor whose payload is read. Hashing goes from its start to its end; for statistics alone a
/// large one is divided among the threads.
class Job {
 public:
  Job(const Tensor& tensor, TensorInfo& info, const InspectOptions& options)
      : tensor_(tensor),
        info_(info),
        hash_(options.hash || options.identity),
        stats_(options.stats && has_stats(tensor.dtype)) {
    const bool contiguous = tensor.is_c_contiguous() || tensor.is_f_contiguous();
    divided_ = !hash_ && contiguous && tensor.storage->seekable() && info.size_bytes > kPartBytes &&
               tensor.offset_bytes <= tensor.storage->size_bytes() &&
               info.size_bytes <= tensor.storage->size_bytes() - tensor.offset_bytes;
    const std::size_t num_parts = divided_ ? (info.size_bytes + kPartBytes - 1) / kPartBytes : 1;
    outcomes_.resize(num_parts);
    parts_left_ = num_parts;
  }

  bool needed() const { return hash_ || stats_; }
  std::size_t num_parts() const { return outcomes_.size(); }
  std::uint64_t size_bytes() const { return info_.size_bytes; }

  /// Threads: each part by any thread. The one that does the last puts the results together.
  void run_part(std::size_t part, Buffer& buffer) {
    outcomes_[part] = guarded([&] { return divided_ ? read_range(part, buffer) : read_all(buffer); });
    if (--parts_left_ == 0) finish();
  }

  void report(Problems& problems) const {
    if (!error_) return;
    const std::string& where = error_->member.empty() ? info_.name : error_->member;
    problems.push_back(to_problem(*error_, where));
  }

 private:
  static constexpr std::uint64_t kPartBytes = std::uint64_t{8} << 20;

  Result<StatsPart> read_all(Buffer& buffer) {
    CKPT_TRY(auto reader, TensorReader::open(tensor_));
    const std::uint64_t item = std::max<std::uint64_t>(tensor_.dtype.item_bytes, 1);
    const std::uint64_t whole_items = std::max(kBlockBytes / item, std::uint64_t{1}) * item;
    const auto block = buffer.take(std::min(whole_items, info_.size_bytes));
    StatsPart stats(tensor_.dtype, 0, tensor_.num_elements());
    std::optional<Sha256> sha256;
    if (hash_) sha256.emplace();
    while (reader.remaining_bytes() > 0) {
      const auto bytes = block.first(std::min<std::uint64_t>(block.size(), reader.remaining_bytes()));
      CKPT_CHECK(reader.read(bytes));
      if (sha256) sha256->update(bytes);
      if (stats_) stats.add(bytes);
    }
    if (sha256) info_.sha256 = sha256->hex_digest();
    return stats;
  }

  Result<StatsPart> read_range(std::size_t part, Buffer& buffer) {
    CKPT_TRY(const auto reader, tensor_.storage->open());
    std::uint64_t at = part * kPartBytes;
    const std::uint64_t end = std::min(at + kPartBytes, info_.size_bytes);
    StatsPart stats(tensor_.dtype, at / tensor_.dtype.item_bytes, tensor_.num_elements());
    while (at < end) {
      const auto bytes = buffer.take(std::min<std::uint64_t>(kBlockBytes, end - at));
      CKPT_CHECK(reader->read(tensor_.offset_bytes + at, bytes));
      to_little_endian(tensor_.dtype, bytes);
      stats.add(bytes);
      at += bytes.size();
    }
    return stats;
  }

  void finish() {
    std::optional<StatsPart> total;
    for (auto& outcome : outcomes_) {
      if (!*outcome) {
        if (!error_) error_ = std::move(outcome->error());
      } else if (!total) {
        total = std::move(**outcome);
      } else {
        total->merge(**outcome);
      }
    }
    if (stats_ && !error_) info_.stats = std::make_shared<const TensorStats>(total->finish());
    outcomes_.clear();  // the samples in them would add up over all tensors
  }

  const Tensor& tensor_;
  TensorInfo& info_;
  bool hash_;
  bool stats_;
  bool divided_ = false;
  std::vector<std::optional<Result<StatsPart>>> outcomes_;  // one for each part
  std::atomic<std::size_t> parts_left_ = 0;
  std::optional<Error> error_;
};

Result<void> read_payloads(std::deque<Job>& jobs, const Run& run) {
  struct Part {
    Job* job;
    std::size_t number;
  };
  std::vector<Part> parts;
  std::vector<std::uint64_t> costs;  // the whole job's: its parts are handed out one after another
  for (Job& job : jobs) {
    for (std::size_t i = 0; i < job.num_parts(); ++i) {
      parts.push_back({&job, i});
      costs.push_back(job.size_bytes());
    }
  }
  return run_jobs(run, costs, [&] {
    return [&, buffer = Buffer()](std::size_t i) mutable { parts[i].job->run_part(parts[i].number, buffer); };
  });
}

}  // namespace

const char* to_string(Group group) {
  switch (group) {
    case Group::model: return "model";
    case Group::optimizer: return "optimizer";
    case Group::other: return "other";
  }
  return "other";
}

Result<InspectReport> inspect(const Checkpoint& checkpoint, const InspectOptions& options) {
  return guarded([&]() -> Result<InspectReport> {
    CKPT_CHECK(check_roots(checkpoint));
    InspectReport report;
    report.path = checkpoint.path;
    report.format = checkpoint.format;
    report.file_bytes = checkpoint.file_bytes;
    report.problems = checkpoint.problems;
    const ValueId roots[] = {checkpoint.attributes, checkpoint.root};
    report.metadata_root = MetadataCopy(checkpoint.tree, report.metadata).copy(roots);

    CKPT_TRY(const auto tensors, list_tensors(checkpoint, options.limits));
    const auto roles = roles_of(checkpoint, tensors, options.optimizer_patterns);
    TiedTensors tied;
    report.tensors.reserve(tensors.size());
    std::unordered_set<const Storage*> counted;
    std::deque<Job> jobs;
    ReadBudget budget(checkpoint.file_bytes);
    bool within = true;  // after the first that is too much none is read: there may be a million more
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (!NameFilter{options.include, options.exclude}.selects(tensors[i].name)) continue;
      const Tensor& tensor = checkpoint.tree.tensor(tensors[i].value);
      report.tensors.push_back(describe(tensors[i], tensor, group_of(roles[i])));
      TensorInfo& info = report.tensors.back();  // stays where it is: there is room for all
      report.totals.num_tensors += 1;
      if (info.group == Group::model && tied.is_first(tensor)) report.totals.num_parameters += tensor.num_elements();
      report.totals.size_bytes += info.size_bytes;
      if (tensor.storage && counted.insert(tensor.storage.get()).second)
        report.totals.stored_bytes += info.stored_bytes;
      if (!tensor.storage || !within) continue;
      jobs.emplace_back(tensor, info, options);
      if (!jobs.back().needed()) {
        jobs.pop_back();
      } else if (auto taken = budget.take(*tensor.storage, info.size_bytes); !taken) {
        jobs.pop_back();
        within = false;
        report.problems.push_back(to_problem(taken.error(), info.name));
      }
    }
    CKPT_CHECK(read_payloads(jobs, options.run));
    for (const Job& job : jobs) job.report(report.problems);
    if (options.identity) report.identity = content_identity(report.tensors);
    if (!options.hash) {
      for (TensorInfo& info : report.tensors) info.sha256.clear();
    }
    return report;
  });
}

}  // namespace netcl::ckpt
