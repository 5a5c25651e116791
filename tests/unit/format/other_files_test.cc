// What is no checkpoint is named, and is never sound; an empty npz is one.
#include "format/other_files.h"

#include "archive.h"
#include "catch.h"
#include "format/peek.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

TEST_CASE("other_files: an archive without a checkpoint is named and not sound", "[format]") {
  const TemporaryFolder folder;
  struct Case {
    const char* name;
    std::vector<ArchivePart> parts;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"step_200.pt", {{"step_200/version", "3\n", {}}}, "cut short"},
      {"m.pt", {{"a/data/0", "abcd", {}}, {"a/version", "3\n", {}}, {"a/byteorder", "little", {}}}, "cut short"},
      {"m.pt", {}, "cut short"},
      {"p.pt", {{"p/.data/extern_modules", "os\n", {}}, {"p/m/model.pkl", "\x80\2N.", {}}}, "torch.package"},
      {"m.keras", {{"metadata.json", "{}", {}}, {"config.json", "{}", {}}}, "Keras"},
      {"m.npz", {{"[Content_Types].xml", "<a/>", {}}, {"word/document.xml", "<w/>", {}}}, "document"},
      {"m.zip", {{"data", "{}", {}}, {"policy.pth", "PK", {}}}, "policy.pth"},
      {"m.zip", {{"readme.txt", "hi", {}}, {"model.npz", "PK", {}}}, "(model.npz, readme.txt)"},
      {"m.zip", {{"a\x1b[31m/b", "hi", {}}}, "(a"},
  };
  for (const Case& c : cases) {
    INFO(c.name << " " << c.says);
    write_text(folder.path / c.name, zip_of(c.parts));
    const auto read = open_checkpoint(folder.path / c.name);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == ErrorCode::unsupported);
    CHECK(read.error().message.find(c.says) != std::string::npos);
    CHECK(read.error().message.find("corrupt") == std::string::npos);
    const auto report = verify(folder.path / c.name);
    REQUIRE(report);
    CHECK_FALSE(report->sound());
    CHECK_FALSE(peek_checkpoint(folder.path / c.name, {}));
  }
}

TEST_CASE("other_files: an npz of no array is sound, with a warning, and never the newest checkpoint", "[format]") {
  const TemporaryFolder folder;
  for (const auto& parts : {std::vector<ArchivePart>{}, std::vector<ArchivePart>{{"notes", "hi", {}}}}) {
    write_text(folder.path / "empty.npz", zip_of(parts));
    const auto report = verify(folder.path / "empty.npz");
    REQUIRE(report);
    CHECK(report->sound());
    REQUIRE_FALSE(report->problems.empty());
    CHECK(report->problems.back().code == ProblemCode::no_arrays);
    CHECK(report->problems.back().severity == Severity::warning);
    CHECK_FALSE(peek_checkpoint(folder.path / "empty.npz", {}));
  }
}

TEST_CASE("other_files: what convert wrote of a checkpoint without tensors is one", "[format]") {
  const TemporaryFolder folder;
  write_text(folder.path / "m.npz", zip_of({}, R"({"netcl-ckpt":1,"state":{"epoch":3}})"));
  const auto report = verify(folder.path / "m.npz");
  REQUIRE(report);
  CHECK(report->problems.empty());
  CHECK(peek_checkpoint(folder.path / "m.npz", {}));
}
