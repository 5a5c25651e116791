// Tensors that are in the file and cannot be read: who wants all of them refuses, and names each.
#include "report/unreadable.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {

std::vector<Unreadable> unreadable_members(const Checkpoint& checkpoint) {
  std::vector<Unreadable> out;
  const bool arrays =
      checkpoint.format == Format::npz || checkpoint.format == Format::netcl || checkpoint.format == Format::npy_folder;
  if (!arrays) return out;
  constexpr std::array kCodes = {ProblemCode::truncated, ProblemCode::corrupt, ProblemCode::unsupported,
                                 ProblemCode::limit_exceeded, ProblemCode::checksum_mismatch};
  for (const Problem& p : checkpoint.problems) {
    const bool unread = p.severity == Severity::error && p.where.ends_with(".npy") &&
                        std::find(kCodes.begin(), kCodes.end(), p.code) != kCodes.end();
    if (unread) out.push_back({p.where.substr(0, p.where.size() - 4), p.message});
  }
  return out;
}

std::string why_unreadable(const Tensor& tensor) {
  if (!tensor.why_unreadable.empty()) return tensor.why_unreadable;
  return tensor.storage || tensor.dtype.type == ScalarType::object ? "" : "it is listed without data; verify says why";
}

Result<std::vector<Unreadable>> unreadable_tensors(const Checkpoint& checkpoint, const Limits& limits) {
  CKPT_TRY(const auto tensors, list_tensors(checkpoint, limits));
  std::vector<Unreadable> out;
  for (const NamedTensor& t : tensors) {
    std::string why = why_unreadable(checkpoint.tree.tensor(t.value));
    if (!why.empty()) out.push_back({t.name, std::move(why)});
  }
  return out;
}

Result<void> refuse_unreadable(const std::vector<Unreadable>& tensors) {
  if (tensors.empty()) return {};
  constexpr std::size_t kMostNamed = 20;
  std::string names;
  for (std::size_t i = 0; i < std::min(tensors.size(), kMostNamed); ++i)
    names += fmt::format("{}'{}' ({})", i == 0 ? "" : ", ", to_valid_utf8(tensors[i].name), tensors[i].why);
  if (tensors.size() > kMostNamed) names += fmt::format(" and {} more", tensors.size() - kMostNamed);
  return with_way_out(fail(ErrorCode::unsupported, "cannot read {} of the tensors: {}", tensors.size(), names),
                      "`exclude` leaves them out");
}

}  // namespace netcl::ckpt
