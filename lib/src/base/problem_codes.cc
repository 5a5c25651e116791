// The one table of problem codes. The page netcl-ckpt-verify(1) has its list from here: scripts/check_man --update.
#include <array>

#include "base/problem.h"

namespace netcl::ckpt {
namespace {

constexpr const char* kNone = "";  // these end the command instead, so the page has none of them
constexpr const char* kAny = "Any format";
constexpr const char* kZip = "Zip: npz, .netcl, torch";
constexpr const char* kArrays = "Arrays: npy, npz, .netcl";
constexpr const char* kPickles = "Pickles, torch and Flax files";
constexpr const char* kPair = "The pair of .npz and .json";
constexpr const char* kExpected = "With --like, --expect and --finite";
constexpr const char* kLoaders = "With --for";
constexpr const char* kDevice = "With --device";

constexpr auto kKinds = std::to_array<ProblemKind>({
    {ProblemCode::truncated, "truncated", Severity::error, kAny,
     "the file ends before the bytes that it promises; a warning for a tar archive that lacks its end mark."},
    {ProblemCode::corrupt, "corrupt", Severity::error, kAny, "bytes contradict the rules of their format."},
    {ProblemCode::checksum_mismatch, "checksum-mismatch", Severity::error, kAny,
     "data does not have the recorded CRC-32."},
    {ProblemCode::limit_exceeded, "limit-exceeded", Severity::error, kAny,
     "the file demands more than any real checkpoint does."},
    {ProblemCode::unsupported, "unsupported", Severity::error, kAny, "a part is of a kind that is not read here."},
    {ProblemCode::io, "io", Severity::error, kNone, ""},
    {ProblemCode::unsafe, "unsafe", Severity::error, kNone, ""},
    {ProblemCode::invalid_argument, "invalid-argument", Severity::error, kNone, ""},
    {ProblemCode::out_of_memory, "out-of-memory", Severity::error, kNone, ""},
    {ProblemCode::device, "device", Severity::error, kNone, ""},
    {ProblemCode::cancelled, "cancelled", Severity::error, kNone, ""},
    {ProblemCode::internal, "internal", Severity::error, kNone, ""},

    {ProblemCode::extension_mismatch, "extension-mismatch", Severity::note, kAny,
     "the file's name promises another format."},
    {ProblemCode::trailing_bytes, "trailing-bytes", Severity::warning, kAny,
     "bytes follow the end of the format; an error in a zip and in Flax's msgpack."},

    {ProblemCode::zip_end, "zip-end", Severity::error, kZip,
     "a second end record; programs that take that one list other members."},
    {ProblemCode::zip_count, "zip-count", Severity::error, kZip,
     "the directory holds another number of members than the end record says."},
    {ProblemCode::zip_local_differs, "zip-local-differs", Severity::error, kZip,
     "a member's local header contradicts the directory."},
    {ProblemCode::zip_descriptor, "zip-descriptor", Severity::error, kZip,
     "a member's data descriptor contradicts the directory."},
    {ProblemCode::zip_overlap, "zip-overlap", Severity::error, kZip, "two members claim the same bytes."},
    {ProblemCode::zip_gap, "zip-gap", Severity::warning, kZip, "bytes between members belong to none."},
    {ProblemCode::zip_mark, "zip-mark", Severity::error, kZip,
     "something is written over a zip's first two bytes, as GPT-SoVITS does."},
    {ProblemCode::zip_prefix, "zip-prefix", Severity::warning, kZip, "something stands before the archive."},
    {ProblemCode::no_arrays, "no-arrays", Severity::error, kZip,
     "an archive that is no checkpoint, and what it is instead; a warning for an .npz of no member, or of plain files "
     "alone."},
    {ProblemCode::duplicate_name, "duplicate-name", Severity::error, kZip,
     "two members have one name, of which readers see different ones."},
    {ProblemCode::absolute_name, "absolute-name", Severity::warning, kZip, "a member's name is an absolute path."},
    {ProblemCode::parent_name, "parent-name", Severity::warning, kZip, "a member's name has a \"..\" in it."},

    {ProblemCode::not_npy, "not-npy", Severity::error, kArrays, "a member called .npy is none."},
    {ProblemCode::raw_member, "raw-member", Severity::note, kArrays, "a member is no array; NumPy gives its bytes."},
    {ProblemCode::several_pickles, "several-pickles", Severity::note, kArrays,
     "several pickles one after another are listed as a list."},
    {ProblemCode::doubtful_pickle, "doubtful-pickle", Severity::warning, kArrays,
     "netcl-ckpt-repair(1) kept a pickle though its CRC-32 is wrong."},
    {ProblemCode::no_tensors, "no-tensors", Severity::error, kArrays,
     "netcl-ckpt-repair(1) found no tensor that is whole."},
    {ProblemCode::packed_elements, "packed-elements", Severity::note, kArrays,
     "the elements of a safetensors tensor are smaller than a byte; the packed bytes are listed."},
    {ProblemCode::trailing_payload, "trailing-payload", Severity::warning, kArrays,
     "bytes follow an array, which NumPy passes over."},
    {ProblemCode::bad_architecture, "bad-architecture", Severity::error, kArrays,
     "netcl's description of the model is damaged."},
    {ProblemCode::bad_structure, "bad-structure", Severity::error, kArrays,
     "what netcl-ckpt keeps of a nested state is damaged."},

    {ProblemCode::unsafe_global, "unsafe-global", Severity::unsafe, kPickles,
     "loading the file in Python may execute this. It is on a list of functions that execute something, or it is the "
     "call of what another call gave."},
    {ProblemCode::foreign_global, "foreign-global", Severity::error, kPickles,
     "the file names a class or function that is not known here, or calls a known one in a way that is not. Nothing "
     "says that it does harm, and loading the file in Python runs it. Pass --allow for those that you trust."},
    {ProblemCode::unreadable_tensor, "unreadable-tensor", Severity::error, kPickles,
     "the tensor contradicts itself or its storage; a warning if it is of a kind that is not read. It is listed, and "
     "the other tensors can be read."},
    {ProblemCode::unknown_extension, "unknown-extension", Severity::warning, kPickles,
     "a value of a msgpack file is of an extension type that Flax does not write."},
    {ProblemCode::local_shard, "local-shard", Severity::note, kPickles,
     "a distributed tensor gives the part of it that its process saved."},
    {ProblemCode::pickled_bytes, "pickled-bytes", Severity::note, kPickles,
     "the bytes of a value are a pickle, which loading the file does not run."},
    {ProblemCode::foreign_member, "foreign-member", Severity::note, kPickles,
     "a member that torch neither writes nor reads."},
    {ProblemCode::no_checksums, "no-checksums", Severity::note, kPickles,
     "a torch file that was written without checksums."},
    {ProblemCode::torch_roots, "torch-roots", Severity::error, kPickles,
     "a second data.pkl, so that programs may see different checkpoints."},
    {ProblemCode::missing_storage, "missing-storage", Severity::error, kPickles,
     "the bytes of a tensor are not in the archive, or too few of them."},
    {ProblemCode::torch_version, "torch-version", Severity::note, kPickles,
     "torch's version was lost, and netcl-ckpt-repair(1) writes it anew."},

    {ProblemCode::stale_sidecar, "stale-sidecar", Severity::warning, kPair,
     "the npz holds its metadata itself, and the .json is not a copy of it."},
    {ProblemCode::torn_pair, "torn-pair", Severity::error, kPair,
     "the sidecar is cut short or damaged. netcl 0.4.4 leaves such a pair when an optimizer's state holds arrays."},
    {ProblemCode::sidecar_mismatch, "sidecar-mismatch", Severity::error, kPair,
     "the optimizer's state was made for other arrays."},
    {ProblemCode::sidecar_unread, "sidecar-unread", Severity::warning, kPair,
     "the sidecar could not be read, or is too large."},
    {ProblemCode::foreign_sidecar, "foreign-sidecar", Severity::warning, kPair,
     "the .json beside the archive is not netcl's."},
    {ProblemCode::shared_sidecar, "shared-sidecar", Severity::note, kPair,
     "the sidecar was found under the name that netcl shortens, which other checkpoints share."},

    {ProblemCode::missing_tensor, "missing-tensor", Severity::error, kExpected, "an expected tensor is not there."},
    {ProblemCode::unexpected_tensor, "unexpected-tensor", Severity::error, kExpected, "a tensor was not expected."},
    {ProblemCode::shape_mismatch, "shape-mismatch", Severity::error, kExpected, "a tensor has another shape."},
    {ProblemCode::dtype_mismatch, "dtype-mismatch", Severity::error, kExpected, "a tensor has another dtype."},
    {ProblemCode::not_finite, "not-finite", Severity::error, kExpected, "a tensor holds NaN or an infinity."},

    {ProblemCode::not_for_loader, "not-for-loader", Severity::error, kLoaders,
     "a loader that was asked for would refuse the file, and why."},

    {ProblemCode::device_memory, "device-memory", Severity::error, kDevice,
     "the tensors together are larger than the device's memory."},
    {ProblemCode::device_allocation, "device-allocation", Severity::error, kDevice,
     "a tensor is larger than the device's largest buffer."},
    {ProblemCode::device_mismatch, "device-mismatch", Severity::error, kDevice, "a tensor came back with other bits."},
    {ProblemCode::device_dtype, "device-dtype", Severity::warning, kDevice,
     "the device's kernels lack the type of a tensor; a note if OpenCL has none for it. It is said of the first tensor "
     "of each type."},
});

constexpr bool in_order() {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (static_cast<std::size_t>(kKinds[i].code) != i) return false;
  }
  return true;
}
static_assert(in_order(), "a code's number is its row");

}  // namespace

std::span<const ProblemKind> problem_kinds() { return kKinds; }

const char* to_string(ProblemCode code) {
  const auto row = static_cast<std::size_t>(code);
  return row < kKinds.size() ? kKinds[row].word : to_string(ProblemCode::internal);
}

const char* to_string(Severity severity) {
  switch (severity) {
    case Severity::note: return "note";
    case Severity::warning: return "warning";
    case Severity::error: return "error";
    case Severity::unsafe: return "unsafe";
  }
  return "error";
}

}  // namespace netcl::ckpt
