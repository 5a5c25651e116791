// Streams that the programs wrote (gzip, bzip2, xz, lzma, zstd, lz4, joblib's ZF), around the text
// "hello hello hello\n".
#include "container/envelope.h"

#include "base/endian.h"
#include "base/try.h"
#include "bytes.h"
#include "catch.h"

using namespace netcl::ckpt;

namespace {

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return out;
}

Result<Unpacked> unpacked(const std::string& file, std::uint64_t max_bytes = 1000) {
  const auto envelope = find_envelope(file);
  if (!envelope) return fail(ErrorCode::unsupported, "no envelope");
  return unpack(source_of(file), *envelope, max_bytes);
}

std::string text_of(const Unpacked& from) {
  std::string out(from.source->size_bytes(), '\0');
  REQUIRE(from.source->read_at(0, std::as_writable_bytes(std::span(out))));
  return out;
}

const std::string kText = "hello hello hello\n";
const std::string kGzip = from_hex("1f8b0800000000000203cb48cdc9c957c840905c003b7c8adf12000000");
const std::string kBzip2 =
    from_hex("425a6839314159265359e5b5f3090000045100001040000244a00021b5180c029069c2a30bb9229c284872daf98480");
const std::string kXz = from_hex(
    "fd377a585a000004e6d6b4460200210116000000742fe5a3e00011000c5d00341949ee8de94f7e2121b000001f01d9c8"
    "87c143c800012812c96a628e1fb6f37d010000000004595a");
const std::string kLzma = from_hex("5d00008000ffffffffffffffff00341949ee8de94f7e21b620b7ffffba340000");
const std::string kZstd = from_hex("28b52ffd201291000068656c6c6f2068656c6c6f2068656c6c6f0a");
const std::string kLz4 = from_hex("04224d186440a70f0000006368656c6c6f20060050656c6c6f0a00000000c659d85b");
const std::string kZlib = from_hex("789ccb48cdc9c957c840905c0040b50687");
const std::string kZf = from_hex("5a4630783132202020202020202020202020202020789ccb48cdc9c957c840905c0040b50687");
}  // namespace

TEST_CASE("envelope: unpacks each format, and streams one after another", "[container]") {
  for (const std::string& file : {kGzip, kBzip2, kXz, kLzma, kZstd, kLz4, kZlib, kZf}) {
    INFO(file[0] << " " << file.size());
    const auto one = unpacked(file);
    REQUIRE(one);
    CHECK(text_of(*one) == kText);
    CHECK(one->trailing_bytes == 0);
    const auto more = unpacked(file + "rest");
    REQUIRE(more);
    CHECK(more->trailing_bytes == 4);
  }
  for (const std::string& file : {kGzip, kBzip2, kXz, kZstd, kLz4}) {
    const auto two = unpacked(file + file + std::string(512, '\0'));
    REQUIRE(two);
    CHECK(text_of(*two) == kText + kText);
    CHECK(two->trailing_bytes == 0);
  }
  CHECK_FALSE(find_envelope("PK\3\4"));
  CHECK_FALSE(find_envelope("x"));
  CHECK_FALSE(find_envelope(""));
}

TEST_CASE("envelope: what is cut or changed is an error or the same text, never more", "[container][hostile]") {
  for (const std::string& file : {kGzip, kBzip2, kXz, kLzma, kZstd, kLz4, kZlib, kZf}) {
    for (std::size_t n = 0; n < file.size(); ++n) {
      if (const auto cut = unpacked(file.substr(0, n)); cut) CHECK(file == kLzma);
    }
    for (std::size_t i = 0; i < file.size(); ++i) {
      std::string changed = file;
      changed[i] = static_cast<char>(changed[i] ^ 0x10);
      static_cast<void>(unpacked(changed).has_value());
    }
  }
}

TEST_CASE("envelope: what is wrong with a stream names it", "[container][hostile]") {
  const std::pair<std::string, std::string> streams[] = {{kGzip, "gzip"}, {kBzip2, "bzip2"}, {kXz, "xz"},
                                                         {kLzma, "lzma"}, {kZstd, "zstd"},   {kLz4, "lz4"},
                                                         {kZlib, "zlib"}, {kZf, "zlib"}};
  for (const auto& [file, name] : streams) {
    INFO(name);
    const auto cut = unpacked(file.substr(0, file.size() * 2 / 3));
    if (!cut) CHECK(cut.error().message == "the " + name + " stream is cut short");
    CHECK((name == "lzma" || !cut));
    std::size_t refused = 0;
    for (std::size_t i = 0; i < file.size(); ++i) {
      std::string changed = file;
      changed[i] = static_cast<char>(changed[i] ^ 0x10);
      if (!find_envelope(changed)) continue;
      const auto done = unpacked(changed);
      if (done) continue;
      ++refused;
      CHECK((done.error().code == ErrorCode::limit_exceeded ||
             done.error().message.starts_with("the " + name + " stream ")));
    }
    CHECK(refused > 0);
  }
  std::string changed = kLz4;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  const auto done = unpacked(changed);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::checksum_mismatch);
  CHECK(done.error().message == "the lz4 stream does not have its checksum: it is damaged");
}

TEST_CASE("envelope: a bomb ends at the limit", "[container][hostile]") {
  const auto done = unpacked(kGzip, kText.size() - 1);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::limit_exceeded);
  CHECK(unpacked(kGzip, kText.size()));
}

TEST_CASE("envelope: a stream of a known size is unpacked as it is read", "[container]") {
  const auto storage_of = [](const std::string& file, std::uint64_t size) {
    return unpacked_storage(source_of(file), *find_envelope(file), size);
  };
  const auto storage = storage_of(kZf, kText.size());
  REQUIRE(storage);
  CHECK((*storage)->size_bytes() == kText.size());
  CHECK_FALSE((*storage)->seekable());
  auto reader = (*storage)->open();
  REQUIRE(reader);
  std::string part(5, '\0');
  // Ahead, back, and from the start: each is the text that is there.
  for (const std::size_t at : {0, 5, 12, 3, 13}) {
    REQUIRE((*reader)->read(at, std::as_writable_bytes(std::span(part))));
    CHECK(part == kText.substr(at, 5));
  }
  CHECK_FALSE((*reader)->read(14, std::as_writable_bytes(std::span(part))));

  std::string whole(kText.size(), '\0');
  for (std::size_t n = 22; n < kZf.size(); ++n) {
    const std::string cut = kZf.substr(0, n);
    const auto short_one = unpacked_storage(source_of(cut), *find_envelope(kZf), kText.size());
    REQUIRE(short_one);
    CHECK_FALSE((*short_one)->open().value()->read(0, std::as_writable_bytes(std::span(whole))));
  }
  std::string more(kText.size() + 1, '\0'), less(kText.size() - 1, '\0');
  CHECK_FALSE((*storage_of(kZf, more.size()))->open().value()->read(0, std::as_writable_bytes(std::span(more))));
  CHECK_FALSE((*storage_of(kZf, less.size()))->open().value()->read(0, std::as_writable_bytes(std::span(less))));
  CHECK_FALSE(storage_of(kZf, std::uint64_t{1} << 40));
}
