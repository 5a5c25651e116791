// Archives with pickles where nobody looks: what they call is named by whoever reads the archive.
#include "format/pickle_search.h"

#include "archive.h"
#include "catch.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

const std::string kCall = "\x80\x02"s + "cos\nsystem\nX\x02\0\0\0ls\x85R."s;
const std::string kTextCall = "cos\nsystem\n(S'ls'\ntR.";
const std::string kPlain = "\x80\x02}q\0X\1\0\0\0aK\1s."s;

std::string npy_of_a_byte() {
  std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }";
  header.resize(117, ' ');
  return "\x93NUMPY\x01" + "\0\x76\0"s + header + "\nx";
}

/// "WHERE: GLOBAL" for each that verify names.
std::vector<std::string> named(const std::string& file, bool sound) {
  const TemporaryFolder folder;
  write_text(folder.path / "m.pt", file);
  const auto report = verify(folder.path / "m.pt");
  REQUIRE(report);
  CHECK(report->sound() == sound);
  std::vector<std::string> out;
  for (const Problem& p : report->problems) {
    if (!p.global.empty()) out.push_back(p.where + ": " + p.global);
  }
  return out;
}

}  // namespace

TEST_CASE("pickle_search: a pickle is found under any name, in npz and in torch files", "[format][hostile]") {
  for (const auto& archive : {std::vector<ArchivePart>{{"w.npy", npy_of_a_byte(), {}}},
                              std::vector<ArchivePart>{{"a/data.pkl", kPlain, {}}, {"a/version", "3\n", {}}}}) {
    struct Case {
      std::string name, data;
      std::optional<std::uint32_t> crc32;
    };
    for (const Case& c : std::vector<Case>{{"a/config.p", kCall, {}},
                                           {"notes.txt", kCall, {}},
                                           {"a/data/0", kCall, {}},
                                           {"license", kTextCall, {}},
                                           {"wrong", kCall, 5},
                                           {"second", kPlain + kTextCall, {}},
                                           {"cut", kCall.substr(0, kCall.size() - 1), {}},
                                           {"bad", kCall.substr(0, kCall.size() - 1) + "\xff", {}}}) {
      INFO(archive[0].name << " " << c.name);
      auto members = archive;
      members.push_back({c.name, c.data, c.crc32});
      CHECK(named(zip_of(members), false) == std::vector{c.name + ": os.system"});
    }
    for (const std::string& text : {"(c) the authors\n"s, "cos,sin\n1.0,0.0\n"s, "[1, 2]"s, "x"s, ""s, kPlain}) {
      auto members = archive;
      members.push_back({"text", text, {}});
      CHECK(named(zip_of(members), true).empty());
    }
  }
}

TEST_CASE("pickle_search: a call is named whatever else is wrong with the file", "[format][hostile]") {
  const ArchivePart version{"a/version", "3\n", {}};
  CHECK(named(zip_of({{"a/data.pkl", kCall, 0}, version}), false) == std::vector{"a/data.pkl: os.system"s});
  CHECK(named(zip_of({{"a/data.pkl", kCall, 77}, version}), false) == std::vector{"a/data.pkl: os.system"s});
  CHECK(named(zip_of({{"a/data.pkl", kCall, {}}, {"a/byteorder", "middle", {}}}), false) ==
        std::vector{"a/data.pkl: os.system"s});
  CHECK(named(zip_of({{"w.npy", kCall, {}}}), false) == std::vector{"w.npy: os.system"s});
  CHECK(named(zip_of({{"pkg/.data/extern_modules", "os\n", {}}, {"pkg/m/model.pkl", kCall, {}}}), false) ==
        std::vector{"pkg/m/model.pkl: os.system"s});
}

TEST_CASE("pickle_search: who asks for no problems is told in the error", "[format][hostile]") {
  const TemporaryFolder folder;
  write_text(folder.path / "m.pt", zip_of({{"a/data.pkl", kCall.substr(0, kCall.size() - 1), {}}}));
  const auto read = open_checkpoint(folder.path / "m.pt");
  REQUIRE_FALSE(read);
  CHECK(read.error().message.find("os.system") != std::string::npos);
}

TEST_CASE("pickle_search: members that share their bytes do not multiply the work", "[format][hostile]") {
  // A thousand directory entries of one pickle that fills a MiB with empty tuples.
  std::string pickle = "\x80\x02";
  while (pickle.size() < (1U << 20)) pickle += ")0";
  ZipEntry e;
  e.name = "p";
  e.size_bytes = e.stored_bytes = pickle.size();
  e.crc32 = crc32(0, std::as_bytes(std::span(pickle)));
  place_zip_data(e, 1);
  const std::string data = zip_local_header(e) + pickle;
  const std::string file = data + zip_central_directory(std::vector<ZipEntry>(1000, e), data.size(), "");
  const TemporaryFolder folder;
  write_text(folder.path / "m.npz", file);
  const auto read = open_checkpoint(folder.path / "m.npz", {.thorough = true});
  REQUIRE(read);
  CHECK(std::any_of(read->problems.begin(), read->problems.end(),
                    [](const Problem& p) { return p.code == ProblemCode::limit_exceeded; }));
}
