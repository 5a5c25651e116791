#include "netcl/ckpt/manager.h"
#include "netcl/ckpt/load.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <random>
#include <set>

#include "catch.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

namespace fs = std::filesystem;

/// A program of one array, whose values tell the step.
struct Program {
  std::vector<float> weight = std::vector<float>(64);

  void train_to(std::uint64_t step) { std::fill(weight.begin(), weight.end(), static_cast<float>(step)); }
  Value state() { return Value::dict({{"model", Value::dict({{"w", host_target(weight, {64})}})}}); }
  Result<MatchReport> load(const Checkpoint& checkpoint) {
    MatchOptions options;
    options.scope = "model";
    return load_parameters(checkpoint, std::vector<Parameter>{{"w", host_target(weight, {64})}}, options);
  }
};

std::string message_of(const auto& result) { return result ? "" : result.error().to_string(); }

CheckpointManager open(const fs::path& folder, ManagerOptions options = {}) {
  auto manager = CheckpointManager::open(folder, std::move(options));
  INFO(message_of(manager));
  REQUIRE(manager);
  return std::move(*manager);
}

bool save(CheckpointManager& manager, std::uint64_t step, std::uint64_t epoch = 0, const Metrics& metrics = {}) {
  Program p;
  p.train_to(step);
  const auto saved = manager.maybe_save(step, epoch, p.state(), metrics);
  INFO(message_of(saved));
  REQUIRE(saved);
  return *saved;
}

/// The step of what is restored, from the name and from the array; nothing where nothing is.
std::optional<std::uint64_t> restored(Result<std::optional<Restored>> found) {
  INFO(message_of(found));
  REQUIRE(found);
  if (!*found) return std::nullopt;
  Program p;
  REQUIRE(p.load((*found)->checkpoint));
  REQUIRE(p.weight.front() == static_cast<float>(*(*found)->info.step));
  REQUIRE(p.weight.back() == p.weight.front());
  return (*found)->info.step;
}

/// The steps in the folder, by their names.
std::set<std::uint64_t> steps_in(const fs::path& folder) {
  ScanOptions options;
  options.check = Check::none;
  const auto list = list_checkpoints(folder, options);
  REQUIRE(list);
  std::set<std::uint64_t> out;
  for (const CheckpointInfo& c : *list) out.insert(c.step.value());
  return out;
}

using Steps = std::set<std::uint64_t>;

}  // namespace

TEST_CASE("manager: saves when the policy says so", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 10;
  options.every_epochs = 2;
  {
    CheckpointManager manager = open(folder.path, options);
    CHECK_FALSE(restored(manager.restore_latest()));
    std::vector<std::uint64_t> saved;
    for (std::uint64_t step = 1; step <= 45; ++step) {
      if (save(manager, step, step / 12)) saved.push_back(step);
      CHECK_FALSE(save(manager, step, step / 12));  // not twice
    }
    CHECK(saved == std::vector<std::uint64_t>{10, 20, 24, 30, 40});
    manager.request_save();
    CHECK(save(manager, 46, 3));
    CHECK_FALSE(save(manager, 47, 3));
    Program p;
    p.train_to(50);
    REQUIRE(manager.save_final(50, 4, p.state(), {{"loss", 0.5}}));
    CHECK(restored(manager.restore_latest()) == 50);
  }
  CHECK(steps_in(folder.path) == Steps{10, 20, 24, 30, 40, 46, 50});
  CHECK(fs::file_size(folder.path / "iter_50.npz") < fs::file_size(folder.path / "iter_46.npz"));
  const auto list = list_checkpoints(folder.path);
  REQUIRE(list);
  CHECK(list->back().epoch == 4);
  CHECK(list->back().metrics == Metrics{{"loss", 0.5}});

  options = {};
  options.every_seconds = 0.001;
  CheckpointManager manager = open(folder.path, options);
  ::usleep(2000);
  CHECK(save(manager, 51));
}

