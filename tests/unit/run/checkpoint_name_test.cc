#include "run/checkpoint_name.h"

#include "catch.h"

namespace netcl::ckpt {

TEST_CASE("checkpoint_name: the names that programs give", "[run]") {
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
      {"run_20240105-123456", {}, {}},
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

TEST_CASE("checkpoint_name: without a word the last number", "[run]") {
  const struct {
    const char* name;
    std::optional<std::uint64_t> last;
    bool apart;
  } cases[] = {
      {"model_0019999", 19999, true},
      {"G_20000", 20000, true},
      {"0001000_adapters", 1000, true},
      {"29", 29, true},
      {"checkpoint_4_30000", 30000, true},
      {"net-d0_10_4000", 4000, true},
      {"snapshot-10-final", 10, true},
      {"ema_0.9999_100000", 100000, true},
      {"model_5000.ema", 5000, true},
      {"resnet50", 50, false},
      {"model10", 10, false},
      {"model_300-v1", 300, true},
      // Named: no other number counts.
      {"step=400-v1", {}, false},
      {"iter_1000", {}, false},
      {"epoch_3_of_8", {}, false},
      // No steps.
      {"best", {}, false},
      {"checkpoint-2024-01-05", {}, false},
      {"run_2024-01-05_12-30-59", {}, false},
      {"run_20240105-123456", {}, false},
      {"checkpoint_3_of_5", {}, false},
      {"model-00001-of-00002", {}, false},
      {"loss=3", {}, false},
      {"mp_rank_00", {}, false},
      {"lr_0.5", {}, false},
      {"3rd", {}, false},
      {"x_18446744073709551616", {}, false},
      {"", {}, false},
  };
  for (const auto& c : cases) {
    CAPTURE(c.name);
    const NameNumbers found = parse_checkpoint_name(c.name);
    CHECK(found.last == c.last);
    CHECK(found.apart == c.apart);
  }
  CHECK(parse_checkpoint_name("net-d0_10_4000").series == "net-d0_10_#");
}

TEST_CASE("checkpoint_name: patterns that give two numbers one name", "[run]") {
  for (const char* pattern : {"{step}{epoch}.npz", "{step}{step}.npz", "{step}0.npz", "0{step}{epoch}"}) {
    CAPTURE(pattern);
    CHECK_FALSE(tells_numbers_apart(pattern));
  }
  for (const char* pattern : {"iter_{step}.npz", "e{epoch}-s{step}.npz", "{step}-{step}.npz", "{epoch}.npz"}) {
    CAPTURE(pattern);
    CHECK(tells_numbers_apart(pattern));
  }
  CHECK_FALSE(match_checkpoint_name("1-2.npz", "{step}-{step}.npz"));
}

TEST_CASE("checkpoint_name: metrics stand as key=number", "[run]") {
  CHECK(parse_checkpoint_name("epoch=3-step=500-val_loss=0.25-acc=1e-2").metrics ==
        Metrics{{"val_loss", 0.25}, {"acc", 0.01}});
  CHECK(parse_checkpoint_name("loss=-2.5").metrics == Metrics{{"loss", -2.5}});
  CHECK(parse_checkpoint_name("lr=high-=3-loss=0.5x").metrics.empty());
}

TEST_CASE("checkpoint_name: patterns", "[run]") {
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

TEST_CASE("checkpoint_name: extensions", "[run]") {
  CHECK(checkpoint_stem("iter_1.npz") == "iter_1");
  CHECK(checkpoint_stem("a.b.safetensors") == "a.b");
  for (const char* name :
       {"iter_1.json", "iter_1", ".npz", "iter_1.npz.tmp", "iter_1.npz~", "index.json", "notes.txt"}) {
    CAPTURE(name);
    CHECK_FALSE(checkpoint_stem(name));
  }
}

}  // namespace netcl::ckpt
