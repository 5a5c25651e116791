#include "netcl/ckpt/directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "bytes.h"
#include "catch.h"
#include "io/directory_lock.h"
#include "netcl/ckpt/convert.h"
#include "netcl/ckpt/netcl.h"
#include "netcl/ckpt/output_file.h"
#include "sample.h"
#include "write/write_file.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

std::string written(const WritePlan& plan) {
  const TemporaryFolder folder;
  auto file = OutputFile::create(folder.path / "out", false);
  const auto size = write_file(plan, *file, {});
  REQUIRE(size);
  REQUIRE(file->commit(*size));
  return read_text(folder.path / "out");
}

/// A small training checkpoint as the save functions write it: values in the archive's structure.
std::string npz_bytes(std::uint64_t epoch = 0, Metrics metrics = {}) {
  Checkpoint c = checkpoint_of({});
  const auto entry = [&](const char* name, ValueId value) { return Tree::Entry{c.tree.add_string(name), value}; };
  std::vector<Tree::Entry> numbers;
  for (const auto& [name, value] : metrics) {
    const ValueId key = c.tree.add_string(name);
    numbers.push_back({key, c.tree.add_real(value)});
  }
  const Tree::Entry root[] = {
      entry("w", c.tree.add_tensor(tensor_of<float>({1, 2, 3, 4}, ScalarType::float32))),
      entry("epoch", c.tree.add_integer(static_cast<std::int64_t>(epoch))),
      entry("metrics", c.tree.add_dict(numbers)),
  };
  c.root = c.tree.add_dict(root);
  const auto plan = plan_npz(c, {});
  REQUIRE(plan);
  return written(*plan);
}

std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& members) {
  WritePlan plan;
  plan.zip = true;
  for (const auto& [name, content] : members) {
    WritePart part;
    part.name = name;
    part.head = content;
    plan.parts.push_back(std::move(part));
  }
  return written(plan);
}

std::string safetensors_bytes(const std::string& name) {
  const std::string header = fmt::format(R"({{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}})", name);
  return le<std::uint64_t>(header.size()) + header + "x";
}

std::vector<std::string> names(const std::vector<CheckpointInfo>& list) {
  std::vector<std::string> out;
  for (const CheckpointInfo& c : list) out.push_back(c.path.filename().string());
  return out;
}

std::vector<std::string> left(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& e : fs::directory_iterator(folder)) out.push_back(e.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

std::string latest(const fs::path& folder, const LatestOptions& options = {}) {
  const auto report = latest_checkpoint(folder, options);
  REQUIRE(report);
  return report->found ? report->found->path.filename().string() : "";
}

PruneReport prune(const fs::path& folder, const Retention& retention) {
  PruneOptions options;
  options.retention = retention;
  options.remove = true;
  auto report = prune_checkpoints(folder, options);
  INFO((report ? "" : report.error().to_string()));
  REQUIRE(report);
  return std::move(*report);
}

}  // namespace

TEST_CASE("checkpoints: a list is in the order of the numbers, whatever the clock says", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes(3, {{"loss", 0.5}});
  for (const char* name : {"iter_200.npz", "iter_1000.npz", "iter_30.npz", "epoch_7.npz", "best.npz"})
    write_text(folder.path / name, bytes);
  for (const char* name : {"notes.txt", ".iter_5.npz", "iter_9.npz.tmp", "iter_8.json"})
    write_text(folder.path / name, "x");
  fs::last_write_time(folder.path / "iter_30.npz", fs::file_time_type::clock::now() + std::chrono::hours(24));
  const auto list = list_checkpoints(folder.path);
  REQUIRE(list);
  CHECK(names(*list) ==
        std::vector<std::string>{"best.npz", "epoch_7.npz", "iter_30.npz", "iter_200.npz", "iter_1000.npz"});
  const CheckpointInfo& last = list->back();
  CHECK(last.step == 1000);
  CHECK(last.epoch == 3);         // from inside
  CHECK(list->at(1).epoch == 7);  // the name's
  CHECK(last.metrics == Metrics{{"loss", 0.5}});
  CHECK(last.validity == Validity::valid);
  CHECK(last.size_bytes == bytes.size());
  CHECK_FALSE(list->front().numbered);
}

