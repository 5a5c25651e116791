// datetime's states are bytes: year (2, big-endian), month, day, hour, minute, second, microsecond (3).
// https://github.com/python/cpython/blob/main/Lib/_pydatetime.py, _getstate
#include "format/pickle_python.h"

#include <fmt/format.h>
#include <array>

#include "base/text.h"
#include "base/try.h"

namespace netcl::ckpt {
namespace {

using Kind = PickleKind;

tl::unexpected<Error> unknown_call() {
  return fail(ErrorCode::unsupported, "a type of Python's library is called in a way that is not known");
}

Result<std::vector<std::int64_t>> integers(const PickleView& view, const std::vector<PickleId>& ids) {
  std::vector<std::int64_t> out;
  for (const PickleId id : ids) {
    if (!view.is_integer(id)) return unknown_call();
    out.push_back(view.graph.integer(id));
  }
  return out;
}

Result<std::string> small_bytes(const PickleView& view, PickleId id, std::uint64_t size_bytes) {
  CKPT_TRY(const PickleView::Bytes bytes, view.bytes(id));
  if (bytes.size_bytes != size_bytes) return unknown_call();
  std::string out(size_bytes, '\0');
  CKPT_TRY(auto reader, bytes.storage->open());
  CKPT_CHECK(reader->read(bytes.offset_bytes, std::as_writable_bytes(std::span(out))));
  return out;
}

std::string clock_text(const std::uint8_t* p) {
  const unsigned micro = static_cast<unsigned>(p[3]) << 16 | static_cast<unsigned>(p[4]) << 8 | p[5];
  std::string out = fmt::format("{:02}:{:02}:{:02}", p[0], p[1], p[2]);
  return micro == 0 ? out : out + fmt::format(".{:06}", micro);
}

std::string date_text(const std::uint8_t* p) {
  return fmt::format("{:04}-{:02}-{:02}", p[0] << 8 | p[1], p[2] & 0x7f, p[3]);
}

Result<std::string> timedelta_text(const PickleView& view, const std::vector<PickleId>& given) {
  CKPT_TRY(auto parts, integers(view, given));
  parts.resize(3);
  const std::int64_t days = parts[0], seconds = parts[1], micro = parts[2];
  if (seconds < 0 || seconds >= 86'400 || micro < 0 || micro >= 1'000'000) return unknown_call();
  std::string out = days == 0 ? "" : fmt::format("{} day{}, ", days, days == 1 || days == -1 ? "" : "s");
  out += fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return micro == 0 ? out : out + fmt::format(".{:06}", micro);
}

/// "UTC", or "+02:00" of timezone(timedelta(…)); "" of a zone that is not known here.
std::string zone_text(const PickleView& view, PickleId zone) {
  if (view.called(zone) != Meaning::timezone) return "";
  const auto given = view.args(zone);
  if (given.empty() || view.called(given[0]) != Meaning::timedelta) return "";
  auto parts = integers(view, view.args(given[0]));
  if (!parts || parts->size() < 2 || (*parts)[0] < -1 || (*parts)[0] > 1) return "";
  const std::int64_t minutes = ((*parts)[0] * 86'400 + (*parts)[1]) / 60;
  const std::int64_t size = minutes < 0 ? -minutes : minutes;
  return fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', size / 60, size % 60);
}

}  // namespace

Result<std::string> python_text(const PickleView& view, PickleId call, Meaning meaning) {
  const auto given = view.args(call);
  switch (meaning) {
    case Meaning::date:
    case Meaning::datetime:
    case Meaning::time: {
      if (given.empty()) return unknown_call();
      const std::uint64_t size = meaning == Meaning::date ? 4 : meaning == Meaning::time ? 6 : 10;
      CKPT_TRY(const std::string state, small_bytes(view, given[0], size));
      const auto* p = reinterpret_cast<const std::uint8_t*>(state.data());
      if (meaning == Meaning::date) return date_text(p);
      const std::string zone = given.size() > 1 ? zone_text(view, given[1]) : "";
      if (meaning == Meaning::time) return clock_text(p) + zone;
      return date_text(p) + " " + clock_text(p + 4) + zone;
    }
    case Meaning::timedelta: return timedelta_text(view, given);
    case Meaning::timezone: {
      const std::string zone = zone_text(view, call);
      if (zone.empty()) return unknown_call();
      return "UTC" + (zone == "+00:00" ? "" : zone);
    }
    case Meaning::path: {
      std::string out;
      const bool windows = view.callable(call)->name.find("Windows") != std::string::npos;
      for (const PickleId part : given) {
        if (view.kind(part) != Kind::string) return unknown_call();
        const bool joined = out.empty() || out.ends_with('/') || out.ends_with('\\');
        if (!joined) out += windows ? '\\' : '/';
        out += view.text(part);
      }
      return out.empty() ? "." : out;
    }
    case Meaning::written: {
      // Decimal('1.25'); Fraction('3/8') or Fraction(3, 8)
      if (given.size() > (view.callable(call)->name == "Fraction" ? 2U : 1U)) return unknown_call();
      std::string out;
      for (const PickleId part : given) {
        if (!out.empty()) out += '/';
        if ((view.kind(part) == Kind::string && given.size() == 1) || view.kind(part) == Kind::big_integer) {
          out += view.text(part);
        } else if (view.is_integer(part)) {
          out += fmt::format("{}", view.graph.integer(part));
        } else {
          return unknown_call();
        }
      }
      return out.empty() ? "0" : out;
    }
    case Meaning::uuid: {
      const PickleId value = view.find(view.attributes(view.graph.call(call).state), "int");
      if (value == kNoPickle) return unknown_call();
      std::string digits;
      if (view.size(value)) {
        digits = fmt::format("{}", *view.size(value));
      } else if (view.kind(value) == Kind::big_integer && view.text(value).size() <= 39) {
        digits = view.text(value);
      }
      std::array<std::uint32_t, 4> words{};  // 128 bits, the lowest first
      for (const char c : digits) {
        if (c < '0' || c > '9') return unknown_call();
        std::uint64_t carry = static_cast<std::uint64_t>(c - '0');
        for (std::uint32_t& w : words) {
          carry += std::uint64_t{w} * 10;
          w = static_cast<std::uint32_t>(carry);
          carry >>= 32;
        }
      }
      if (digits.empty()) return unknown_call();
      return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", words[3], words[2] >> 16, words[2] & 0xffff,
                         words[1] >> 16, words[1] & 0xffff, words[0]);
    }
    default: return unknown_call();
  }
}

}  // namespace netcl::ckpt
