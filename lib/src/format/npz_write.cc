// npz, `.netcl`, npy and a folder of npy files as plans. Each tensor keeps the order and the byte order in which it
// lies where an npy header can say them; what else a checkpoint holds goes into the structure document.
#include <unordered_set>

#include "base/try.h"
#include "container/npy_writer.h"
#include "format/npy_folder.h"
#include "format/structure_encode.h"
#include "format/write_plan.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

/// The npy file of one tensor.
Result<WritePart> npy_part(const std::string& name, const Tensor& tensor) {
  CKPT_CHECK(check_readable(tensor, name));
  if (!tensor.storage) {
    return fail_at(ErrorCode::unsupported, name, std::nullopt,
                   "an object array is a pickle, which is not written; exclude it");
  }
  WritePart part;
  part.name = name;
  part.payload = tensor;
  const bool as_it_lies = tensor.is_c_contiguous() || tensor.is_f_contiguous();
  part.in_c_order = !as_it_lies;
  const DType dtype = as_it_lies ? tensor.dtype : little_endian(tensor.dtype);
  const std::string descr = dtype.fields ? dtype.descr() : python_repr(dtype.descr());
  part.head = npy_header(descr, tensor.is_f_contiguous(), tensor.shape);
  return part;
}

/// True where the member that holds `tensor` is already the npy file that would be written.
bool can_move(const Tensor& tensor) {
  const StoredForm& form = tensor.storage->stored_form();
  return form.source && form.header_bytes > 0 && form.crc32 && tensor.offset_bytes == 0 &&
         tensor.size_bytes() == tensor.storage->size_bytes() &&
         (form.compression == Compression::none || form.compression == Compression::deflate) &&
         (tensor.is_c_contiguous() || tensor.is_f_contiguous());
}

}  // namespace

Result<WritePlan> plan_npz(const Checkpoint& checkpoint, const LayoutOptions& options) {
  CKPT_TRY(const auto tensors, list_tensors(checkpoint));
  WritePlan plan;
  plan.zip = true;
  plan.best = options.compression == CompressionChoice::best;
  const bool deflate = plan.best || options.compression == CompressionChoice::fast;
  std::unordered_set<std::string> taken;
  for (const NamedTensor& t : tensors) {
    const Tensor& tensor = checkpoint.tree.tensor(t.value);
    const std::string name = t.path.empty() ? "arr_0" : t.name;  // as np.savez names a lone array
    if (name.find('\0') != std::string::npos) {
      return fail_at(ErrorCode::unsupported, name, std::nullopt, "a zip member's name cannot hold a NUL");
    }
    if (!taken.insert(name).second) {
      return with_way_out(fail_at(ErrorCode::unsupported, name, std::nullopt, "two tensors would get this name"),
                          "rename one of them (`renames`)");
    }
    CKPT_TRY(WritePart part, npy_part(name, tensor));
    part.name += ".npy";
    if (options.compression == CompressionChoice::keep && can_move(tensor)) {
      part.moved = tensor.storage->stored_form();
      part.moved_size_bytes = part.moved->header_bytes + tensor.storage->size_bytes();
    } else {
      const bool was_deflated = tensor.storage->stored_form().compression != Compression::none;
      part.deflate = deflate || (options.compression == CompressionChoice::keep && was_deflated);
    }
    plan.parts.push_back(std::move(part));
  }
  CKPT_TRY(std::string structure, encode_structure(checkpoint, true, true, false, options.no_sidecar));
  constexpr std::size_t kMaxCommentBytes = 0xffff;
  if (structure.size() <= kMaxCommentBytes) {
    plan.comment = std::move(structure);
  } else {
    WritePart part;
    part.name = kStructureMember;
    part.head = std::move(structure);
    part.deflate = part.head.size() <= kMaxDeflatedDocumentBytes;
    plan.parts.push_back(std::move(part));
  }
  return plan;
}

Result<WritePlan> plan_npy(const Checkpoint& checkpoint) {
  CKPT_TRY(const auto tensors, list_tensors(checkpoint));
  if (tensors.size() != 1) {
    return with_way_out(fail(ErrorCode::unsupported, "an npy holds one array, this checkpoint has {}", tensors.size()),
                        "select one (`include`), write an npz, or end the output's name with '/' for a folder of them");
  }
  CKPT_TRY(const std::string structure, encode_structure(checkpoint, true, true));
  const bool lone = tensors[0].path.empty() || structure.empty();
  if (!lone) return fail(ErrorCode::unsupported, "an npy holds an array and nothing beside it; write an npz");
  CKPT_TRY(WritePart part, npy_part(tensors[0].name, checkpoint.tree.tensor(tensors[0].value)));
  WritePlan plan;
  plan.parts.push_back(std::move(part));
  return plan;
}

Result<WritePlan> plan_npy_folder(const Checkpoint& checkpoint) {
  CKPT_TRY(const auto tensors, list_tensors(checkpoint));
  WritePlan plan;
  std::unordered_set<std::string> taken;
  for (const NamedTensor& t : tensors) {
    CKPT_TRY(WritePart part, npy_part(t.name, checkpoint.tree.tensor(t.value)));
    part.name = npy_file_name(t.name);
    constexpr std::size_t kMaxFileNameBytes = 255;
    if (part.name.size() > kMaxFileNameBytes)
      return with_way_out(fail_at(ErrorCode::unsupported, t.name, std::nullopt, "the name is too long for a file"),
                          "rename it (`renames`)");
    if (!taken.insert(part.name).second) {
      return with_way_out(fail_at(ErrorCode::unsupported, t.name, std::nullopt, "two tensors would get this name"),
                          "rename one of them (`renames`)");
    }
    plan.parts.push_back(std::move(part));
  }
  WritePart structure;
  structure.name = kStructureMember;
  CKPT_TRY(structure.head, encode_structure(checkpoint, true, true, true));
  plan.parts.push_back(std::move(structure));
  return plan;
}

}  // namespace netcl::ckpt
