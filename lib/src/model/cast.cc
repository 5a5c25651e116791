// Conversions between the four float types, as a storage that converts while it is read: writers need
// not know that a tensor was cast.
//
// Every step is exact or rounds once. float64 to a 16-bit type goes through float32 rounded to odd,
// which keeps the bit that decides a later rounding: Boldo and Melquiond, "When double rounding is odd".
// The loops are plain and branch-free so that the compiler vectorises them; F16C is not assumed.
#include "model/cast.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <map>
#include <mutex>

#include "base/endian.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

float from_float16(std::uint16_t h) {
  const std::uint32_t sign = (h & 0x8000U) << 16;
  const std::uint32_t magnitude = h & 0x7fffU;
  // Shifted into float32's place the exponent is 112 too small; the multiplication fixes that, for
  // subnormals too. Inf and NaN need the exponent of all ones instead.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  const std::uint32_t special = 0x7f800000U | (magnitude << 13);
  const std::uint32_t bits = magnitude >= 0x7c00U ? special : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

std::uint16_t to_float16(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  // Normal: drop 13 bits with ties to even. Subnormal: adding 0.5 aligns the mantissa to 2**-24 and
  // lets the FPU round.
  const std::uint32_t normal = (magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
  const std::uint32_t nan = 0x7e00U | ((magnitude >> 13) & 0x1ffU);
  std::uint32_t h = magnitude < 0x38800000U ? subnormal : normal;
  h = magnitude >= 0x477ff000U ? 0x7c00U : h;  // 65520 and above round to Inf
  h = magnitude > 0x7f800000U ? nan : h;
  return static_cast<std::uint16_t>(h | sign);
}

float from_bfloat16(std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); }

std::uint16_t to_bfloat16(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t nan = (bits >> 16) | 0x40U;
  return static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded);
}

float round_to_odd(double d) {
  const float f = static_cast<float>(d);
  if (static_cast<double>(f) == d || std::isnan(d)) return f;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  if (std::fabs(static_cast<double>(f)) > std::fabs(d)) --bits;  // toward zero, also from Inf
  return std::bit_cast<float>(bits | 1U);
}

template <ScalarType kType>
struct Element;
template <>
struct Element<ScalarType::float16> {
  using Word = std::uint16_t;
  static float load(Word w) { return from_float16(w); }
  static Word store(float f) { return to_float16(f); }
  static Word store(double d) { return to_float16(round_to_odd(d)); }
  static bool is_inf(Word w) { return (w & 0x7fff) == 0x7c00; }
};
template <>
struct Element<ScalarType::bfloat16> {
  using Word = std::uint16_t;
  static float load(Word w) { return from_bfloat16(w); }
  static Word store(float f) { return to_bfloat16(f); }
  static Word store(double d) { return to_bfloat16(round_to_odd(d)); }
  static bool is_inf(Word w) { return (w & 0x7fff) == 0x7f80; }
};
template <>
struct Element<ScalarType::float32> {
  using Word = float;
  static float load(Word w) { return w; }
  static Word store(double d) { return static_cast<float>(d); }
  static bool is_inf(Word w) { return std::isinf(w); }
};
template <>
struct Element<ScalarType::float64> {
  using Word = double;
  static double load(Word w) { return w; }
  static Word store(double d) { return d; }
  static bool is_inf(Word w) { return std::isinf(w); }
};

template <ScalarType kFrom, ScalarType kTo>
std::uint64_t convert(const std::byte* from, std::byte* to, std::size_t count) {
  using In = Element<kFrom>;
  using Out = Element<kTo>;
  std::uint64_t overflows = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto in = load_le<typename In::Word>(from + i * sizeof(typename In::Word));
    const auto out = Out::store(In::load(in));
    store_le(to + i * sizeof(out), out);
    overflows += Out::is_inf(out) && !In::is_inf(in);
  }
  return overflows;
}

using Convert = std::uint64_t (*)(const std::byte*, std::byte*, std::size_t);

template <ScalarType kFrom>
Convert convert_to(ScalarType to) {
  switch (to) {
    case ScalarType::float16: return convert<kFrom, ScalarType::float16>;
    case ScalarType::bfloat16: return convert<kFrom, ScalarType::bfloat16>;
    case ScalarType::float32: return convert<kFrom, ScalarType::float32>;
    default: return convert<kFrom, ScalarType::float64>;
  }
}

Convert find_convert(ScalarType from, ScalarType to) {
  switch (from) {
    case ScalarType::float16: return convert_to<ScalarType::float16>(to);
    case ScalarType::bfloat16: return convert_to<ScalarType::bfloat16>(to);
    case ScalarType::float32: return convert_to<ScalarType::float32>(to);
    default: return convert_to<ScalarType::float64>(to);
  }
}

/// The stretches of elements whose overflows are in the count: a writer reads some elements more than once.
class CountedOnce {
 public:
  /// Calls count(from, to) for each stretch of [begin, end) that is not in it yet. Threads: any.
  template <class Count>
  void add(std::uint64_t begin, std::uint64_t end, Count count) {
    const std::lock_guard lock(mutex_);
    auto it = stretches_.upper_bound(begin);
    if (it != stretches_.begin() && std::prev(it)->second >= begin) --it;
    std::uint64_t at = begin, first = begin, last = end;
    while (it != stretches_.end() && it->first <= end) {
      if (at < it->first) count(at, it->first);
      at = std::max(at, it->second);
      first = std::min(first, it->first);
      last = std::max(last, it->second);
      it = stretches_.erase(it);
    }
    if (at < end) count(at, end);
    stretches_.emplace(first, last);
  }

