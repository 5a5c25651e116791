// torch's tar of before 0.1.11, written here as it is laid out, and tars that are none.
#include "tar.h"

#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

std::string pickle(const std::string& opcodes) { return "\x80\x02" + opcodes + "."; }
std::string text(const std::string& t) { return "X" + le(static_cast<std::uint32_t>(t.size())) + t; }
std::string number(std::int32_t n) { return "J" + le(n); }
std::string persistent(const std::string& key) { return text(key) + "Q"; }

/// (key, location, type), the number of elements and these.
std::string storage(std::int32_t key, const std::string& type, std::uint64_t count, const std::string& elements) {
  return pickle(number(key) + text("cpu") + "ctorch\n" + type + "\n\x87") + le(count) + elements;
}

std::string tensor(std::int32_t key, const std::string& storage_key, const std::vector<std::int64_t>& shape,
                   const std::vector<std::int64_t>& strides, std::int64_t offset) {
  std::string out = pickle(number(key) + storage_key + "ctorch\nFloatTensor\n\x87");
  out += le(static_cast<std::int32_t>(shape.size())) + "junk";
  for (const auto& numbers : {shape, strides, {offset}}) {
    for (const std::int64_t n : numbers) out += le(n);
  }
  return out;
}

std::string floats(std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += le(static_cast<float>(i));
  return out;
}

struct TorchTar {
  std::string object = "}(" + text("w") + persistent("20") + text("t") + persistent("21") + "u";
  std::vector<std::string> storages = {storage(10, "FloatStorage", 6, floats(6))};
  std::vector<std::string> tensors = {tensor(20, number(10), {2, 3}, {3, 1}, 0), tensor(21, number(10), {2}, {3}, 1)};
  std::string views = "]";
  std::string more;

  std::string bytes() const {
    std::string s = pickle(number(static_cast<std::int32_t>(storages.size())));
    for (const std::string& part : storages) s += part;
    std::string t = pickle(number(static_cast<std::int32_t>(tensors.size())));
    for (const std::string& part : tensors) t += part;
    return tar_member("sys_info", pickle("}")) + tar_member("pickle", pickle(object)) + tar_member("tensors", t) +
           tar_member("storages", s + pickle(views)) + more + kTarEnd;
  }
};

Result<Checkpoint> read(const std::string& bytes, bool thorough = false) {
  OpenOptions options;
  options.thorough = thorough;
  return open_checkpoint(source_of(bytes), "m.pth.tar", options);
}

std::string state_of(const std::string& bytes) {
  const auto c = read(bytes);
  return c ? dump(c->tree, c->root) : to_string(c.error().code) + ": "s + c.error().message;
}

std::string problems_of(const std::string& bytes) {
  const auto c = read(bytes, true);
  if (!c) return to_string(c.error().code);
  std::string out;
  for (const Problem& p : c->problems) out += to_string(p.code) + (p.where.empty() ? "" : " " + p.where) + ";";
  return out;
}

/// What says why the tensor `name` cannot be read.
std::string why(const std::string& bytes, const std::string& name) {
  const auto c = read(bytes);
  REQUIRE(c);
  const auto* entry = c->tree.find(c->root, name);
  REQUIRE(entry != nullptr);
  return c->tree.tensor(entry->value).why_unreadable;
}

}  // namespace

TEST_CASE("tar: torch's tar is read, and what shares a storage goes on sharing it", "[format]") {
  const TorchTar tar;
  const auto c = read(tar.bytes());
  REQUIRE(c);
  CHECK(c->format == Format::torch_legacy);
  CHECK(c->problems.empty());
  const auto tensors = list_tensors(*c);
  REQUIRE(tensors);
  REQUIRE(tensors->size() == 2);
  const Tensor& w = c->tree.tensor((*tensors)[0].value);
  const Tensor& t = c->tree.tensor((*tensors)[1].value);
  CHECK(w.storage == t.storage);
  const std::string all = floats(6);
  const auto bytes = std::as_bytes(std::span(all));
  CHECK(elements_of(w) == std::vector<std::byte>(bytes.begin(), bytes.end()));
  const std::string some = le(1.0F) + le(4.0F);
  const auto some_bytes = std::as_bytes(std::span(some));
  CHECK(elements_of(t) == std::vector<std::byte>(some_bytes.begin(), some_bytes.end()));

  // One id under many names is one object: 64 sizes are kept once.
  TorchTar shared;
  shared.tensors[0] = tensor(20, number(10), std::vector<std::int64_t>(64, 1), std::vector<std::int64_t>(64, 1), 0);
  shared.object = "](" + persistent("20") + persistent("20") + "e";
  const auto twice = read(shared.bytes());
  REQUIRE(twice);
  const auto ids = list_tensors(*twice);
  REQUIRE(ids);
  REQUIRE(ids->size() == 2);
  CHECK((*ids)[0].value == (*ids)[1].value);

  // As tarfile writes it of a file whose time has a fraction.
  CHECK(state_of(tar_member("././@PaxHeader", "18 mtime=1.500000\n", 'x') + tar.bytes()) == state_of(tar.bytes()));
}