TEST_CASE("checkpoints: a time that 64 bits of nanoseconds cannot hold is the last, not the first", "[run]") {
  const TemporaryFolder folder;
  for (const char* name : {"future.npz", "now.npz"}) write_text(folder.path / name, npz_bytes());
  const struct timespec times[] = {{13'569'465'600, 0}, {13'569'465'600, 999'999'999}};  // 2400-01-01
  REQUIRE(::utimensat(AT_FDCWD, (folder.path / "future.npz").c_str(), times, 0) == 0);
  const auto list = list_checkpoints(folder.path);
  REQUIRE(list);
  CHECK(names(*list) == std::vector<std::string>{"now.npz", "future.npz"});
  CHECK(list->back().modified_ns > list->front().modified_ns);
}

TEST_CASE("checkpoints: the latest is the newest that is whole", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes();
  CHECK(latest(folder.path) == "");
  write_text(folder.path / "iter_1.npz", bytes);
  write_text(folder.path / "iter_2.npz", bytes);
  write_text(folder.path / "iter_2.json", R"({"optim_state": {"t": 3, "moments": [[)");
  write_text(folder.path / "iter_3.npz", "");
  for (std::size_t i = 1; i < bytes.size(); ++i) {  // no truncation passes for a checkpoint
    write_text(folder.path / "iter_4.npz", std::string_view(bytes).substr(0, i));
    CAPTURE(i);
    REQUIRE(latest(folder.path) == "iter_1.npz");
  }
  const auto report = latest_checkpoint(folder.path);
  REQUIRE(report);
  CHECK(names(report->skipped) == std::vector<std::string>{"iter_4.npz", "iter_3.npz", "iter_2.npz"});
  for (const CheckpointInfo& c : report->skipped) {
    CAPTURE(c.path);
    CHECK(c.validity == Validity::broken);
    CHECK(c.defect);
  }
  LatestOptions any;
  any.any = true;
  CHECK(latest(folder.path, any) == "iter_4.npz");
  CHECK_FALSE(latest_checkpoint(folder.path / "missing"));
}

TEST_CASE("checkpoints: what holds no checkpoint is never the newest valid one", "[run]") {
  const struct {
    const char* what;
    std::string bytes;
    Validity validity;
  } cases[] = {
      {"torch.save that raised", zip_bytes({{"step_200/version", "3\n"}}), Validity::broken},
      {"the same of a later torch", zip_bytes({{"step_200/.format_version", "1"}, {"step_200/byteorder", "little"}}),
       Validity::broken},
      {"np.savez() of nothing", zip_bytes({}), Validity::unknown},
      {"a document", zip_bytes({{"word/document.xml", "<w/>"}, {"[Content_Types].xml", "<t/>"}}), Validity::unknown},
      {"torch.package", zip_bytes({{"p/code/model.py", "import os"}, {"p/extern_modules", ""}}), Validity::unknown},
  };
  for (const auto& c : cases) {
    CAPTURE(c.what);
    const TemporaryFolder folder;
    write_text(folder.path / "step_100.npz", npz_bytes());
    for (const char* name : {"step_200.pt", "step_300.npz"}) write_text(folder.path / name, c.bytes);
    CHECK(latest(folder.path) == "step_100.npz");
    const auto list = list_checkpoints(folder.path);
    REQUIRE(list);
    CHECK(list->back().validity == c.validity);
    prune(folder.path, {1, 0, std::nullopt});
    CHECK(folder.num_files() == 3);
  }
  // One whose values are all in the structure is one.
  const TemporaryFolder folder;
  write_text(folder.path / "step_1.npz",
             zip_bytes({{"__netcl_ckpt__.json", R"({"netcl-ckpt":1,"state":{"step":3}})"}}));
  CHECK(latest(folder.path) == "step_1.npz");
}

