// diff: which tensors of two checkpoints are a pair, and what is to say of each.
//
// What lies in the same place of the same file is not read. The elements of all others are compared by
// report/diff_payloads, values that are no tensors by report/diff_metadata.
#include "netcl/ckpt/diff.h"

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/glob.h"
#include "base/problem.h"
#include "base/renamer.h"
#include "base/try.h"
#include "model/compare.h"
#include "model/dtype.h"
#include "model/read_budget.h"
#include "model/tree_walk.h"
#include "report/diff_metadata.h"
#include "report/diff_payloads.h"
#include "report/roles.h"
#include "report/unreadable.h"

namespace netcl::ckpt {
namespace {

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
        CKPT_CHECK(in_file(refuse_unsafe(checkpoint->problems), checkpoint->path));
      }
      CKPT_CHECK(diff_metadata(a_, b_, criterion_, filter_, options_.limits, report_));
      report_.differs = report_.num_metadata > 0;
    }
    if (options_.scope != DiffScope::metadata && !done()) CKPT_CHECK(pair_tensors());
    CKPT_CHECK(compare_payloads());
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
      CKPT_CHECK(add_pair(candidate, b[i]));
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
    return in_file(refuse_unreadable(found), checkpoint.path);
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

  Result<void> add_pair(const Candidate& a, const Candidate& b) {
    if (!filter_.selects(a.name())) return {};
    if (!in_scope(a.group, options_.scope) && !in_scope(b.group, options_.scope)) return {};
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
      return {};
    }
    t.num_elements = x.num_elements();
    for (const auto& [tensor, budget] : {std::pair{&x, &budget_a_}, {&y, &budget_b_}}) {
      auto taken = budget->take(*tensor->storage, tensor->size_bytes());
      if (taken) continue;
      t.change = TensorChange::unreadable;
      t.error = std::make_shared<const Error>(std::move(taken.error()));
      return {};
    }
    if (!done()) payloads_.add(x, y, t);
    if (payloads_.size() == kMaxPairs) CKPT_CHECK(compare_payloads());
    return {};
  }

  /// The pairs that were found so far. In turns, because one takes a kilobyte, and files have 200,000 tensors.
  Result<void> compare_payloads() {
    if (done()) return {};
    CKPT_TRY(const bool found, payloads_.run());
    report_.differs |= options_.brief && found;
    return {};
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

  static constexpr std::size_t kMaxPairs = 10'000;

  const Checkpoint& a_;
  const Checkpoint& b_;
  const DiffOptions& options_;
  Criterion criterion_;
  NameFilter filter_;
  DiffReport report_;
  PayloadComparison payloads_{criterion_, options_};
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