TEST_CASE("tar: a part of a storage, a storage by itself, a class and what is empty", "[format]") {
  TorchTar tar;
  tar.views = "](" + number(11) + number(10) + number(2) + number(3) + "ta";
  tar.tensors.push_back(tensor(22, number(11), {2}, {1}, 1));
  tar.tensors.push_back(tensor(23, number(10), {}, {}, 2));
  tar.storages.push_back(storage(12, "LongStorage", 0, ""));
  tar.tensors.push_back(tensor(24, number(12), {}, {}, 0));
  tar.object = "}(" + text("view") + persistent("22") + text("one") + persistent("23") + text("none") +
               persistent("24") + text("part") + persistent("11") + text("class") +
               "(ctorch.nn.modules.linear\nLinear\nNNtQ" + text("p") + "ctorch.nn.parameter\nParameter\n" +
               persistent("22") + "\x85R(\x88\x89}tbu";
  const auto c = read(tar.bytes());
  REQUIRE(c);
  CHECK(c->problems.empty());
  CHECK(dump(c->tree, c->root) ==
        "{'view': <tensor float32 (2) 0000404000008040>, 'one': <tensor float32 () 00000040>, "
        "'none': <tensor int64 (0) >, 'part': <tensor float32 (3) 000000400000404000008040>, "
        "'class': name torch.nn.modules.linear.Linear, 'p': <tensor float32 (2) 0000404000008040>}");
}

TEST_CASE("tar: globals of all its pickles are named, and nothing hides them", "[format][hostile]") {
  const std::string call = "cos\nsystem\n" + text("ls") + "\x85R";
  const auto named = [](const std::string& bytes) {
    const auto c = read(bytes, true);
    std::string out;
    if (!c) return c.error().message;
    for (const Problem& p : c->problems) {
      if (p.severity == Severity::unsafe) out += p.where + ": " + p.global + ";";
    }
    return out;
  };
  TorchTar tar;
  tar.object = call;
  CHECK(named(tar.bytes()) == "pickle: os.system;");
  tar = {};
  tar.views = call;
  CHECK(named(tar.bytes()) == "storages: os.system;");
  tar = {};
  tar.tensors[0] = pickle(call) + tar.tensors[0];
  CHECK(named(tar.bytes()) == "tensors: os.system;");
  tar = {};
  tar.more = tar_member("sys_info", pickle(call));
  CHECK(named(tar.bytes()) == "sys_info: os.system;");
  tar.more = tar_member("notes", pickle(call));
  CHECK(named(tar.bytes()) == "notes: os.system;");
  tar.more = tar_member("notes", "cos\nsystem\n(S'ls'\ntR.");
  CHECK(named(tar.bytes()) == "notes: os.system;");
  // What tarfile does not take, and an archive that is cut off behind it.
  tar = {};
  CHECK(named(tar_member("pickle", pickle(call)) + tar.bytes()) == "pickle: os.system;");
  tar.object = call;
  const std::string whole = tar.bytes();
  CHECK(named(whole.substr(0, whole.size() - 1600)).find("os.system") != std::string::npos);
  tar.object = call.substr(0, 11) + "\xff";
  CHECK(named(tar.bytes()).find("os.system") != std::string::npos);
}

