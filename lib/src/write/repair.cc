// repair: what can be proven whole of a damaged file goes into a new one, moved as it is stored.
#include "netcl/ckpt/repair.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/jobs.h"
#include "base/problem.h"
#include "base/try.h"
#include "container/safetensors_header.h"
#include "container/zip_member.h"
#include "container/zip_scan.h"
#include "format/readers.h"
#include "format/write_plan.h"
#include "netcl/ckpt/open.h"
#include "netcl/ckpt/output_file.h"
#include "write/write_file.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

WritePart moved_part(const SourcePtr& source, const ScannedMember& found) {
  WritePart part;
  part.name = found.member.name;
  part.moved = StoredForm{source,
                          found.data_offset,
                          found.member.stored_bytes,
                          found.member.method == 0 ? Compression::none : Compression::deflate,
                          found.member.crc32,
                          0};
  part.moved_size_bytes = found.member.size_bytes;
  return part;
}

/// Keeps pickles of which only the CRC is wrong and that are whole pickles nevertheless: one wrong byte would else take
/// all tensors with it, whose bytes are elsewhere and have CRCs of their own.
Result<void> keep_pickles_that_parse(const SourcePtr& source, const ZipScan& scan, const Limits& limits,
                                     WritePlan& plan, RepairReport& report) {
  for (const ScannedMember& m : scan.members) {
    const std::string& name = m.member.name;
    if (!m.wrong_checksum || !(name == "data.pkl" || name.ends_with("/data.pkl"))) continue;
    if (std::find(report.kept.begin(), report.kept.end(), name) != report.kept.end()) continue;
    const auto directory = std::make_shared<ZipDirectory>();
    directory->members.push_back(m.member);
    CKPT_TRY(const StoragePtr storage,
             zip_member_storage(source, directory, directory->members[0], m.data_offset, 0, Checksum::ignored));
    if (!is_whole_pickle(*storage, limits)) continue;
    WritePart part;
    part.name = name;
    part.payload.emplace();
    part.payload->dtype = make_dtype(ScalarType::uint8);
    part.payload->shape = {storage->size_bytes()};
    part.payload->strides = c_strides(part.payload->shape);
    part.payload->storage = storage;
    plan.parts.insert(plan.parts.begin(), std::move(part));
    report.kept.push_back(name);
    report.doubtful.push_back(name);
    std::erase_if(report.lost, [&](const RepairReport::Loss& l) { return l.member == name; });
    report.problems.push_back(
        make_problem(ProblemCode::doubtful_pickle, name, m.member.header_offset,
                     "its CRC-32 is wrong and it is a whole pickle: it is kept, and names, shapes and values "
                     "in it may be changed"));
  }
  return {};
}

/// torch.load looks for the format's version, which it writes last and which is always this.
void replace_torch_version(WritePlan& plan, RepairReport& report) {
  const auto named = [&](std::string_view end) {
    return std::find_if(plan.parts.begin(), plan.parts.end(),
                        [&](const WritePart& p) { return p.name.ends_with(end); });
  };
  const auto pickle = named("/data.pkl");
  if (pickle == plan.parts.end() || named("/version") != plan.parts.end()) return;
  WritePart version;
  version.name = pickle->name.substr(0, pickle->name.size() - std::string_view("data.pkl").size()) + "version";
  version.head = "3\n";
  report.problems.push_back(make_problem(ProblemCode::torch_version, version.name, std::nullopt,
                                         "was lost and is written anew, as torch does"));
  std::erase_if(report.lost, [&](const RepairReport::Loss& l) { return l.member == version.name; });
  plan.parts.push_back(std::move(version));
}

/// How many tensors there are, and the names of those whose storage cannot be opened.
Result<void> count_tensors(const Checkpoint& checkpoint, const Limits& limits, RepairReport& report) {
  CKPT_TRY(const auto tensors, list_tensors(checkpoint, limits));
  report.num_tensors = tensors.size();
  for (const NamedTensor& t : tensors) {
    const Tensor& tensor = checkpoint.tree.tensor(t.value);
    if (tensor.storage && !tensor.storage->open()) report.lost_tensors.push_back(t.name);
  }
  return {};
}

Result<bool> is_safetensors(const ByteSource& source) {
  char head[9];
  if (source.size_bytes() < sizeof head) return false;
  CKPT_CHECK(source.read_at(0, std::as_writable_bytes(std::span(head))));
  return has_safetensors_start({head, sizeof head});
}

/// The output is what the input is: a name that promises another format would mislead whoever opens it.
Result<void> check_name(const fs::path& target, bool safetensors) {
  const std::string extension = target.extension().string();
  const auto is = [&](std::initializer_list<std::string_view> any) {
    return std::find(any.begin(), any.end(), extension) != any.end();
  };
  if (safetensors && is({".npz", ".npy", ".netcl", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}))
    return fail(ErrorCode::invalid_argument,
                "repair keeps the format: name the output .safetensors, and convert it afterwards");
  if (!safetensors && is({".safetensors", ".npy"}))
    return fail(ErrorCode::invalid_argument,
                "repair keeps the format, which is no {}: name it .npz or .pt, and convert it afterwards", extension);
  return {};
}