TEST_CASE("manager: keeps what the rules say, what was restored, and what is not its own", "[run]") {
  const TemporaryFolder folder;
  for (const char* name : {"epoch_1.npz", "model.npz", "iter_x.npz"}) write_text(folder.path / name, "not mine");
  ManagerOptions options;
  options.every_steps = 1;
  options.retention.keep_last = 2;
  options.retention.keep_every = 10;
  options.retention.keep_best = BestBy{"loss", false};
  for (const bool async : {false, true}) {
    INFO(async);
    options.async = async;
    CheckpointManager manager = open(folder.path, options);
    manager.protect(3);
    for (std::uint64_t step = 1; step <= 25; ++step) save(manager, step, 0, {{"loss", step == 7 ? 0.1 : 1.0}});
    REQUIRE(manager.wait());
    fs::remove(folder.path / "epoch_1.npz");
    fs::remove(folder.path / "iter_x.npz");
    fs::remove(folder.path / "model.npz");
    CHECK(steps_in(folder.path) == Steps{3, 7, 10, 20, 24, 25});
    CHECK(restored(manager.restore_best()) == 7);
    CHECK(restored(manager.restore_latest()) == 25);
    for (std::uint64_t step = 26; step <= 29; ++step) save(manager, step, 0, {{"loss", 0.01}});
    REQUIRE(manager.wait());
    CHECK(steps_in(folder.path) == Steps{3, 7, 10, 20, 25, 28, 29});  // 7 and 25 were restored
    for (const std::uint64_t step : steps_in(folder.path)) {
      fs::remove(folder.path / ("iter_" + std::to_string(step) + ".npz"));
    }
  }
}

TEST_CASE("manager: only one at a time holds a directory, and a dead one holds nothing", "[run]") {
  const TemporaryFolder folder;
  std::optional<CheckpointManager> first(open(folder.path));
  const auto second = CheckpointManager::open(folder.path);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::invalid_argument);
  CHECK(second.error().message.find("another run") != std::string::npos);
  PruneOptions prune;
  prune.retention.keep_last = 1;
  CHECK(prune_checkpoints(folder.path, prune));
  prune.remove = true;
  CHECK_FALSE(prune_checkpoints(folder.path, prune));
  first.reset();
  CHECK(prune_checkpoints(folder.path, prune));

  const pid_t child = ::fork();
  if (child == 0) {
    auto held = CheckpointManager::open(folder.path);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  open(folder.path);
}

