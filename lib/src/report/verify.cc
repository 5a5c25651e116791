// verify: everything that reading a checkpoint can prove about it.
//
// Opening it thoroughly has already compared directories, headers and sizes and walked every pickle;
// what is left is to pull each stored member through its CRC, on all cores, the largest first so
// that no core is left with a large one at the end.
#include "netcl/ckpt/verify.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "base/buffer.h"
#include "base/endian.h"
#include "base/glob.h"
#include "base/jobs.h"
#include "base/problem.h"
#include "base/try.h"
#include "format/readers.h"
#include "model/read_budget.h"
#include "report/verify_device.h"

namespace netcl::ckpt {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

/// True where a file that ends in this error was looked at and found broken; false where it could
/// not be looked at.
bool is_finding(ErrorCode code) {
  switch (code) {
    case ErrorCode::truncated:
    case ErrorCode::corrupt:
    case ErrorCode::limit_exceeded:
    case ErrorCode::unsafe:
    case ErrorCode::checksum_mismatch: return true;
    default: return false;
  }
}

/// Reads all of a storage, so that its reader checks the CRC.
Result<void> read_through(const Storage& storage) {
  CKPT_TRY(auto reader, storage.open());
  const auto block = thread_buffer(kBlockBytes);
  std::uint64_t at = 0;
  do {  // once even where it is empty: an empty member has a CRC too
    const std::size_t n = std::min<std::uint64_t>(block.size(), storage.size_bytes() - at);
    CKPT_CHECK(reader->read(at, block.first(n)));
    at += n;
  } while (at < storage.size_bytes());
  return {};
}

struct NotFinite {
  std::uint64_t nan = 0;
  std::uint64_t inf = 0;
};

/// Counts by exponent bits: all ones is Inf where the mantissa is zero, else NaN.
template <class Word>
void count_words(std::span<const std::byte> bytes, Word exponent, Word mantissa, NotFinite& count) {
  for (std::size_t i = 0; i + sizeof(Word) <= bytes.size(); i += sizeof(Word)) {
    const Word w = load_le<Word>(bytes.data() + i);
    const bool special = (w & exponent) == exponent;
    count.nan += special && (w & mantissa) != 0;
    count.inf += special && (w & mantissa) == 0;
  }
}

/// x87: the integer bit is explicit, the fraction lies below it.
void count_longdoubles(std::span<const std::byte> bytes, NotFinite& count) {
  for (std::size_t i = 0; i + 16 <= bytes.size(); i += 16) {
    if ((load_le<std::uint16_t>(bytes.data() + i + 8) & 0x7fff) != 0x7fff) continue;
    const bool nan = (load_le<std::uint64_t>(bytes.data() + i) << 1) != 0;
    count.nan += nan;
    count.inf += !nan;
  }
}

/// The one-byte floats have few special codes; 1 marks NaN, 2 Inf.
void count_float8(ScalarType type, std::span<const std::byte> bytes, NotFinite& count) {
  std::array<std::uint8_t, 256> kinds{};
  switch (type) {
    case ScalarType::float8_e4m3fn: kinds[0x7f] = kinds[0xff] = 1; break;
    case ScalarType::float8_e5m2:
      kinds[0x7c] = kinds[0xfc] = 2;
      for (std::size_t m = 1; m < 4; ++m) kinds[0x7c + m] = kinds[0xfc + m] = 1;
      break;
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz: kinds[0x80] = 1; break;
    default: kinds[0xff] = 1; break;  // float8_e8m0fnu
  }
  for (std::byte b : bytes) {
    count.nan += kinds[static_cast<std::uint8_t>(b)] == 1;
    count.inf += kinds[static_cast<std::uint8_t>(b)] == 2;
  }
}

/// False for a type that has neither NaN nor Inf.
bool count_not_finite(ScalarType type, std::span<const std::byte> bytes, NotFinite& count) {
  switch (type) {
    case ScalarType::float16:
    case ScalarType::complex32: count_words<std::uint16_t>(bytes, 0x7c00, 0x03ff, count); return true;
    case ScalarType::bfloat16: count_words<std::uint16_t>(bytes, 0x7f80, 0x007f, count); return true;
    case ScalarType::float32:
    case ScalarType::complex64: count_words<std::uint32_t>(bytes, 0x7f800000, 0x007fffff, count); return true;
    case ScalarType::float64:
    case ScalarType::complex128:
      count_words<std::uint64_t>(bytes, 0x7ff0000000000000, 0x000fffffffffffff, count);
      return true;
    case ScalarType::longdouble:
    case ScalarType::clongdouble: count_longdoubles(bytes, count); return true;
    case ScalarType::float8_e4m3fn:
    case ScalarType::float8_e5m2:
    case ScalarType::float8_e4m3fnuz:
    case ScalarType::float8_e5m2fnuz:
    case ScalarType::float8_e8m0fnu: count_float8(type, bytes, count); return true;
    default: return false;
  }
}

bool has_not_finite_codes(ScalarType type) {
  NotFinite none;
  return count_not_finite(type, {}, none);
}

Result<NotFinite> scan_finite(const Tensor& tensor) {
  CKPT_TRY(auto reader, TensorReader::open(tensor));
  const auto block = thread_buffer(kBlockBytes / tensor.dtype.item_bytes * tensor.dtype.item_bytes);
  NotFinite count;
  while (reader.remaining_bytes() > 0) {
    const auto part = block.first(std::min<std::uint64_t>(block.size(), reader.remaining_bytes()));
    CKPT_CHECK(reader.read(part));
    count_not_finite(tensor.dtype.type, part, count);
  }
  return count;
}

std::string shape_text(std::span<const std::uint64_t> shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

void compare(const std::vector<ExpectedTensor>& expected, const Tree& tree, const std::vector<NamedTensor>& tensors,
             Problems& problems) {
  auto add = [&](ProblemCode code, const std::string& where, std::string message) {
    problems.push_back(make_problem(code, where, std::nullopt, std::move(message)));
  };
  std::unordered_map<std::string_view, ValueId> found;
  for (const NamedTensor& t : tensors) found.emplace(t.name, t.value);
  for (const ExpectedTensor& e : expected) {
    const auto it = found.find(e.name);
    if (it == found.end()) {
      add(ProblemCode::missing_tensor, e.name,
          fmt::format("expected {} {}, not in the file", e.dtype, shape_text(e.shape)));
      continue;
    }
    const Tensor& t = tree.tensor(it->second);
    found.erase(it);
    if (t.shape != e.shape) {
      add(ProblemCode::shape_mismatch, e.name,
          fmt::format("shape {}, expected {}", shape_text(t.shape), shape_text(e.shape)));
    }
    if (!e.dtype.empty() && t.dtype.name() != e.dtype) {
      add(ProblemCode::dtype_mismatch, e.name, fmt::format("dtype {}, expected {}", t.dtype.name(), e.dtype));
    }
  }
  for (const NamedTensor& t : tensors) {
    if (found.contains(t.name)) add(ProblemCode::unexpected_tensor, t.name, "not among the expected tensors");
  }
}

/// One stored member to pull through its CRC, or one tensor to search for NaN and Inf.
struct Work {
  std::string name;
  const Storage* storage = nullptr;
  const Tensor* tensor = nullptr;
  std::uint64_t cost_bytes = 0;
  Problems problems;
  std::optional<Error> not_read;  // the machine's error, which is no finding

  void run() {
    auto outcome = guarded([&]() -> Result<void> {
      if (storage != nullptr) return read_through(*storage);
      CKPT_TRY(const NotFinite count, scan_finite(*tensor));
      if (count.nan + count.inf > 0) {
        problems.push_back(make_problem(
            ProblemCode::not_finite, name, std::nullopt,
            fmt::format("{} NaN and {} Inf among {} elements", count.nan, count.inf, tensor->num_elements())));
      }
      return {};
    });
    if (outcome) return;
    if (could_not_look(outcome.error().code)) {
      not_read = std::move(outcome.error());
      if (not_read->member.empty()) not_read->member = name;
      return;
    }
    problems.push_back(to_problem(outcome.error()));
    if (problems.back().where.empty()) problems.back().where = name;
  }
};

Result<VerifyReport> verify_opened(Result<Checkpoint> opened, const std::filesystem::path& path,
                                   const VerifyOptions& options) {
  VerifyReport report;
  report.path = path.string();
  if (!opened) {
    if (!is_finding(opened.error().code)) return tl::make_unexpected(opened.error());
    report.problems.push_back(to_problem(opened.error()));
    return report;
  }
  Checkpoint& checkpoint = *opened;
  report.format = checkpoint.format;
  report.file_bytes = checkpoint.file_bytes;
  report.problems = std::move(checkpoint.problems);
  for (const Problem& p : report.problems) {
    if (p.code == ProblemCode::io) return fail_at(ErrorCode::io, p.where, p.offset_bytes, "{}", p.message);
  }
  std::erase_if(report.problems, [&](const Problem& p) {
    return p.code == ProblemCode::foreign_global && matches_any(options.allow, p.global);
  });

  auto listed = list_tensors(checkpoint, options.limits);
  if (!listed) report.problems.push_back(to_problem(listed.error()));
  const std::vector<NamedTensor> tensors = listed ? std::move(*listed) : std::vector<NamedTensor>();
  report.num_tensors = tensors.size();
  if (options.expected) compare(*options.expected, checkpoint.tree, tensors, report.problems);

  std::vector<Work> work;
  ReadBudget budget(checkpoint.file_bytes);
  bool within = true;  // said once: there may be a million more
  const auto take = [&](const std::string& name, const Storage& storage, std::uint64_t size_bytes) {
    const auto taken = budget.take(storage, size_bytes);
    if (!taken && within) {
      report.problems.push_back(to_problem(taken.error()));
      report.problems.back().where = name;
    }
    within = within && taken;
    return within;
  };
  for (const Member& m : checkpoint.members) {
    if (!take(m.name, *m.storage, m.storage->size_bytes())) break;
    work.push_back({m.name, m.storage.get(), nullptr, m.storage->size_bytes(), {}, {}});
  }
  if (options.finite) {
    for (const NamedTensor& t : tensors) {
      const Tensor& tensor = checkpoint.tree.tensor(t.value);
      if (!tensor.storage || !has_not_finite_codes(tensor.dtype.type)) continue;
      if (!take(t.name, *tensor.storage, tensor.size_bytes())) break;
      work.push_back({t.name, nullptr, &tensor, tensor.size_bytes(), {}, {}});
    }
  }
  for (const Work& w : work) report.checked_bytes += w.cost_bytes;
  std::vector<std::uint64_t> costs;
  for (const Work& w : work) costs.push_back(w.cost_bytes);
  CKPT_CHECK(run_jobs(options.run, costs, [&] { return [&](std::size_t i) { work[i].run(); }; }));
  for (Work& w : work) {
    if (w.not_read) return tl::make_unexpected(std::move(*w.not_read));
  }
  for (Work& w : work) std::move(w.problems.begin(), w.problems.end(), std::back_inserter(report.problems));
  if (options.device) {
    report.device = options.device->info().name;
    CKPT_CHECK(verify_on_device(checkpoint.tree, tensors, options, report));
  }
  return report;
}

Result<ExpectedTensor> parse_expected(const Tree& tree, std::string_view name, ValueId value) {
  ExpectedTensor out;
  out.name = name;
  ValueId shape = value;
  if (tree.kind(value) == ValueKind::dict) {
    const auto* dtype = tree.find(value, "dtype");
    if (dtype != nullptr && tree.kind(dtype->value) == ValueKind::string) out.dtype = tree.text(dtype->value);
    const auto* entry = tree.find(value, "shape");
    if (entry == nullptr) return fail(ErrorCode::corrupt, "'{}' has no shape", name);
    shape = entry->value;
  }
  if (tree.kind(shape) != ValueKind::list) return fail(ErrorCode::corrupt, "the shape of '{}' is not a list", name);
  for (ValueId d : tree.items(shape)) {
    if (tree.kind(d) != ValueKind::integer || tree.integer(d) < 0) {
      return fail(ErrorCode::corrupt, "the shape of '{}' holds something other than sizes", name);
    }
    out.shape.push_back(static_cast<std::uint64_t>(tree.integer(d)));
  }
  return out;
}

Result<std::vector<ExpectedTensor>> parse_expectations(const Tree& tree, ValueId root) {
  if (tree.kind(root) != ValueKind::dict) return fail(ErrorCode::corrupt, "not an object from tensor name to shape");
  std::vector<ExpectedTensor> out;
  const auto* tensors = tree.find(root, "tensors");
  if (tree.find(root, "schema") != nullptr && tensors != nullptr && tree.kind(tensors->value) == ValueKind::list) {
    for (ValueId t : tree.items(tensors->value)) {
      const auto* name = tree.find(t, "name");
      if (name == nullptr || tree.kind(name->value) != ValueKind::string) {
        return fail(ErrorCode::corrupt, "a tensor has no name");
      }
      CKPT_TRY(auto expected, parse_expected(tree, tree.text(name->value), t));
      out.push_back(std::move(expected));
    }
    return out;
  }
  for (const Tree::Entry& e : tree.entries(root)) {
    CKPT_TRY(auto expected, parse_expected(tree, tree.text(e.key), e.value));
    out.push_back(std::move(expected));
  }
  return out;
}

/// Whether repair is of use against what has the code.
bool is_damage(ProblemCode code) {
  switch (code) {
    case ProblemCode::truncated:
    case ProblemCode::corrupt:
    case ProblemCode::checksum_mismatch:
    case ProblemCode::zip_end:
    case ProblemCode::zip_count:
    case ProblemCode::zip_local_differs:
    case ProblemCode::zip_descriptor:
    case ProblemCode::zip_overlap:
    case ProblemCode::zip_gap:
    case ProblemCode::zip_mark:
    case ProblemCode::zip_prefix: return true;
    default: return false;
  }
}

/// Of what `open` opens, if need be.
template <class Open>
Result<VerifyReport> with_way_out(Result<VerifyReport> report, const Open& open) {
  if (!report) return report;
  const bool damaged = std::any_of(report->problems.begin(), report->problems.end(),
                                   [](const Problem& p) { return p.severity >= Severity::error && is_damage(p.code); });
  if (!damaged) return report;
  const Result<SourcePtr> source = open();
  report->repairable = source && can_repair(**source);
  return report;
}

OpenOptions thorough(const VerifyOptions& options) {
  OpenOptions read;
  read.limits = options.limits;
  read.thorough = true;
  return read;
}

Result<VerifyReport> verify_standard_input(const VerifyOptions& options) {
  CKPT_TRY(SourcePtr source, open_standard_input());
  CKPT_TRY(VerifyReport report, verify(std::move(source), "", options));
  report.path = "-";
  return report;
}

}  // namespace

bool VerifyReport::sound() const {
  return std::none_of(problems.begin(), problems.end(), [](const Problem& p) { return p.severity >= Severity::error; });
}

Result<VerifyReport> verify(const std::filesystem::path& path, const VerifyOptions& options) {
  return guarded([&] {
    return with_way_out(verify_opened(open_checkpoint(path, thorough(options)), path, options),
                        [&] { return open_file(path); });
  });
}

Result<VerifyReport> verify(SourcePtr source, const std::filesystem::path& path, const VerifyOptions& options) {
  return guarded([&] {
    return with_way_out(verify_opened(open_checkpoint(source, path, thorough(options)), path, options),
                        [&] { return Result<SourcePtr>(source); });
  });
}

Result<void> verify_all(std::span<const std::string> paths, const VerifyOptions& options,
                        const std::function<void(const std::string& path, Result<VerifyReport> report)>& done) {
  return guarded([&]() -> Result<void> {
    const unsigned threads = thread_count(options.run.jobs);
    // A device takes one at a time; few files share the threads.
    const auto at_once = options.device ? 1U : static_cast<unsigned>(std::min<std::size_t>(threads, paths.size()));
    VerifyOptions each = options;
    each.run.jobs = threads / std::max(at_once, 1U);
    std::mutex mutex;
    std::map<std::size_t, Result<VerifyReport>> waiting;
    std::size_t next = 0;
    parallel_for(at_once, paths.size(), [&](std::size_t i) {
      auto report = paths[i] == "-" ? verify_standard_input(each) : verify(paths[i], each);
      const std::lock_guard held(mutex);
      waiting.emplace(i, std::move(report));
      for (auto it = waiting.begin(); it != waiting.end() && it->first == next; it = waiting.erase(it), ++next)
        done(paths[next], std::move(it->second));
    });
    return {};
  });
}

Result<std::vector<ExpectedTensor>> expectations_of(const Checkpoint& checkpoint, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<ExpectedTensor>> {
    CKPT_TRY(const auto tensors, list_tensors(checkpoint, limits));
    std::vector<ExpectedTensor> out;
    for (const NamedTensor& t : tensors) {
      const Tensor& tensor = checkpoint.tree.tensor(t.value);
      out.push_back({t.name, tensor.dtype.name(), tensor.shape});
    }
    return out;
  });
}

Result<std::vector<ExpectedTensor>> read_expectations(const std::filesystem::path& path, const Limits& limits) {
  return guarded([&]() -> Result<std::vector<ExpectedTensor>> {
    CKPT_TRY(const JsonFile json, read_json_file(path, limits));
    return in_file(parse_expectations(json.tree, json.root), path.string());
  });
}

}  // namespace netcl::ckpt