TEST_CASE("tar: one tensor that cannot be read hides no other", "[format][hostile]") {
  TorchTar tar;
  const auto reason = [&](const std::string& described) {
    TorchTar spoilt = tar;
    spoilt.tensors[1] = described;
    CHECK(why(spoilt.bytes(), "w").empty());
    return why(spoilt.bytes(), "t");
  };
  CHECK(reason(tensor(21, number(10), {2}, {3}, 1)).empty());
  CHECK(reason(tensor(21, number(10), {3}, {3}, 0)).find("beyond its storage") != std::string::npos);
  CHECK(reason(tensor(21, number(10), {2}, {3}, 3)).find("beyond its storage") != std::string::npos);
  CHECK(reason(tensor(21, number(10), {-1}, {1}, 0)).find("impossible size") != std::string::npos);
  CHECK(reason(tensor(21, number(10), {1LL << 62, 1LL << 62}, {0, 0}, 0)).find("more elements") != std::string::npos);
  CHECK(reason(tensor(21, number(10), {1LL << 40}, {0}, 0)).find("repeats its storage") != std::string::npos);
  CHECK(reason(tensor(21, number(10), {1}, {1}, -1)).find("beyond its storage") != std::string::npos);
  CHECK(reason(tensor(21, number(9), {2}, {3}, 1)).find("not in the archive") != std::string::npos);
  CHECK(reason(tensor(21, "N", {2}, {3}, 1)).find("no storage") != std::string::npos);
  CHECK(reason(tensor(99, number(10), {2}, {3}, 1)).find("not in the archive") != std::string::npos);

  TorchTar odd;
  odd.tensors[1] = tensor(21, number(10), std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1), 0);
  CHECK(problems_of(odd.bytes()).find("corrupt tensors;") == 0);
  odd = {};
  odd.storages.push_back(storage(11, "FloatStorage", 1ULL << 62, ""));
  CHECK(problems_of(odd.bytes()) == "corrupt storages;");
  odd = {};
  odd.storages.push_back(storage(11, "StrangeStorage", 0, ""));
  CHECK(problems_of(odd.bytes()).find("corrupt storages;") != std::string::npos);
  odd = {};
  odd.views = "](" + number(11) + number(10) + number(2) + number(5) + "ta";
  CHECK(problems_of(odd.bytes()) == "corrupt storages;");
  odd.views = "](" + number(11) + number(77) + number(0) + number(0) + "ta";
  CHECK(problems_of(odd.bytes()) == "corrupt storages;");
  odd.views = "].more";
  CHECK(problems_of(odd.bytes()) == "trailing-bytes storages;");
  odd = {};
  odd.more = tar_member("readme", "hi");
  CHECK(problems_of(odd.bytes()) == "foreign-member readme;");
  odd.more = tar_member("pickle", pickle("N"));
  CHECK(problems_of(odd.bytes()) == "duplicate-name pickle;");

  // Cut anywhere it is an error or a list, and any bit that changes.
  const std::string whole = TorchTar().bytes();
  for (std::size_t n = 0; n < whole.size(); n += 37) static_cast<void>(read(whole.substr(0, n), true));
  for (std::size_t i = 0; i < whole.size(); i += 3) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x41);
    static_cast<void>(read(changed, true));
  }
}

TEST_CASE("tar: any other tar is named, with what it holds", "[format]") {
  CHECK(state_of(tar_of({{"config.json", "{}"}, {"weights.pt", "PK"}})) ==
        "unsupported: a tar archive; it holds weights.pt, config.json; extract it first");
  CHECK(state_of(tar_of({{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}})) ==
        "unsupported: a tar archive; it holds a, b, c, d and 1 more; extract it first");
  CHECK(state_of(tar_member("d/", "", '5') + kTarEnd) == "unsupported: a tar archive; it holds no file");
  CHECK(state_of(tar_of({{"weights.pt", "PK"}}).substr(0, 1024) + "cut") ==
        "unsupported: a tar archive; it holds weights.pt; extract it first");

  const TemporaryFolder folder;
  write_text(folder.path / "torch.tar", TorchTar().bytes());
  write_text(folder.path / "other.tar", tar_of({{"weights.pt", "PK"}}));
  CHECK(looks_like_checkpoint(folder.path / "torch.tar"));
  CHECK_FALSE(looks_like_checkpoint(folder.path / "other.tar"));
}
