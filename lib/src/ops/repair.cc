// repair: what can be proven whole of a damaged archive goes into a new one, moved as it is stored.
#include "netcl/ckpt/repair.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/try.h"
#include "container/zip_scan.h"
#include "format/write_plan.h"
#include "netcl/ckpt/format.h"
#include "netcl/ckpt/output_file.h"
#include "ops/write_file.h"

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
  report.problems.push_back(
      {"torch-version", Severity::note, version.name, std::nullopt, "was lost and is written anew, as torch does", ""});
  std::erase_if(report.lost, [&](const RepairReport::Loss& l) { return l.member == version.name; });
  plan.parts.push_back(std::move(version));
}

/// Names of tensors whose storage cannot be opened.
Result<std::vector<std::string>> lost_tensors_of(const Checkpoint& checkpoint, const Limits& limits) {
  std::vector<std::string> out;
  CKPT_TRY(const auto tensors, list_tensors(checkpoint, limits));
  for (const NamedTensor& t : tensors) {
    const Tensor& tensor = checkpoint.tree.tensor(t.value);
    if (tensor.storage && !tensor.storage->open()) out.push_back(t.name);
  }
  return out;
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

Result<RepairReport> rebuild(const SourcePtr& in, const fs::path& target, const RepairOptions& options) {
  RepairReport report;
  report.path = target.string();
  report.source_bytes = in->size_bytes();
  if (is_same_file(*in, target))
    return fail(ErrorCode::invalid_argument, "repair does not write over what it reads; give another name");
  CKPT_TRY(OutputFile file, OutputFile::create(target, options.replace));

  // The work is to find the records, to read the members, and to move them.
  std::uint64_t done_bytes = 0;
  const auto advance = [&](std::uint64_t bytes) -> Result<void> {
    done_bytes += bytes;
    const std::uint64_t total_bytes = std::max(done_bytes, 2 * in->size_bytes()) + in->size_bytes();
    if (options.progress) options.progress(done_bytes, total_bytes);
    if (options.cancel != nullptr && *options.cancel) return fail(ErrorCode::cancelled, "stopped before it was done");
    return {};
  };
  CKPT_TRY(const ZipScan scan, scan_zip(in, options.limits, advance));
  if (scan.members.empty())
    return fail(ErrorCode::unsupported,
                "no zip member was found in it; npz, .netcl and torch's zip files can be repaired");
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
  if (plan.parts.empty()) {
    const RepairReport::Loss& first = report.lost[0];
    return fail_at(ErrorCode::corrupt, first.member, first.offset_bytes, "nothing is whole: {}", first.message);
  }
  replace_torch_version(plan, report);

  WriteControl control;
  control.jobs = options.jobs;
  control.cancel = options.cancel;
  if (options.progress) {
    control.progress = [&](std::uint64_t done, std::uint64_t total) {
      options.progress(done_bytes + done, done_bytes + total);
    };
  }
  CKPT_TRY(report.file_bytes, write_file(plan, file, control));

  CKPT_TRY(const SourcePtr written, file.reopen(report.file_bytes));
  ReadOptions read;
  read.limits = options.limits;
  read.sidecar = false;
  const auto back = read_checkpoint(written, target, read);
  if (!back && !is_finding(back.error().code)) return tl::make_unexpected(back.error());
  if (back) {
    report.problems.insert(report.problems.end(), back->problems.begin(), back->problems.end());
    CKPT_TRY(report.lost_tensors, lost_tensors_of(*back, options.limits));
  } else {
    report.problems.push_back({to_string(back.error().code), Severity::error, back.error().member,
                               back.error().offset_bytes, back.error().message, ""});
  }
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
