// What a zip's directory does not explain: every byte of the archive belongs to one member, or is a finding.
#include "container/zip_layout.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "base/checked.h"
#include "base/cursor.h"
#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "container/zip_records.h"

namespace netcl::ckpt {
namespace {

void add(Problems& problems, ProblemCode code, const std::string& where, std::uint64_t offset, std::string message) {
  problems.push_back(make_problem(code, where, offset, std::move(message)));
}

/// zipfile takes the last end record's signature in the file, libzip the first record that fits: where
/// there is a second one, they may list other members.
void check_end_records(const ByteSource& source, const ZipDirectory& directory, Problems& problems) {
  const std::uint64_t size = source.size_bytes();
  std::vector<std::byte> tail(std::min<std::uint64_t>(size, kEndBytes + kMaxCommentBytes));
  if (!source.read_at(size - tail.size(), tail)) return;
  for (std::size_t i = 0; i + kEndBytes <= tail.size(); ++i) {
    const std::uint64_t at = size - tail.size() + i;
    if (at == directory.end_offset || load_le<std::uint32_t>(tail.data() + i) != kEndSignature) continue;
    const bool fits = at + kEndBytes + load_le<std::uint16_t>(tail.data() + i + 20) == size;
    if (!fits && at < directory.end_offset) continue;  // in a member's data, such as a zip in a zip
    add(problems, ProblemCode::zip_end, "", at, "a second end record: readers may list other members");
    return;
  }
}

}  // namespace

void check_zip_layout(const SourcePtr& source, const ZipDirectory& directory,
                      std::span<const std::uint64_t> data_offsets, Problems& problems) {
  check_end_records(*source, directory, problems);
  struct Range {
    std::uint64_t begin, end;
    std::size_t member;
  };
  std::vector<Range> ranges;
  std::unordered_map<std::string_view, std::size_t> names;
  for (std::size_t i = 0; i < directory.members.size(); ++i) {
    const ZipMember& m = directory.members[i];
    if (!names.emplace(m.name, i).second) {
      add(problems, ProblemCode::duplicate_name, m.name, m.header_offset,
          "two members have this name: readers differ on which counts");
    }
    const std::string_view name = m.name;
    // "C:/" is a drive; netcl's "1:weight" is a layer.
    const bool drive = name.size() > 2 && name[1] == ':' && (name[2] == '/' || name[2] == '\\');
    if (name.starts_with('/') || drive) {
      add(problems, ProblemCode::absolute_name, m.name, m.header_offset,
          "an absolute path: extracting it writes outside the folder");
    }
    if (name == ".." || name.starts_with("../") || name.ends_with("/..") || name.find("/../") != name.npos) {
      add(problems, ProblemCode::parent_name, m.name, m.header_offset,
          "a path with '..': extracting it writes outside the folder");
    }
    if (data_offsets[i] == 0) continue;  // its header could not be read, which has been said
    std::uint64_t end = data_offsets[i] + m.stored_bytes;
    if ((m.flags & kDescriptorFlag) != 0) {
      // crc, stored size, size; with or without a signature, the sizes in 4 or 8 bytes.
      std::array<std::byte, 24> bytes{};
      const std::uint64_t room = std::min<std::uint64_t>(bytes.size(), directory.central_offset - end);
      std::uint64_t length = 0;
      if (source->read_at(end, std::span(bytes).first(room))) {
        for (const bool signature : {true, false}) {
          for (const std::size_t width : {std::size_t{4}, std::size_t{8}}) {
            const std::size_t start = signature ? 4 : 0;
            if (length > 0 || start + 4 + 2 * width > room) continue;
            auto number = [&](std::size_t at) {
              return width == 8 ? load_le<std::uint64_t>(bytes.data() + at) : load_le<std::uint32_t>(bytes.data() + at);
            };
            const bool fits = (!signature || load_le<std::uint32_t>(bytes.data()) == kDescriptorSignature) &&
                              load_le<std::uint32_t>(bytes.data() + start) == m.crc32 &&
                              number(start + 4) == m.stored_bytes && number(start + 4 + width) == m.size_bytes;
            if (fits) length = start + 4 + 2 * width;
          }
        }
      }
      if (length == 0) {
        add(problems, ProblemCode::zip_descriptor, m.name, end,
            "the data descriptor is missing or contradicts the directory");
      }
      end += length;
    }
    ranges.push_back({m.header_offset, end, i});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::uint64_t covered = 0;
  for (const Range& r : ranges) {
    const std::string& name = directory.members[r.member].name;
    if (r.begin < covered) {
      add(problems, ProblemCode::zip_overlap, name, r.begin, "its bytes belong to another member too");
    } else if (r.begin > covered) {
      add(problems, covered == 0 ? ProblemCode::zip_prefix : ProblemCode::zip_gap, "", covered,
          fmt::format("{} bytes belong to no member", r.begin - covered));
    }
    covered = std::max(covered, r.end);
  }
  if (covered < directory.central_offset) {
    add(problems, ProblemCode::zip_gap, "", covered,
        fmt::format("{} bytes belong to no member", directory.central_offset - covered));
  }
}

}  // namespace netcl::ckpt
