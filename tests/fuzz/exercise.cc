// What every fuzz target does with its input, once a reader has been chosen.
#include "exercise.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace netcl::ckpt::fuzz {
namespace {

constexpr std::size_t kMaxRead = 64;  // tensors and members
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 20;

void read_tensor(const Tensor& tensor) {
  if (tensor.shape.size() != tensor.strides.size()) broken("a stride for each dimension");
  if (tensor.dtype.name().empty() || tensor.dtype.descr().empty()) broken("a name for each dtype");
  if (!tensor.storage) return;
  auto reader = TensorReader::open(tensor);
  if (!reader) {
    // Opening a contiguous tensor reads nothing: where its storage is not lost, only a view beyond it can fail.
    if (tensor.is_c_contiguous() && tensor.storage->open()) broken("readers let through views of what is there only");
    return check_error(reader.error());
  }
  const std::uint64_t item = std::max<std::uint64_t>(tensor.dtype.item_bytes, 1);
  std::vector<std::byte> bytes(
      std::min(reader->remaining_bytes(), std::max(kMaxBytes / item, std::uint64_t{1}) * item));
  if (auto done = reader->read(bytes); !done) check_error(done.error());
}

void read_member(const Member& member) {
  if (!member.storage) broken("a storage for each member");
  auto reader = member.storage->open();
  if (!reader) return check_error(reader.error());
  std::vector<std::byte> bytes(std::min(member.storage->size_bytes(), kMaxBytes));
  if (auto done = (*reader)->read(0, bytes); !done) check_error(done.error());
}

}  // namespace

void broken(const std::string& promise) {
  std::fprintf(stderr, "broken promise: %s\n", promise.c_str());
  std::abort();
}

void check_error(const Error& e) {
  if (e.code == ErrorCode::internal) broken("an error of this library itself: " + e.to_string());
  if (e.message.empty()) broken("an error without a message");
}

void exercise(const std::uint8_t* data, std::size_t size, const Read& read) {
  const auto bytes = std::as_bytes(std::span(data, size));
  Checkpoint checkpoint;
  checkpoint.root = checkpoint.attributes = checkpoint.tree.add_dict({});
  checkpoint.file_bytes = size;
  OpenOptions options;
  options.thorough = true;
  if (auto done = read(memory_source({bytes.begin(), bytes.end()}, "fuzz"), options, checkpoint); !done) {
    return check_error(done.error());
  }
  for (const Problem& p : checkpoint.problems) {
    if (p.message.empty()) broken("a message for each problem");
  }
  const auto tensors = list_tensors(checkpoint);
  if (!tensors) {
    if (tensors.error().code != ErrorCode::limit_exceeded) broken("listing fails by limits only");
    return;
  }
  for (const NamedTensor& t : std::span(*tensors).first(std::min(tensors->size(), kMaxRead))) {
    read_tensor(checkpoint.tree.tensor(t.value));
  }
  for (const Member& m : std::span(checkpoint.members).first(std::min(checkpoint.members.size(), kMaxRead))) {
    read_member(m);
  }
}

}  // namespace netcl::ckpt::fuzz
