#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/storage.h"

using namespace netcl::ckpt;

TEST_CASE("file_storage: a range of a source", "[io]") {
  const SourcePtr source = source_of("0123456789");
  const StoragePtr storage = file_storage(source, 3, 4);
  CHECK(storage->size_bytes() == 4);
  CHECK(storage->seekable());
  CHECK(storage->stored_form().offset_bytes == 3);
  CHECK(storage->stored_form().compression == Compression::none);
  CHECK_FALSE(storage->stored_form().crc32);
  auto reader = storage->open().value();
  std::byte two[2];
  REQUIRE(reader->read(2, two));
  CHECK(two[0] == std::byte{'5'});
  CHECK_FALSE(reader->read(3, two));
  CHECK_FALSE(reader->read(~std::uint64_t{0}, two));
}