 private:
  std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> stretches_;  // from begin to end
};

class CastStorage final : public Storage {
 public:
  CastStorage(Tensor tensor, DType target, std::shared_ptr<OverflowCount> overflows)
      : tensor_(std::move(tensor)), target_(std::move(target)), overflows_(std::move(overflows)) {
    form_.stored_bytes = size_bytes();
  }
  std::uint64_t size_bytes() const override { return tensor_.num_elements() * target_.item_bytes; }
  bool seekable() const override { return tensor_.storage->seekable() && tensor_.is_c_contiguous(); }
  const StoredForm& stored_form() const override { return form_; }  // no source: lies in no file
  Result<std::unique_ptr<StorageReader>> open() const override;

 private:
  class Reader;
  Tensor tensor_;
  DType target_;
  std::shared_ptr<OverflowCount> overflows_;
  std::shared_ptr<CountedOnce> counted_ = std::make_shared<CountedOnce>();
  StoredForm form_;
};

class CastStorage::Reader final : public StorageReader {
 public:
  Reader(const CastStorage& storage, TensorReader reader)
      : tensor_(storage.tensor_),
        target_bytes_(storage.target_.item_bytes),
        convert_(find_convert(storage.tensor_.dtype.type, storage.target_.type)),
        overflows_(storage.overflows_),
        counted_(storage.counted_),
        reader_(std::move(reader)) {}

  Result<void> read(std::uint64_t offset_bytes, std::span<std::byte> dst) override {
    const std::uint64_t item = tensor_.dtype.item_bytes;
    if (offset_bytes % target_bytes_ != 0 || dst.size() % target_bytes_ != 0) {
      return fail(ErrorCode::internal, "a cast is read in whole elements");
    }
    if (offset_bytes != next_bytes_) CKPT_CHECK(seek(offset_bytes / target_bytes_));
    constexpr std::size_t kElements = 16384;
    scratch_.resize(kElements * item);
    while (!dst.empty()) {
      const std::size_t n = std::min(kElements, dst.size() / target_bytes_);
      CKPT_CHECK(reader_.read(std::span(scratch_).first(n * item)));
      if (convert_(scratch_.data(), dst.data(), n) > 0) {
        const std::uint64_t first = next_bytes_ / target_bytes_;
        counted_->add(first, first + n, [&](std::uint64_t from, std::uint64_t to) {
          *overflows_ +=
              convert_(scratch_.data() + (from - first) * item, dst.data() + (from - first) * target_bytes_, to - from);
        });
      }
      dst = dst.subspan(n * target_bytes_);
      next_bytes_ += n * target_bytes_;
    }
    return {};
  }

 private:
  /// A fresh reader over the elements from `element` on.
  Result<void> seek(std::uint64_t element) {
    Tensor rest = tensor_;
    if (tensor_.storage->seekable() && tensor_.is_c_contiguous()) {
      rest.offset_bytes += element * tensor_.dtype.item_bytes;
      rest.shape = {tensor_.num_elements() - element};
      rest.strides = {1};
      CKPT_TRY(reader_, TensorReader::open(rest));
    } else {
      CKPT_TRY(reader_, TensorReader::open(rest));
      for (std::uint64_t left = element * tensor_.dtype.item_bytes; left > 0;) {
        scratch_.resize(std::size_t{1} << 20);
        const std::uint64_t whole = scratch_.size() / tensor_.dtype.item_bytes * tensor_.dtype.item_bytes;
        const std::uint64_t n = std::min(left, whole);
        CKPT_CHECK(reader_.read(std::span(scratch_).first(n)));
        left -= n;
      }
    }
    next_bytes_ = element * target_bytes_;
    return {};
  }

  Tensor tensor_;
  std::uint64_t target_bytes_;
  Convert convert_;
  std::shared_ptr<OverflowCount> overflows_;
  std::shared_ptr<CountedOnce> counted_;
  TensorReader reader_;
  std::vector<std::byte> scratch_;
  std::uint64_t next_bytes_ = 0;
};

Result<std::unique_ptr<StorageReader>> CastStorage::open() const {
  CKPT_TRY(auto reader, TensorReader::open(tensor_));
  return std::unique_ptr<StorageReader>(std::make_unique<Reader>(*this, std::move(reader)));
}

}  // namespace

bool is_castable(ScalarType type) {
  return type == ScalarType::float16 || type == ScalarType::bfloat16 || type == ScalarType::float32 ||
         type == ScalarType::float64;
}

Tensor cast_tensor(Tensor tensor, ScalarType type, std::shared_ptr<OverflowCount> overflows) {
  Tensor out;
  out.dtype = make_dtype(type);
  out.shape = tensor.shape;
  out.strides = c_strides(tensor.shape);
  out.storage = std::make_shared<CastStorage>(std::move(tensor), out.dtype, std::move(overflows));
  return out;
}

}  // namespace netcl::ckpt
