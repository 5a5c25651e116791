#include "write/write_file.h"

#include <fmt/format.h>
#include <zip.h>

#include <random>

#include "catch.h"
#include "codec/crc32.h"
#include "sample.h"

using namespace netcl::ckpt;

namespace {

std::vector<std::byte> pattern(std::size_t size, bool noise) {
  std::vector<std::byte> out(size);
  std::mt19937 random(static_cast<unsigned>(size));
  for (auto& b : out) b = static_cast<std::byte>(noise ? random() : random() % 2);
  return out;
}

WritePart part(std::string name, std::string head, std::span<const std::byte> payload, bool deflate) {
  WritePart p;
  p.name = std::move(name);
  p.head = std::move(head);
  p.payload = tensor_of(std::vector<std::byte>(payload.begin(), payload.end()), ScalarType::uint8);
  p.deflate = deflate;
  return p;
}

std::filesystem::path written(const TemporaryFolder& folder, const WritePlan& plan, const Run& control) {
  const auto path = folder.path / "out";
  auto file = OutputFile::create(path, true);
  REQUIRE(file);
  const auto size = write_file(plan, *file, control);
  INFO((size ? std::string() : size.error().message));
  REQUIRE(size);
  REQUIRE(file->commit(*size));
  CHECK(std::filesystem::file_size(path) == *size);
  return path;
}

/// The archive's members as libzip reads them, strictly: it checks every CRC.
std::vector<std::pair<std::string, std::string>> read_with_libzip(const std::filesystem::path& path) {
  int error = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &error);
  REQUIRE(archive != nullptr);
  std::vector<std::pair<std::string, std::string>> out;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
    zip_stat_t st;
    REQUIRE(zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &st) == 0);
    std::string data(st.size, '\0');
    zip_file_t* f = zip_fopen_index(archive, static_cast<zip_uint64_t>(i), 0);
    REQUIRE(f != nullptr);
    REQUIRE(zip_fread(f, data.data(), data.size()) == static_cast<zip_int64_t>(data.size()));
    char beyond;
    REQUIRE(zip_fread(f, &beyond, 1) == 0);
    zip_fclose(f);
    out.emplace_back(st.name, std::move(data));
  }
  zip_discard(archive);
  return out;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("write_file: parts follow one another", "[write]") {
  TemporaryFolder folder;
  const auto big = pattern(9 << 20, true);  // several pieces
  WritePlan plan;
  plan.parts.push_back(part("a", "HEAD", big, false));
  WritePart literal;
  literal.head = "only text";
  plan.parts.push_back(literal);
  plan.parts.push_back(part("b", "", pattern(10, true), false));
  plan.parts.back().tail = "TAIL";
  for (const unsigned jobs : {1U, 2U, 0U}) {
    Run control;
    control.jobs = jobs;
    CHECK(read_text(written(folder, plan, control)) ==
          "HEAD" + text_of(big) + "only text" + text_of(pattern(10, true)) + "TAIL");
  }
}

TEST_CASE("write_file: a zip that libzip finds consistent, stored and deflated", "[write]") {
  TemporaryFolder folder;
  for (const bool deflate : {false, true}) {
    for (const bool best : {false, true}) {
      WritePlan plan;
      plan.zip = true;
      plan.best = best;
      plan.comment = "a comment";
      std::vector<std::pair<std::string, std::string>> expected;
      for (const std::size_t size :
           {std::size_t{0}, std::size_t{1}, std::size_t{1} << 20, (std::size_t{5} << 20) + 3}) {
        for (const bool noise : {false, true}) {
          const std::string name = fmt::format("重み/{}-{}", size, noise);
          const auto bytes = pattern(size, noise);
          plan.parts.push_back(part(name, "header", bytes, deflate));
          expected.emplace_back(name, "header" + text_of(bytes));
        }
      }
      CHECK(read_with_libzip(written(folder, plan, {})) == expected);
    }
  }
}

TEST_CASE("write_file: stored payloads are aligned, noise is stored, the rest shrinks", "[write]") {
  TemporaryFolder folder;
  WritePlan plan;
  plan.zip = true;
  for (const bool noise : {false, true})
    plan.parts.push_back(part(noise ? "noise" : "bits", "", pattern(3 << 20, noise), true));
  plan.parts.push_back(part("stored", "", pattern(100, false), false));
  int error = 0;
  zip_t* archive = zip_open(written(folder, plan, {}).c_str(), ZIP_RDONLY, &error);
  REQUIRE(archive != nullptr);
  zip_stat_t st;
  REQUIRE(zip_stat(archive, "bits", 0, &st) == 0);
  CHECK(st.comp_method == ZIP_CM_DEFLATE);
  CHECK(st.comp_size < st.size / 3);
  for (const char* name : {"noise", "stored"}) {
    REQUIRE(zip_stat(archive, name, 0, &st) == 0);
    CHECK(st.comp_method == ZIP_CM_STORE);
  }
  zip_discard(archive);
  const std::string file = read_text(folder.path / "out");
  const auto noise = pattern(3 << 20, true);
  CHECK(file.find(text_of(noise)) % 64 == 0);
}

TEST_CASE("write_file: the same plan gives the same bytes, whatever the threads", "[write]") {
  TemporaryFolder folder;
  WritePlan plan;
  plan.zip = true;
  for (int i = 0; i < 6; ++i)
    plan.parts.push_back(part(fmt::format("{}", i), "h", pattern((std::size_t{1} << 20) * 2 + i, i % 2 == 0), true));
  Run one;
  one.jobs = 1;
  const std::string first = read_text(written(folder, plan, one));
  CHECK(read_text(written(folder, plan, {})) == first);
}

TEST_CASE("write_file: a moved member that was damaged is noticed", "[write]") {
  const auto bytes = pattern(1000, true);
  WritePart p;
  p.name = "a";
  p.moved = StoredForm{memory_source(bytes, "memory"), 0, bytes.size(), Compression::none, crc32(0, bytes) ^ 1, 0};
  p.moved_size_bytes = bytes.size();
  for (const bool other_deflates : {false, true}) {
    WritePlan plan;
    plan.zip = true;
    plan.parts.push_back(p);
    plan.parts.push_back(part("b", "", bytes, other_deflates));
    TemporaryFolder folder;
    auto file = OutputFile::create(folder.path / "out", false);
    REQUIRE(file);
    const auto size = write_file(plan, *file, {});
    REQUIRE_FALSE(size);
    CHECK(size.error().code == ErrorCode::checksum_mismatch);
    CHECK(size.error().member == "a");
  }
}

TEST_CASE("write_file: stops when told to", "[write]") {
  TemporaryFolder folder;
  for (const bool deflate : {false, true}) {
    WritePlan plan;
    plan.zip = true;
    plan.parts.push_back(part("a", "", pattern(20 << 20, false), deflate));
    std::atomic<bool> cancel = false, within = true;  // Catch's assertions are for one thread
    Run control;
    control.cancel = &cancel;
    control.progress = [&](std::uint64_t done, std::uint64_t total) {
      if (done > total) within = false;
      cancel = true;
    };
    {
      auto file = OutputFile::create(folder.path / "out", false);
      REQUIRE(file);
      const auto size = write_file(plan, *file, control);
      REQUIRE_FALSE(size);
      CHECK(size.error().code == ErrorCode::cancelled);
      CHECK(within);
    }
    CHECK(folder.num_files() == 0);
  }
}