TEST_CASE("checkpoints: without a word the last number of a name is the step", "[run]") {
  const std::string bytes = npz_bytes();
  const struct {
    std::vector<const char*> names;  // each older than the one before
    const char* newest;
    std::optional<std::uint64_t> step;
    bool by_time;
  } cases[] = {
      {{"model_0019999.pth", "model_0009999.pth", "last.pth"}, "model_0019999.pth", 19999, false},
      {{"G_8000.pth", "G_20000.pth"}, "G_20000.pth", 20000, false},
      {{"0001000_adapters.safetensors", "adapters.safetensors"}, "0001000_adapters.safetensors", 1000, false},
      {{"model9.pt", "model10.pt"}, "model10.pt", 10, false},
      {{"29.pdparams", "29.pdopt", "9.pdparams"}, "29.pdparams", 29, false},
      {{"ckpt_12.pth.tar", "ckpt_3.pth.tar"}, "ckpt_12.pth.tar", 12, false},
      {{"snapshot_iter_1000", "snapshot_iter_900", "log_2000.txt"}, "snapshot_iter_1000", 1000, false},
      {{"iter_5.npz", "model_70.npz"}, "iter_5.npz", 5, false},  // a word is surer than a number
      {{"epoch_5.npz", "model_70.npz"}, "epoch_5.npz", std::nullopt, false},
      {{"best.pt", "final.pt"}, "best.pt", std::nullopt, true},
      {{"resnet50.pt", "yolo.pt"}, "resnet50.pt", std::nullopt, true},
      {{"only.pt"}, "only.pt", std::nullopt, false},
  };
  for (const auto& c : cases) {
    CAPTURE(c.newest);
    const TemporaryFolder folder;
    auto time = fs::file_time_type::clock::now();
    for (const char* name : c.names) {
      write_text(folder.path / name, bytes);
      fs::last_write_time(folder.path / name, time -= std::chrono::hours(1));
    }
    LatestOptions options;
    options.scan.values = false;
    const auto report = latest_checkpoint(folder.path, options);
    REQUIRE(report);
    REQUIRE(report->found);
    CHECK(report->found->path.filename() == c.newest);
    CHECK(report->found->step == c.step);
    CHECK(report->by_time == c.by_time);
  }
}

TEST_CASE("checkpoints: prune takes a number for a step only in a series, and a pair as one", "[run]") {
  const std::string bytes = npz_bytes();
  const Retention last{1, 0, std::nullopt};
  const TemporaryFolder folder;
  SECTION("a series goes, lone numbers stay") {
    for (const char* name : {"model_0009999.pth", "model_0019999.pth", "resnet_50.pth", "resnet18.pth", "resnet34.pth"})
      write_text(folder.path / name, bytes);
    prune(folder.path, last);
    CHECK(left(folder.path) ==
          std::vector<std::string>{"model_0019999.pth", "resnet18.pth", "resnet34.pth", "resnet_50.pth"});
  }
  SECTION("a pair of which one half is broken does not push out a whole one") {
    for (const char* name : {"9.pdparams", "9.pdopt", "19.pdparams", "19.pdopt", "29.pdparams"})
      write_text(folder.path / name, bytes);
    write_text(folder.path / "29.pdopt", bytes.substr(0, 50));
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"19.pdopt", "19.pdparams", "29.pdopt", "29.pdparams"});
  }
  SECTION("a folder that is but a number may be a run of its own") {
    for (const char* run : {"1", "2"}) {
      fs::create_directory(folder.path / run);
      write_text(folder.path / run / "model.npz", bytes);
    }
    prune(folder.path, last);
    CHECK(folder.num_files() == 2);
    write_text(folder.path / "2" / "iter_5.npz", bytes);
    CHECK(latest(folder.path) == "1");
  }
}

