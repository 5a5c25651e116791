#include "ops/checkpoint_name.h"

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("checkpoint_name: the names that programs give", "[ops]") {
  const struct {
    const char* name;
    std::optional<std::uint64_t> step, epoch;
  } cases[] = {
      {"iter_1000", 1000, {}},
      {"iter_0001000", 1000, {}},
      {"checkpoint-1000", 1000, {}},
      {"step=500", 500, {}},
      {"epoch_12", {}, 12},
      {"epoch12", {}, 12},
      {"Epoch_12", {}, 12},
      {"model_epoch_3_step_1500", 1500, 3},
      {"epoch=3-step=500-val_loss=0.25", 500, 3},
      {"global_step2000", 2000, {}},
      {"ckpt_7", 7, {}},
      {"run2.iter_30", 30, {}},
      {"iter_18446744073709551615", UINT64_MAX, {}},
      // No step and no epoch: prune must take none of these for an old checkpoint.
      {"resnet50", {}, {}},
      {"model_2", {}, {}},
      {"best", {}, {}},
      {"yolov8", {}, {}},
      {"checkpoint-2024-01-05", {}, {}},
      {"checkpoint_3_of_5", {}, {}},
      {"epoch_3.5", {}, {}},
      {"step_3rd", {}, {}},
      {"keep_5", {}, {}},
      {"iter_18446744073709551616", {}, {}},
      {"1000", {}, {}},
      {"", {}, {}},
  };
  for (const auto& c : cases) {
    CAPTURE(c.name);
    const NameNumbers found = parse_checkpoint_name(c.name);
    CHECK(found.step == c.step);
    CHECK(found.epoch == c.epoch);
  }
}

TEST_CASE("checkpoint_name: metrics stand as key=number", "[ops]") {
  CHECK(parse_checkpoint_name("epoch=3-step=500-val_loss=0.25-acc=1e-2").metrics ==
        Metrics{{"val_loss", 0.25}, {"acc", 0.01}});
  CHECK(parse_checkpoint_name("loss=-2.5").metrics == Metrics{{"loss", -2.5}});
  CHECK(parse_checkpoint_name("lr=high-=3-loss=0.5x").metrics.empty());
}

TEST_CASE("checkpoint_name: patterns", "[ops]") {
  CHECK(match_checkpoint_name("model_12.pth", "model_{step}.pth")->step == 12);
  const auto both = match_checkpoint_name("e3-s40.npz", "e{epoch}-s{step}.npz");
  REQUIRE(both);
  CHECK(both->epoch == 3);
  CHECK(both->step == 40);
  for (const char* name :
       {"model_.pth", "model_12.pth2", "xmodel_12.pth", "model_1a.pth", "", "model_99999999999999999999.pth"}) {
    CAPTURE(name);
    CHECK_FALSE(match_checkpoint_name(name, "model_{step}.pth"));
  }
  CHECK(format_checkpoint_name("e{epoch}-s{step}.npz", 40, 3) == "e3-s40.npz");
  CHECK(is_name_pattern("iter_{step}.npz"));
  for (const char* pattern : {"", "iter.npz", "a/{step}.npz", ".{step}.npz", "{Step}"}) {
    CAPTURE(pattern);
    CHECK_FALSE(is_name_pattern(pattern));
  }
}

TEST_CASE("checkpoint_name: extensions", "[ops]") {
  CHECK(checkpoint_stem("iter_1.npz") == "iter_1");
  CHECK(checkpoint_stem("a.b.safetensors") == "a.b");
  for (const char* name :
       {"iter_1.json", "iter_1", ".npz", "iter_1.npz.tmp", "iter_1.npz~", "index.json", "notes.txt"}) {
    CAPTURE(name);
    CHECK_FALSE(checkpoint_stem(name));
  }
}

}  // namespace netcl::ckpt