bool is_same_file(const ByteSource& source, const fs::path& path) {
  struct stat there {};
  const auto id = source.file_id();
  return id && ::stat(path.c_str(), &there) == 0 && *id == FileId{there.st_dev, there.st_ino};
}

/// True for what is wrong with the file itself, and not with reading it.
bool is_finding(ErrorCode code) {
  return code == ErrorCode::corrupt || code == ErrorCode::truncated || code == ErrorCode::unsupported ||
         code == ErrorCode::limit_exceeded || code == ErrorCode::checksum_mismatch;
}

Result<WritePlan> plan_members(const SourcePtr& in, const Limits& limits,
                               const std::function<Result<void>(std::uint64_t)>& advance, RepairReport& report) {
  CKPT_TRY(const ZipScan scan, scan_zip(in, limits, advance));
  if (scan.members.empty())
    return fail(ErrorCode::unsupported,
                "no zip member was found in it; npz, .netcl, torch's zip files and safetensors can be repaired");
  report.end_lost = !scan.comment;
  report.problems = scan.problems;

  WritePlan plan;
  plan.zip = true;
  plan.comment = scan.comment.value_or("");
  for (const ScannedMember& m : scan.members) {
    if (!m.fault.empty()) {
      report.lost.push_back({m.member.name, m.member.header_offset, m.fault});
      continue;
    }
    report.kept.push_back(m.member.name);
    plan.parts.push_back(moved_part(in, m));
  }
  CKPT_CHECK(keep_pickles_that_parse(in, scan, limits, plan, report));
  if (plan.parts.empty()) {
    const RepairReport::Loss& first = report.lost[0];
    return fail_at(ErrorCode::corrupt, first.member, first.offset_bytes, "nothing is whole: {}", first.message);
  }
  replace_torch_version(plan, report);
  return plan;
}

Result<WritePlan> plan_tensors(const SourcePtr& in, const Limits& limits, RepairReport& report) {
  CKPT_TRY(SafetensorsRepair found, plan_safetensors_repair(in, limits));
  report.kept = std::move(found.kept);
  for (auto& l : found.lost) report.lost.push_back({std::move(l.name), l.offset_bytes, std::move(l.message)});
  if (report.kept.empty() && !report.lost.empty()) {
    const RepairReport::Loss& first = report.lost[0];
    return fail_at(ErrorCode::corrupt, first.member, first.offset_bytes, "nothing is whole: {}", first.message);
  }
  if (found.unused_bytes > 0) {
    report.problems.push_back(
        make_problem(ProblemCode::trailing_bytes, "", std::nullopt,
                     fmt::format("{} bytes that are of no whole tensor are left out", found.unused_bytes)));
  }
  return std::move(found.plan);
}

Result<RepairReport> rebuild(const SourcePtr& in, const fs::path& target, const RepairOptions& options) {
  RepairReport report;
  report.path = target.string();
  report.source_bytes = in->size_bytes();
  if (is_same_file(*in, target))
    return fail(ErrorCode::invalid_argument, "repair does not write over what it reads; give another name");
  CKPT_TRY(const bool safetensors, is_safetensors(*in));
  CKPT_CHECK(check_name(target, safetensors));
  CKPT_TRY(OutputFile file, OutputFile::create(target, options.replace));

  // The work is to find the records, to read the members, and to move them.
  std::uint64_t done_bytes = 0;
  const auto advance = [&](std::uint64_t bytes) -> Result<void> {
    done_bytes += bytes;
    const std::uint64_t total_bytes = std::max(done_bytes, 2 * in->size_bytes()) + in->size_bytes();
    if (options.run.progress) options.run.progress(done_bytes, total_bytes);
    if (options.run.cancelled()) return fail_cancelled();
    return {};
  };
  WritePlan plan;
  if (safetensors) {
    CKPT_TRY(plan, plan_tensors(in, options.limits, report));
  } else {
    CKPT_TRY(plan, plan_members(in, options.limits, advance, report));
  }

  Run moving = options.run;
  if (options.run.progress) {
    moving.progress = [&](std::uint64_t done, std::uint64_t total) {
      options.run.progress(done_bytes + done, done_bytes + total);
    };
  }
  CKPT_TRY(report.file_bytes, write_file(plan, file, moving));

  CKPT_TRY(const SourcePtr written, file.reopen(report.file_bytes));
  OpenOptions read;
  read.limits = options.limits;
  read.sidecar = false;
  const auto back = open_checkpoint(written, target, read);
  if (!back && !is_finding(back.error().code)) return tl::make_unexpected(back.error());
  if (back) {
    report.problems.insert(report.problems.end(), back->problems.begin(), back->problems.end());
    report.format = back->format;
    CKPT_CHECK(count_tensors(*back, options.limits, report));
  } else {
    report.problems.push_back(to_problem(back.error()));
  }
  if (report.num_tensors == 0)
    report.problems.push_back(make_problem(ProblemCode::no_tensors, "", std::nullopt, "what is whole has no tensor"));
  CKPT_CHECK(file.commit(report.file_bytes));
  return report;
}

}  // namespace

Result<RepairReport> repair(SourcePtr in, const fs::path& out, const RepairOptions& options) {
  return guarded([&]() -> Result<RepairReport> {
    if (!in) return fail(ErrorCode::invalid_argument, "there is no source to read from");
    return rebuild(in, out, options);
  });
}

}  // namespace netcl::ckpt