TEST_CASE("checkpoints: a folder is whole or it is not valid", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes();
  const auto put = [&](const fs::path& file, std::string_view text) {
    fs::create_directories((folder.path / file).parent_path());
    write_text(folder.path / file, text);
  };
  const auto newest = [&] { return latest(folder.path); };
  put("iter_0000500/mp_rank_00/model_optim_rng.npz", bytes);
  CHECK(newest() == "iter_0000500");
  put("iter_0001000/mp_rank_00/model_optim_rng.npz", bytes);
  put("iter_0001000/mp_rank_01/model_optim_rng.npz", bytes.substr(0, 99));
  CHECK(newest() == "iter_0000500");

  for (const char* name : {"optimizer.pt", "scheduler.pt", "model.npz"}) put(fs::path("checkpoint-2000") / name, bytes);
  CHECK(newest() == "iter_0000500");
  put("checkpoint-2000/trainer_state.json", R"({"log_history": []})");
  CHECK(newest() == "checkpoint-2000");

  put("step_3000/a.safetensors", safetensors_bytes("a"));
  put("step_3000/b.safetensors", safetensors_bytes("b"));
  put("step_3000/model.safetensors.index.json", R"({"weight_map": {"a": "b.safetensors", "b": "b.safetensors"}})");
  CHECK(newest() == "checkpoint-2000");
  put("step_3000/model.safetensors.index.json", R"({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})");
  CHECK(newest() == "step_3000");

  put("step_4000/__0_0.distcp", bytes);
  CHECK(newest() == "step_3000");
  put("step_4000/.metadata", "(S'__0_0.distcp'\nS'__1_0.distcp'\nt.");
  CHECK(newest() == "step_3000");
  put("step_4000/__1_0.distcp", bytes);
  CHECK(newest() == "step_4000");
}

TEST_CASE("checkpoints: the rest of a pruned folder goes with the next prune", "[run]") {
  const TemporaryFolder folder;
  write_text(folder.path / "iter_1.npz", npz_bytes());
  fs::create_directory(folder.path / ".netcl-ckpt-pruned-checkpoint-5");
  write_text(folder.path / ".netcl-ckpt-pruned-checkpoint-5" / "model.npz", "half");
  prune(folder.path, {1, 0, std::nullopt});
  CHECK(folder.num_files() == 1);
  const std::string longest = "step_1_" + std::string(248, 'x');
  for (const std::string& name : {longest, std::string("step_2")}) {
    fs::create_directory(folder.path / name);
    write_text(folder.path / name / "model.npz", npz_bytes());
  }
  prune(folder.path, {1, 0, std::nullopt});
  CHECK(left(folder.path) == std::vector<std::string>{"step_2"});
}

TEST_CASE("checkpoints: a flipped byte is found where all is read", "[run]") {
  const TemporaryFolder folder;
  std::string bytes = npz_bytes();
  write_text(folder.path / "iter_1.npz", bytes);
  bytes[bytes.find(le<float>(2))] ^= 1;
  write_text(folder.path / "iter_2.npz", bytes);
  CHECK(latest(folder.path) == "iter_2.npz");
  LatestOptions full;
  full.scan.check = Check::full;
  CHECK(latest(folder.path, full) == "iter_1.npz");
}

TEST_CASE("checkpoints: no single flipped byte of one stops the list", "[run][hostile]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes(3, {{"loss", 0.5}});
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0xff);
    write_text(folder.path / "iter_1.npz", flipped);
    REQUIRE(list_checkpoints(folder.path));
  }
}

TEST_CASE("checkpoints: the best by a metric", "[run]") {
  const TemporaryFolder folder;
  write_text(folder.path / "iter_1.npz", npz_bytes(0, {{"loss", 0.5}}));
  write_text(folder.path / "iter_2.npz", npz_bytes(0, {{"loss", 0.25}}));
  write_text(folder.path / "iter_3.npz", npz_bytes(0, {{"loss", 0.25}}));
  write_text(folder.path / "iter_4.npz", npz_bytes(0, {{"loss", std::nan("")}}));
  write_text(folder.path / "iter_5.npz", npz_bytes(0, {{"acc", 0.1}}));
  write_text(folder.path / "iter_6-loss=0.1.npz", "PK");
  LatestOptions options;
  options.best = BestBy{"loss", false};
  CHECK(latest(folder.path, options) == "iter_3.npz");
  options.best = BestBy{"loss", true};
  CHECK(latest(folder.path, options) == "iter_1.npz");
  options.best = BestBy{"f1", true};
  CHECK(latest(folder.path, options) == "");
}

