// What safetensors takes: its own format and no other.
// https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs
#include <algorithm>

#include "base/endian.h"
#include "base/problem.h"
#include "base/try.h"
#include "container/safetensors_header.h"
#include "format/loader_rules.h"
#include "format/readers.h"

namespace netcl::ckpt {
namespace {

using Version = Loader::Version;

/// The version that a dtype came with.
Version first_with(std::string_view dtype) {
  if (dtype.starts_with("F4") || dtype.starts_with("F6") || dtype == "F8_E8M0") return {0, 6};
  if (dtype == "C64") return {0, 7};
  if (dtype.ends_with("FNUZ")) return {0, 8};
  return dtype.starts_with("F8") ? Version{0, 3} : Version{};
}

}  // namespace

LoadAnswer safetensors_refusal(const SourcePtr& source, Version version, const Limits& limits) {
  constexpr std::uint64_t kLengthBytes = 8, kMaxHeaderBytes = 100'000'000;
  const auto refuse = [](std::string what) {
    return LoadRefusal{{}, {}, "Error while deserializing header: " + std::move(what)};
  };
  std::string head(std::min<std::uint64_t>(source->size_bytes(), kLengthBytes), '\0');
  CKPT_CHECK(source->read_at(0, std::as_writable_bytes(std::span(head))));
  if (head.size() < kLengthBytes) return refuse("header too small");
  const auto length = load_le<std::uint64_t>(head.data());
  if (length > kMaxHeaderBytes) return refuse("header too large");
  if (length > source->size_bytes() - kLengthBytes) return refuse("invalid header length");

  Checkpoint scratch;
  OpenOptions options;
  options.limits = limits;
  scratch.attributes = scratch.tree.add_dict({});
  auto read = read_safetensors(source, options, scratch);
  if (!read) {
    if (could_not_look(read.error().code)) return tl::make_unexpected(std::move(read.error()));
    LoadRefusal refusal = refuse(read.error().message);
    refusal.where = read.error().member;
    refusal.offset_bytes = read.error().offset_bytes;
    return refusal;
  }
  for (const Problem& p : scratch.problems) {
    if (p.severity >= Severity::error) return LoadRefusal{p.where, p.offset_bytes, p.message};
  }
  CKPT_TRY(const SafetensorsHeader header, parse_safetensors_header(*source, limits));
  for (const SafetensorsEntry& e : header.tensors) {
    const Version since = first_with(e.dtype);
    if (version < since)
      return LoadRefusal{
          e.name, {}, fmt::format("it has no dtype {}, which came with {}.{}", e.dtype, since.major, since.minor)};
  }
  return std::nullopt;
}

}  // namespace netcl::ckpt
