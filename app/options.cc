// Options that subcommands share.
#include "options.h"

#include <errno.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>

#include "commands.h"
#include "log.h"
#include "validators.h"

namespace netcl::ckpt::app {

void CommonOptions::add_to(CLI::App& command) {
  command.add_flag("--json", json, "Write JSON");
  command.add_option("--color", color, "Colour: auto, always or never")
      ->transform(one_of({"auto", "always", "never"}))
      ->type_name("WHEN");
  auto* q = command.add_flag("-q,--quiet", quiet, "Errors only on standard error");
  command.add_flag("-v,--verbose", verbose, "Also notes, and all of the metadata")->excludes(q);
}

void CommonOptions::apply() const {
  if (quiet) set_verbosity(Verbosity::quiet);
  if (verbose) set_verbosity(Verbosity::verbose);
}

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
// What the program itself needs, and what each thread does: its stack, and blocks on their way through it.
constexpr std::uint64_t kBaseMemory = 32 * kMiB, kThreadMemory = 16 * kMiB;

/// "512M", "2G", or bytes; nothing where it is no size.
std::optional<std::uint64_t> parse_size(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failed] = std::from_chars(text.data(), end, value);
  const std::string_view units = "KMGT";
  if (failed != std::errc() || end - at > 1) return std::nullopt;
  const auto power = at == end ? 0 : units.find(*at) + 1;
  if (at != end && units.find(*at) == units.npos) return std::nullopt;
  const unsigned shift = 10 * static_cast<unsigned>(power);
  return value <= (std::numeric_limits<std::uint64_t>::max() >> shift) ? std::optional(value << shift) : std::nullopt;
}

}  // namespace

void add_resource_options(CLI::App& command, unsigned& jobs) {
  command.add_option("-j,--jobs", jobs, "Threads; 0 is one a core")
      ->type_name("N")
      ->envname("NETCL_CKPT_JOBS")
      ->check(whole_number());
  const auto limit = [&jobs](const std::string& text) {
    const auto size = parse_size(text);
    if (!size || *size < kBaseMemory + kThreadMemory)
      throw CLI::ValidationError("--max-memory", "takes a size of at least 48M, as 512M or 2G, not '" + text + "'");
    const struct rlimit data = {*size, *size};
    ::setrlimit(RLIMIT_DATA, &data);
    const auto threads = static_cast<unsigned>(std::min<std::uint64_t>((*size - kBaseMemory) / kThreadMemory, 1000));
    jobs = std::min(jobs == 0 ? std::max(std::thread::hardware_concurrency(), 1U) : jobs, threads);
  };
  command.add_option_function<std::string>("--max-memory", limit, "End with an error rather than use more than SIZE")
      ->type_name("SIZE")
      ->envname("NETCL_CKPT_MAX_MEMORY");
}

bool parse_renames(const char* option, const std::vector<std::string>& texts,
                   std::vector<std::pair<std::string, std::string>>& renames) {
  for (const std::string& text : texts) {
    std::string left;
    std::size_t at = 0;
    for (; at < text.size() && text[at] != '='; ++at) {
      if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '=') ++at;
      left += text[at];
    }
    if (at == text.size() || left.empty()) {
      log_error(fmt::format("{} takes OLD=NEW, not '{}'", option, text));
      return false;
    }
    renames.emplace_back(std::move(left), text.substr(at + 1));
  }
  return true;
}

int finish(Output& out, int code) {
  if (out.flush()) return code;
  log_error(std::string("cannot write to standard output: ") + std::strerror(errno));
  return kFailed;
}

}  // namespace netcl::ckpt::app