TEST_CASE("manager: a child after fork does not hold the directory, and its copy does nothing", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 1;
  options.async = true;
  for (int i = 0; i < 20; ++i) {  // at some moment of a save
    std::optional<CheckpointManager> manager(open(folder.path, options));
    save(*manager, static_cast<std::uint64_t>(i + 1));
    ::usleep(static_cast<useconds_t>(i * 50));
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      Program p;
      const bool refused = !manager->maybe_save(99, 0, p.state()) && !manager->wait() && !manager->restore_latest();
      manager->request_save();
      manager.reset();
      ::_exit(refused ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    REQUIRE(manager->wait());
    CHECK_FALSE(CheckpointManager::open(folder.path));  // still the parent's
  }
}

TEST_CASE("manager: what cannot be looked at is not \"none\"", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 1;
  options.retention.keep_last = 1;
  CheckpointManager manager = open(folder.path, options);
  save(manager, 2);
  write_text(folder.path / "iter_3.npz", read_text(folder.path / "iter_2.npz"));
  fs::permissions(folder.path / "iter_3.npz", fs::perms::none);
  fs::permissions(folder.path, fs::perms::all);
  const auto as_nobody = [&](auto check) {  // root may read everything
    const pid_t child = ::fork();
    if (child == 0) ::_exit((::geteuid() != 0 || (::setgid(65534) == 0 && ::setuid(65534) == 0)) && check() ? 0 : 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  const auto refused = [](const auto& result) { return !result && result.error().os_errno == EACCES; };
  CHECK(as_nobody([&] { return refused(latest_checkpoint(folder.path)); }));
  CHECK(as_nobody([&] {
    LatestOptions best;
    best.best = BestBy{"loss", false};
    return refused(latest_checkpoint(folder.path, best));
  }));
  CHECK(as_nobody([&] {
    PruneOptions prune;
    prune.retention.keep_last = 1;
    return refused(prune_checkpoints(folder.path, prune));
  }));
  const TemporaryFolder other;
  fs::permissions(other.path, fs::perms::all);
  fs::copy_file(folder.path / "iter_2.npz", other.path / "iter_2.npz");
  fs::permissions(other.path / "iter_2.npz", fs::perms::none);
  CHECK(as_nobody([&] {
    auto own = CheckpointManager::open(other.path, options);
    return own && refused(own->restore_latest());
  }));
  CHECK(as_nobody([&] {  // saved it is, and the error told; the older one stays
    auto own = CheckpointManager::open(other.path, options);
    Program p;
    const auto saved = own->maybe_save(3, 0, p.state());
    return refused(saved) && fs::exists(other.path / "iter_3.npz");
  }));
  CHECK(steps_in(other.path) == Steps{2, 3});
  for (const char* name : {"iter_2.npz", "iter_3.npz"}) fs::remove(folder.path / name);
  // One that is of no format that is read here, or over a limit, is no reason to begin anew.
  write_text(folder.path / "iter_1.npz", "some other program's file");
  const auto unknown = manager.restore_latest();
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().file == (folder.path / "iter_1.npz").string());
  write_text(folder.path / "iter_1.npz", "PK\3\4");
  CHECK_FALSE(restored(manager.restore_latest()));
}

TEST_CASE("manager: an error is told once, and the save stays due", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 10;
  for (const bool async : {false, true}) {
    INFO(async);
    options.async = async;
    const fs::path runs = folder.path / (async ? "async" : "sync");
    CheckpointManager manager = open(runs, options);
    save(manager, 10);
    REQUIRE(manager.wait());
    struct rlimit old;
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    struct rlimit none = old;
    none.rlim_cur = 100;  // as a full disk: what is written beyond it is refused
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
    Program p;
    p.train_to(20);
    auto saved = manager.maybe_save(20, 0, p.state(), {});
    if (async) {
      CHECK(saved);
      saved = manager.maybe_save(21, 0, p.state(), {});  // not due, so the error is not yet met
      CHECK(saved);
      const auto waited = manager.wait();
      CHECK_FALSE(waited);
      CHECK(waited.error().code == ErrorCode::io);
      CHECK(manager.wait());
    } else {
      REQUIRE_FALSE(saved);
      CHECK(saved.error().code == ErrorCode::io);
    }
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    ::signal(SIGXFSZ, handler);
    CHECK(steps_in(runs) == Steps{10});
    CHECK(save(manager, 22));  // due since 20
    REQUIRE(manager.wait());
    CHECK(restored(manager.restore_latest()) == 22);
  }
  const auto no_dict = open(folder.path / "c", options).maybe_save(10, 0, Value(3), {});
  REQUIRE_FALSE(no_dict);
  CHECK(no_dict.error().code == ErrorCode::invalid_argument);
}

TEST_CASE("manager: refuses what cannot work", "[run]") {
  const TemporaryFolder folder;
  for (const char* pattern : {"", "iter.npz", "{step}", "{step}.ckpt", "a/{step}.npz", ".{step}.npz",
                              "{step}{epoch}.npz", "{step}{step}.npz", "{step}0.npz"}) {
    INFO(pattern);
    ManagerOptions options;
    options.pattern = pattern;
    const auto manager = CheckpointManager::open(folder.path, options);
    REQUIRE_FALSE(manager);
    CHECK(manager.error().code == ErrorCode::invalid_argument);
  }
  auto manager = open(folder.path);
  CheckpointManager heir(std::move(manager));
  Program p;
  CHECK_FALSE(manager.maybe_save(1, 0, p.state()));
  CHECK_FALSE(manager.wait());
  manager.request_save();
  manager.protect(1);
  CHECK_FALSE(heir.restore_best());
  write_text(folder.path / "file", "");
  CHECK_FALSE(CheckpointManager::open(folder.path / "file"));
  if (::geteuid() != 0) {  // root writes everywhere
    fs::create_directory(folder.path / "locked");
    fs::permissions(folder.path / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    const auto locked = CheckpointManager::open(folder.path / "locked");
    REQUIRE_FALSE(locked);
    CHECK(locked.error().code == ErrorCode::io);
  }
}

TEST_CASE("manager: the index is a cache", "[run]") {
  const TemporaryFolder folder;
  ManagerOptions options;
  options.every_steps = 1;
  options.retention.keep_best = BestBy{"loss", false};
  const fs::path index = folder.path / "index.json";
  std::string good;
  {
    CheckpointManager manager = open(folder.path, options);
    for (std::uint64_t step = 1; step <= 3; ++step) save(manager, step, 0, {{"loss", static_cast<double>(step)}});
    good = read_text(index);
    CHECK(good.find("\"name\": \"iter_1.npz\"") != std::string::npos);
    CHECK(good.find("\"metrics\": {\"loss\": 1}") != std::string::npos);
  }
  // Torn or wrong: made anew. That the best is still known shows that the files were looked at.
  std::string lie = good;
  lie.replace(lie.find("\"loss\": 1}"), 10, "\"loss\": 9}");
  for (std::size_t i = 0; i < good.size(); i += 7) {
    const bool ours = i >= std::string_view("{\"schema\": \"netcl-ckpt.index/1\",").size();
    if (!ours && i > 0) continue;  // not ours any more: below
    i == 0 ? void(fs::remove(index)) : write_text(index, good.substr(0, i));
    CheckpointManager manager = open(folder.path, options);
    save(manager, 4, 0, {{"loss", 4.0}});
    REQUIRE(steps_in(folder.path) == Steps{1, 4});
    REQUIRE(read_text(index).find("\"name\": \"iter_4.npz\"") != std::string::npos);
    fs::remove(folder.path / "iter_4.npz");
  }
  // Of a file that has changed since, it is not believed.
  write_text(index, lie);
  fs::last_write_time(folder.path / "iter_1.npz", fs::file_time_type::clock::now());
  {
    CheckpointManager manager = open(folder.path, options);
    save(manager, 5, 0, {{"loss", 5.0}});
    CHECK(steps_in(folder.path) == Steps{1, 5});
  }
  // Nor of one that was replaced and given back its time: the metric of the new one counts.
  {
    const fs::path first = folder.path / "iter_1.npz";
    const auto time = fs::last_write_time(first);
    const auto size = fs::file_size(first);
    const TemporaryFolder other;
    CheckpointManager elsewhere = open(other.path, options);
    save(elsewhere, 1, 0, {{"loss", 9.0}});
    for (const bool in_place : {true, false}) {
      if (!in_place) fs::remove(first);
      write_text(first, read_text(other.path / "iter_1.npz"));
      REQUIRE(fs::file_size(first) == size);
      fs::last_write_time(first, time);
      CheckpointManager manager = open(folder.path, options);
      save(manager, 6, 0, {{"loss", 6.0}});
      CHECK(steps_in(folder.path) == Steps{5, 6});
      fs::remove(folder.path / "iter_6.npz");
    }
  }
  // Somebody else's file of this name stays, and the save is there all the same.
  write_text(index, "{\"mine\": 1}");
  CheckpointManager manager = open(folder.path, options);
  Program p;
  p.train_to(6);
  const auto saved = manager.maybe_save(6, 0, p.state(), {{"loss", 6.0}});
  REQUIRE_FALSE(saved);
  CHECK(saved.error().message.find("not the index") != std::string::npos);
  CHECK(read_text(index) == "{\"mine\": 1}");
  CHECK(steps_in(folder.path) == Steps{5, 6});
}

// Random runs beside a model of what must remain: all that was saved, less what the rules let go. A file is
// damaged, cut or replaced now and then, the process "dies" and begins again, a stranger prunes.
TEST_CASE("manager: nothing valid that the policy keeps is ever lost", "[run]") {
  struct Saved {
    double loss = 0;
    bool whole = true;
  };
  constexpr int kRuns = 2000, kEvents = 16;
  const char* const memory = "/dev/shm";  // thousands of saves, none of which has to outlive a power cut
  const TemporaryFolder folder(::access(memory, W_OK) == 0 ? fs::path(memory) : fs::temp_directory_path());
  std::mt19937 random(20261124);
  const auto below = [&](std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random); };
  std::uint64_t saves = 0, restores = 0;
  for (int run = 0; run < kRuns; ++run) {
    const fs::path runs = folder.path / std::to_string(run);
    ManagerOptions options;
    options.every_steps = 1;
    options.async = below(2) == 0;
    options.retention.keep_last = below(4);
    options.retention.keep_every = below(2) * (2 + below(4));
    if (below(2) == 0) options.retention.keep_best = BestBy{"loss", false};
    const Retention& rules = options.retention;
    std::map<std::uint64_t, Saved> model;  // what the files would be if nothing were ever removed
    std::set<std::uint64_t> safe;          // protected or restored in this life
    std::uint64_t step = 0;
    std::string history;
    std::optional<CheckpointManager> manager(open(runs, options));

    const auto newest_whole = [&]() -> std::optional<std::uint64_t> {
      for (auto it = model.rbegin(); it != model.rend(); ++it) {
        if (it->second.whole) return it->first;
      }
      return std::nullopt;
    };
    /// Those that a rule keeps when a save or a prune has just been made.
    const auto kept = [&] {
      Steps out = safe;
      std::size_t last = 0;
      std::optional<std::uint64_t> best;
      for (auto it = model.rbegin(); it != model.rend(); ++it) {
        if (!it->second.whole) continue;
        if (last++ < std::max<std::size_t>(rules.keep_last, 1)) out.insert(it->first);
        if (rules.keep_every > 0 && it->first % rules.keep_every == 0) out.insert(it->first);
        if (rules.keep_best && (!best || it->second.loss < model[*best].loss)) best = it->first;
      }
      if (best) out.insert(*best);
      return out;
    };
    /// The rules were applied: what they do not keep is gone, from the model too; what they keep must be there.
    const auto check_pruned = [&](bool has_rules) {
      const Steps there = steps_in(runs), wanted = kept();
      for (auto it = model.begin(); it != model.end();) {
        const bool must_stay = it->second.whole && (!has_rules || wanted.contains(it->first));
        INFO("run " << run << " after" << history << ": step " << it->first);
        if (must_stay) REQUIRE(there.contains(it->first));
        if (it->second.whole && has_rules && !must_stay) REQUIRE_FALSE(there.contains(it->first));
        it = there.contains(it->first) ? std::next(it) : model.erase(it);
      }
    };
    const bool has_rules = rules.keep_last > 0 || rules.keep_every > 0 || rules.keep_best;

    for (int event = 0; event < kEvents; ++event) {
      switch (below(8)) {
        case 0:
        case 1:
        case 2:
        case 3: {
          ++step;
          const double loss = static_cast<double>(below(100));
          history += " save " + std::to_string(step);
          REQUIRE(save(*manager, step, 0, {{"loss", loss}}));
          REQUIRE(manager->wait());
          model[step] = {loss, true};
          check_pruned(has_rules);
          ++saves;
          break;
        }
        case 4: {  // killed, and begun again: perhaps with another's half file in the folder
          history += " restart";
          manager.reset();
          safe.clear();
          manager.emplace(open(runs, options));
          break;
        }
        case 5: {  // bit-rot, or a copy that was cut short
          if (model.empty()) break;
          const auto it = std::next(model.begin(), static_cast<std::ptrdiff_t>(below(model.size())));
          const fs::path path = runs / ("iter_" + std::to_string(it->first) + ".npz");
          const std::string bytes = read_text(path);
          history += " cut " + std::to_string(it->first);
          write_text(path, bytes.substr(0, below(bytes.size())));
          it->second.whole = false;
          break;
        }
        case 6: {
          history += " restore";
          const auto found = restored(manager->restore_latest());
          INFO("run " << run << " after" << history);
          REQUIRE(found == newest_whole());
          if (found) {
            safe.insert(*found);
            step = *found;  // the run goes on from there, and writes what is newer again
          }
          ++restores;
          break;
        }
        default: {
          if (model.empty()) break;
          const auto it = std::next(model.begin(), static_cast<std::ptrdiff_t>(below(model.size())));
          history += " protect " + std::to_string(it->first);
          manager->protect(it->first);
          if (it->second.whole) safe.insert(it->first);
        }
      }
    }
    INFO("run " << run << " after" << history);
    REQUIRE(restored(manager->restore_latest()) == newest_whole());
    manager.reset();
    fs::remove_all(runs);
  }
  CHECK(saves > 12000);
  CHECK(restores > 3000);
}

}  // namespace netcl::ckpt
