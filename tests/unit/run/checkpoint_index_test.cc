#include "run/checkpoint_index.h"

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

/// As a file system of coarse times tells it: several of one tick.
CheckpointInfo seen(const char* name, std::int64_t tick, std::uint64_t inode, double loss) {
  CheckpointInfo out;
  out.path = name;
  out.size_bytes = 100;
  out.modified_ns = out.changed_ns = tick * 4'000'000;
  out.inode = inode;
  out.metrics = {{"loss", loss}};
  out.validity = Validity::valid;
  return out;
}

}  // namespace

TEST_CASE("checkpoint_index: what may have been replaced within one tick is not believed", "[run]") {
  const TemporaryFolder folder;
  CheckpointIndex written;
  REQUIRE(written.update(folder.path, {seen("a.npz", 1, 1, 0.1), seen("b.npz", 2, 2, 0.2), seen("c.npz", 2, 3, 0.3)}));
  for (const CheckpointIndex& index : {written, CheckpointIndex::read(folder.path)}) {
    CheckpointInfo old = seen("a.npz", 1, 1, 0.9);
    CHECK(index.recall(old));
    CHECK(old.metrics == Metrics{{"loss", 0.1}});
    for (CheckpointInfo young : {seen("b.npz", 2, 2, 0.9), seen("c.npz", 2, 3, 0.9)}) {
      CAPTURE(young.path);
      CHECK_FALSE(index.recall(young));
      CHECK(young.metrics == Metrics{{"loss", 0.9}});
    }
  }
  // A tick later they are as sure as any.
  REQUIRE(written.update(folder.path, {seen("b.npz", 2, 2, 0.2), seen("d.npz", 3, 4, 0.4)}));
  CheckpointInfo later = seen("b.npz", 2, 2, 0.9);
  CHECK(CheckpointIndex::read(folder.path).recall(later));
}

TEST_CASE("checkpoint_index: another size, time or inode is another file", "[run]") {
  const TemporaryFolder folder;
  CheckpointIndex index;
  constexpr std::uint64_t kLarge = 0xfffffffffffffff0;  // inodes are 64 bits, the numbers of a tree 63 and a sign
  REQUIRE(index.update(folder.path, {seen("a.npz", 1, kLarge, 0.1), seen("new.npz", 9, 2, 0.2)}));
  index = CheckpointIndex::read(folder.path);
  CheckpointInfo same = seen("a.npz", 1, kLarge, 0);
  CHECK(index.recall(same));
  for (int field = 0; field < 4; ++field) {
    CAPTURE(field);
    CheckpointInfo other = seen("a.npz", 1, kLarge, 0);
    if (field == 0) ++other.size_bytes;
    if (field == 1) ++other.modified_ns;
    if (field == 2) ++other.changed_ns;
    if (field == 3) ++other.inode;
    CHECK_FALSE(index.recall(other));
  }
  // An index of a version that did not know inodes tells nothing.
  write_text(folder.path / "index.json", R"({"schema": "netcl-ckpt.index/1",
 "checkpoints": [
  {"name": "a.npz", "size_bytes": 100, "modified_ns": 4000000, "metrics": {"loss": 0.1}},
  {"name": "b.npz", "size_bytes": 100, "modified_ns": 8000000, "metrics": {"loss": 0.1}}]})");
  CheckpointInfo known = seen("a.npz", 1, 0, 0);
  CHECK_FALSE(CheckpointIndex::read(folder.path).recall(known));
}

}  // namespace netcl::ckpt
