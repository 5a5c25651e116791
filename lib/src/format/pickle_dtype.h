#pragma once

#include <unordered_map>

#include "format/pickle_view.h"
#include "netcl/ckpt/dtype.h"

namespace netcl::ckpt {

/// Reads numpy.dtype objects out of a pickle, each once. Errors: corrupt; unsupported; limit_exceeded.
class PickleDTypes {
 public:
  explicit PickleDTypes(const PickleView& view) : view_(view) {}

  Result<DType> parse(PickleId id) const;
  /// A shape: a tuple or list of sizes, or a torch.Size of one.
  Result<std::vector<std::uint64_t>> sizes(PickleId id) const;

 private:
  struct SubArray {
    DType dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t num_fields = 1;  // nested ones each time that they occur
  };
  Result<SubArray> parse_sub_array(PickleId id, std::uint32_t depth) const;
  Result<SubArray> parse_new_sub_array(PickleId id, std::uint32_t depth) const;
  Result<SubArray> parse_shaped(PickleId sub_array, std::uint32_t depth) const;
  Result<void> append_unit(PickleId metadata, std::string& code) const;
  Result<DType> parse_fields(PickleId names, PickleId fields, std::int64_t size, std::uint32_t depth,
                             std::uint64_t& num_fields) const;

  const PickleView& view_;
  mutable std::unordered_map<PickleId, SubArray> known_;
};

}  // namespace netcl::ckpt