TEST_CASE("checkpoints: which end of a metric is good", "[run]") {
  CHECK(parse_best("val_loss")->higher == false);
  CHECK(parse_best("top1_acc")->higher == true);
  CHECK(parse_best("val_loss:max")->higher == true);
  CHECK(parse_best("x:min")->metric == "x");
  for (const char* text : {"", "reward", ":min", "x:up"}) {
    CAPTURE(text);
    const auto parsed = parse_best(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("checkpoints: prune keeps what the rules say, and shows before it removes", "[run]") {
  const TemporaryFolder folder;
  for (int i = 1; i <= 10; ++i)
    write_text(folder.path / fmt::format("iter_{}.npz", i * 10), npz_bytes(0, {{"loss", i == 3 ? 0.1 : 0.5}}));
  PruneOptions options;
  options.retention.keep_last = 2;
  options.retention.keep_every = 50;
  options.retention.keep_best = BestBy{"loss", false};
  options.protect = {"iter_10.npz"};
  const auto shown = prune_checkpoints(folder.path, options);
  REQUIRE(shown);
  CHECK(folder.num_files() == 10);
  options.remove = true;
  const auto removed = prune_checkpoints(folder.path, options);
  REQUIRE(removed);
  CHECK(removed->removed_bytes == shown->removed_bytes);
  CHECK(left(folder.path) ==
        std::vector<std::string>{"iter_10.npz", "iter_100.npz", "iter_30.npz", "iter_50.npz", "iter_90.npz"});
}

TEST_CASE("checkpoints: what no rule may remove", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes();
  const Retention last{1, 0, std::nullopt};
  SECTION("the newest valid one, and newer broken ones; older broken ones go") {
    write_text(folder.path / "iter_1.npz", bytes.substr(0, 50));
    write_text(folder.path / "iter_2.npz", bytes);
    write_text(folder.path / "iter_3.npz", bytes);
    write_text(folder.path / "iter_4.npz", bytes.substr(0, 100));
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"iter_3.npz", "iter_4.npz"});
    prune(folder.path, {0, 1'000'000, std::nullopt});
    CHECK(left(folder.path) == std::vector<std::string>{"iter_3.npz", "iter_4.npz"});
  }
  SECTION("all of them, where none is valid") {
    write_text(folder.path / "iter_1.npz", "PK\3\4");
    write_text(folder.path / "iter_2.npz", "PK\3\4");
    prune(folder.path, last);
    CHECK(folder.num_files() == 2);
  }
  SECTION("other files") {
    const char* others[] = {"best.npz", "resnet50.npz", "iter_1.txt", "iter_1.onnx", "notes"};
    for (const char* name : others) write_text(folder.path / name, bytes);
    fs::create_directory(folder.path / "iter_0");  // a folder that holds no checkpoint
    write_text(folder.path / "iter_0" / "diary.txt", "x");
    write_text(folder.path / "iter_5.npz", "some other program's file");
    write_text(folder.path / "iter_8.npz", bytes);
    write_text(folder.path / "iter_9.npz", bytes);
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"best.npz", "iter_0", "iter_1.onnx", "iter_1.txt", "iter_5.npz",
                                                        "iter_9.npz", "notes", "resnet50.npz"});
  }
  SECTION("what a link points to") {
    for (int i = 1; i <= 3; ++i) write_text(folder.path / fmt::format("iter_{}.npz", i), bytes);
    fs::create_symlink("iter_1.npz", folder.path / "best.npz");
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"best.npz", "iter_1.npz", "iter_3.npz"});
  }
  SECTION("steps because there are epochs") {
    for (const char* name : {"epoch_1.npz", "epoch_2.npz", "iter_1.npz", "iter_2.npz"})
      write_text(folder.path / name, bytes);
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"epoch_2.npz", "iter_2.npz"});
  }
  SECTION("a file of the same step") {
    for (const char* name : {"G_step1.npz", "D_step1.npz", "G_step2.npz", "D_step2.npz"})
      write_text(folder.path / name, bytes);
    prune(folder.path, last);
    CHECK(left(folder.path) == std::vector<std::string>{"D_step2.npz", "G_step2.npz"});
  }
  SECTION("anything, where no rule is given or another run holds the directory") {
    write_text(folder.path / "iter_1.npz", bytes);
    write_text(folder.path / "iter_2.npz", bytes);
    PruneOptions options;
    options.remove = true;
    CHECK(prune_checkpoints(folder.path, options).error().code == ErrorCode::invalid_argument);
    options.retention = last;
    {
      const auto lock = DirectoryLock::take(folder.path, true);
      REQUIRE(lock);
      CHECK(prune_checkpoints(folder.path, options).error().code == ErrorCode::invalid_argument);
    }
    CHECK(prune_checkpoints(folder.path, options));  // the file left behind is no obstacle
    CHECK(left(folder.path) == std::vector<std::string>{DirectoryLock::kFileName, "iter_2.npz"});
  }
}

