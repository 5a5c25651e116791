// Whether torch, NumPy, safetensors, transformers and netcl would take a file. format/loader_rules.h knows what each
// asks of the bytes; here is what is made of several of these, and of what verify has found already.
#include "report/loaders.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/problem.h"
#include "base/text.h"
#include "base/try.h"
#include "format/loader_rules.h"

namespace netcl::ckpt {
namespace {

using Program = Loader::Program;

/// The programs, and the newest version of each that is known here.
constexpr std::array kNewest = {
    Loader{Program::torch, {2, 11}},        Loader{Program::numpy, {2, 5}}, Loader{Program::safetensors, {0, 8}},
    Loader{Program::transformers, {5, 17}}, Loader{Program::netcl, {0, 4}},
};

constexpr Loader::Version newest(Program program) {
  return std::find_if(kNewest.begin(), kNewest.end(), [=](const Loader& l) { return l.program == program; })->version;
}

LoadAnswer refuse(std::string message) { return LoadRefusal{{}, {}, std::move(message)}; }

/// NumPy, which pulls every array through its CRC.
LoadAnswer judge_numpy(const LoadSubject& subject, Loader::Version version, const Limits& limits) {
  CKPT_TRY(auto refusal, numpy_refusal(subject.source, version, limits));
  if (refusal) return refusal;
  const auto is_pickle = [](Format f) { return f == Format::pickle || f == Format::torch_legacy; };
  if (subject.checkpoint == nullptr) return refuse("Failed to interpret the file as a pickle");  // 1.15 and older try
  const Format format = subject.checkpoint->format;
  if (format == Format::safetensors || format == Format::flax)
    return refuse("Failed to interpret the file as a pickle");
  if (is_pickle(format)) return std::nullopt;
  for (const Problem& p : subject.problems) {
    switch (p.code) {
      case ProblemCode::checksum_mismatch:
        return LoadRefusal{p.where, p.offset_bytes, fmt::format("BadZipFile: Bad CRC-32 for file '{}'", p.where)};
      case ProblemCode::corrupt:
      case ProblemCode::truncated:
        if (p.severity >= Severity::error) return LoadRefusal{p.where, p.offset_bytes, "BadZipFile: " + p.message};
        break;
      default: break;
    }
  }
  return std::nullopt;
}

/// torch, and what the tensors ask of their storages.
LoadAnswer judge_torch(const LoadSubject& subject, Loader::Version version, bool mapped, const Limits& limits) {
  CKPT_TRY(auto refusal, torch_refusal(subject.source, version, mapped, limits));
  if (refusal) return refusal;
  for (const Problem& p : subject.problems) {
    const bool tensor = p.code == ProblemCode::unreadable_tensor && p.severity >= Severity::error;
    if (tensor) return LoadRefusal{p.where, p.offset_bytes, p.message};
  }
  return std::nullopt;
}

bool has_tensors_at_the_top(const Checkpoint& checkpoint) {
  const Tree& tree = checkpoint.tree;
  if (tree.kind(checkpoint.root) != ValueKind::dict) return false;
  const auto entries = tree.entries(checkpoint.root);
  return std::any_of(entries.begin(), entries.end(),
                     [&](const Tree::Entry& e) { return tree.kind(e.value) == ValueKind::tensor; });
}

/// transformers, which goes by the file's name, and so by its content where there is none.
LoadAnswer judge_transformers(const LoadSubject& subject, const Limits& limits) {
  const Checkpoint* const checkpoint = subject.checkpoint;
  const bool safetensors = subject.path.has_extension()
                               ? subject.path.extension() == ".safetensors"
                               : checkpoint != nullptr && checkpoint->format == Format::safetensors;
  CKPT_TRY(auto refusal, safetensors ? safetensors_refusal(subject.source, newest(Program::safetensors), limits)
                                     : judge_torch(subject, newest(Program::torch), true, limits));
  if (refusal || checkpoint == nullptr) return refusal;
  if (safetensors) {
    // Only what is there has to be right: safe_open() gives None for a header without __metadata__.
    const Tree& tree = checkpoint->tree;
    const auto entries = tree.entries(checkpoint->attributes);
    const auto* const format = tree.find(checkpoint->attributes, "format");
    constexpr std::array<std::string_view, 4> kFormats = {"pt", "tf", "flax", "mlx"};
    const bool known =
        format != nullptr && std::find(kFormats.begin(), kFormats.end(), tree.text(format->value)) != kFormats.end();
    if (!entries.empty() && !known)
      return LoadRefusal{"__metadata__",
                         {},
                         "The safetensors archive does not contain the valid metadata: "
                         "\"format\" is none of pt, tf, flax and mlx"};
  }
  if (!has_tensors_at_the_top(*checkpoint)) return refuse("no tensors at the top: a state dict maps names to tensors");
  return std::nullopt;
}

LoadAnswer judge_netcl(const LoadSubject& subject, const Limits& limits) {
  if (subject.checkpoint == nullptr) return refuse("it cannot be read");
  for (const Problem& p : subject.problems) {
    switch (p.code) {
      case ProblemCode::torn_pair:
      case ProblemCode::bad_architecture: return LoadRefusal{p.where, p.offset_bytes, p.message};
      default: break;
    }
  }
  const Format format = subject.checkpoint->format;
  switch (format) {
    case Format::npz:
    case Format::netcl: return judge_numpy(subject, newest(Program::numpy), limits);
    case Format::pickle: return std::nullopt;
    case Format::torch: return judge_torch(subject, {1, 13}, false, limits);
    default: return refuse(fmt::format("it loads .npz, .netcl, pickles and torch's zip, and no {}", to_string(format)));
  }
}

LoadAnswer judge(const Loader& loader, const LoadSubject& subject, const Limits& limits) {
  if (subject.source == nullptr) return refuse("it takes a file, and this is a folder");
  switch (loader.program) {
    case Program::torch: return judge_torch(subject, loader.version, false, limits);
    case Program::numpy: return judge_numpy(subject, loader.version, limits);
    case Program::safetensors: return safetensors_refusal(subject.source, loader.version, limits);
    case Program::transformers: return judge_transformers(subject, limits);
    case Program::netcl: return judge_netcl(subject, limits);
  }
  return std::nullopt;
}

Result<std::uint32_t> parse_number(std::string_view text, std::string_view of) {
  std::uint32_t number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc() || end != text.data() + text.size())
    return fail(ErrorCode::invalid_argument, "'{}' names no version: numpy=1.26 does", of);
  return number;
}

Result<Loader> parse_loader(std::string_view text) {
  const std::string_view name = text.substr(0, text.find('='));
  const auto known =
      std::find_if(kNewest.begin(), kNewest.end(), [&](const Loader& l) { return name == to_string(l.program); });
  if (known == kNewest.end()) {
    std::vector<std::string_view> names;
    for (const Loader& l : kNewest) names.push_back(to_string(l.program));
    return fail(ErrorCode::invalid_argument, "'{}' is no loader that is known here: {} are", name,
                fmt::join(names, ", "));
  }
  Loader loader = *known;
  if (name.size() == text.size()) return loader;
  std::string_view version = text.substr(name.size() + 1);
  const auto dot = version.find('.');
  CKPT_TRY(loader.version.major, parse_number(version.substr(0, dot), text));
  loader.version.minor = 0;
  if (dot == version.npos) return loader;
  version.remove_prefix(dot + 1);
  CKPT_TRY(loader.version.minor, parse_number(version.substr(0, version.find('.')), text));  // 2.6.1 is 2.6
  return loader;
}

}  // namespace

const char* to_string(Loader::Program program) {
  switch (program) {
    case Program::torch: return "torch";
    case Program::numpy: return "numpy";
    case Program::safetensors: return "safetensors";
    case Program::transformers: return "transformers";
    case Program::netcl: return "netcl";
  }
  return "?";
}

std::string to_string(const Loader& loader) {
  return fmt::format("{} {}.{}", to_string(loader.program), loader.version.major, loader.version.minor);
}

Result<std::vector<Loader>> parse_loaders(std::string_view text) {
  return guarded([&]() -> Result<std::vector<Loader>> {
    std::vector<Loader> loaders;
    while (true) {
      const auto comma = std::min(text.find(','), text.size());
      CKPT_TRY(const Loader loader, parse_loader(text.substr(0, comma)));
      if (std::find(loaders.begin(), loaders.end(), loader) == loaders.end()) loaders.push_back(loader);
      if (comma == text.size()) return loaders;
      text.remove_prefix(comma + 1);
    }
  });
}

Result<void> judge_loaders(std::span<const Loader> loaders, const LoadSubject& subject, const Limits& limits,
                           Problems& out) {
  for (const Loader& loader : loaders) {
    CKPT_TRY(auto refusal, judge(loader, subject, limits));
    if (!refusal) continue;
    out.push_back(make_problem(ProblemCode::not_for_loader, to_valid_utf8(refusal->where), refusal->offset_bytes,
                               to_string(loader) + ": " + to_valid_utf8(refusal->message)));
  }
  return {};
}

}  // namespace netcl::ckpt