TEST_CASE("checkpoints: a sidecar goes with its npz, another program's json stays", "[run]") {
  const TemporaryFolder folder;
  for (int i = 1; i <= 4; ++i) write_text(folder.path / fmt::format("iter_{}.npz", i), npz_bytes());
  write_text(folder.path / "iter_1.json", R"({"config": {}})");
  write_text(folder.path / "iter_2.json", R"({"optim_state": {"t": )");  // torn
  write_text(folder.path / "iter_3.json", R"({"my": "notes"})");
  prune(folder.path, {1, 0, std::nullopt});
  CHECK(left(folder.path) == std::vector<std::string>{"iter_3.json", "iter_4.npz"});
}

TEST_CASE("checkpoints: folders of files", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes();
  for (int i = 1; i <= 4; ++i) {
    const fs::path one = folder.path / fmt::format("checkpoint-{}", i * 100);
    fs::create_directory(one);
    write_text(one / "model.npz", bytes);
    write_text(one / "optimizer.pt", bytes);
    write_text(one / "trainer_state.json",
               fmt::format(R"({{"log_history": [{{"eval_loss": {}}}, {{"loss": 9}}]}})", i));
  }
  fs::create_directory(folder.path / "tmp-checkpoint-500");
  write_text(folder.path / "checkpoint-300" / "model.safetensors.index.json",
             R"({"weight_map": {"a": "model.npz", "b": "model-2.safetensors"}})");
  write_text(folder.path / "checkpoint-400" / "model.npz", bytes.substr(0, 60));
  const auto report = latest_checkpoint(folder.path);
  REQUIRE(report);
  REQUIRE(report->found);
  CHECK(report->found->path.filename() == "checkpoint-200");
  CHECK(report->found->metrics == Metrics{{"eval_loss", 2.0}});
  REQUIRE(report->skipped.size() == 2);
  CHECK(report->skipped[0].defect->member == "model.npz");
  CHECK(report->skipped[1].defect->member == "model-2.safetensors");
  prune(folder.path, {1, 0, std::nullopt});
  CHECK(left(folder.path) ==
        std::vector<std::string>{"checkpoint-200", "checkpoint-300", "checkpoint-400", "tmp-checkpoint-500"});
}

TEST_CASE("checkpoints: a pattern says which names count", "[run]") {
  const TemporaryFolder folder;
  for (const char* name : {"model_1.pth", "model_12.pth", "iter_99.npz"}) write_text(folder.path / name, npz_bytes());
  LatestOptions options;
  options.scan.pattern = "model_{step}.pth";
  CHECK(latest(folder.path, options) == "model_12.pth");
  options.scan.pattern = "model.pth";
  CHECK(latest_checkpoint(folder.path, options).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("checkpoints: a pipe is nothing to wait for", "[run]") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder.path / "iter_5.npz").c_str(), 0600) == 0);
  write_text(folder.path / "iter_1.npz", npz_bytes());
  CHECK(latest(folder.path) == "iter_1.npz");
}

TEST_CASE("checkpoints: ten thousand are listed within a second", "[run]") {
  const TemporaryFolder folder;
  const std::string bytes = npz_bytes(1, {{"loss", 0.5}});
  for (int i = 0; i < 10'000; ++i) write_text(folder.path / fmt::format("iter_{}.npz", i), bytes);
  write_text(folder.path / "iter_10000.npz", bytes.substr(0, 99));
  const auto start = std::chrono::steady_clock::now();
  CHECK(latest(folder.path) == "iter_9999.npz");
  const auto list = list_checkpoints(folder.path);
  REQUIRE(list);
  CHECK(list->size() == 10'001);
  CHECK(list->front().metrics.size() == 1);
  // An order of magnitude above what it takes, for a busy machine and for sanitizers.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

}  // namespace netcl::ckpt
