// joblib before 0.10: a pickle whose arrays lie in files beside it.
#include <fmt/format.h>
#include <sys/stat.h>
#include <zlib.h>

#include "bytes.h"
#include "catch.h"
#include "netcl/ckpt/verify.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

std::string text(const std::string& t) { return "X" + le(static_cast<std::uint32_t>(t.size())) + t; }

std::string wrapper(const std::string& file) {
  return "cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}(" + text("filename") + text(file) + text("subclass") +
         "cnumpy\nndarray\nub";
}

std::string zwrapper(const std::string& file, const std::string& shape, const std::string& type = "f4") {
  const std::string dtype = "cnumpy\ndtype\n" + text(type) + "K\0K\1\x87R("s + "K\3"s + text("<") + "NNNJ" +
                            le(std::int32_t{-1}) + "J" + le(std::int32_t{-1}) + "K\0tb"s;
  return "cjoblib.numpy_pickle\nZNDArrayWrapper\n)\x81}(" + text("filename") + text(file) + text("init_args") +
         "cnumpy\nndarray\nK\0\x85"s + text("b") + "\x87" + text("state") + "(K\1" + shape + dtype + "\x89tub";
}

std::string pickle(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out = "\x80\x02}(";
  for (const auto& [name, value] : values) out += text(name) + value;
  return out + "u.";
}

std::string npy(const std::string& elements) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  header.resize(117, ' ');
  return "\x93NUMPY\x01" + "\0\x76\0"s + header + "\n" + elements;
}

std::string zfile(const std::string& bytes) {
  std::string packed(compressBound(bytes.size()), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  std::string length = fmt::format("0x{:x}", bytes.size());
  length.resize(19, ' ');
  return "ZF" + length + packed.substr(0, size);
}

const std::string kTwo = le(1.5F) + le(2.5F);

struct Listed {
  std::string name;
  std::string why;
  std::vector<std::byte> bytes;
};

std::vector<Listed> list(const Checkpoint& c) {
  std::vector<Listed> out;
  const auto tensors = list_tensors(c);
  REQUIRE(tensors);
  for (const NamedTensor& t : *tensors) {
    const Tensor& tensor = c.tree.tensor(t.value);
    out.push_back({t.name, tensor.why_unreadable, {}});
    if (tensor.storage) out.back().bytes = elements_of(tensor);
  }
  return out;
}

std::vector<std::byte> bytes_of(const std::string& s) {
  const auto span = std::as_bytes(std::span(s));
  return {span.begin(), span.end()};
}

}  // namespace

TEST_CASE("joblib_files: arrays beside the pickle are read, plain and compressed", "[format]") {
  const TemporaryFolder folder;
  const auto path = folder.path / "m.pkl";
  const std::string whole = pickle({{"a", wrapper("m.pkl_01.npy")},
                                    {"z", zwrapper("m.pkl_02.npy.z", "K\2\x85")},
                                    {"again", wrapper("m.pkl_01.npy")}});
  write_text(path, whole);
  write_text(folder.path / "m.pkl_01.npy", npy(kTwo));
  write_text(folder.path / "m.pkl_02.npy.z", zfile(kTwo));
  const auto c = open_checkpoint(path);
  REQUIRE(c);
  CHECK(c->problems.empty());
  const auto tensors = list(*c);
  REQUIRE(tensors.size() == 3);
  for (const Listed& t : tensors) CHECK(t.bytes == bytes_of(kTwo));
  CHECK(c->file_bytes == whole.size() + npy(kTwo).size() + zfile(kTwo).size());
  const auto report = verify(path);
  REQUIRE(report);
  CHECK(report->sound());

  // The pickle itself is packed where its arrays are.
  write_text(path, zfile(whole));
  const auto packed = open_checkpoint(path);
  REQUIRE(packed);
  for (const Listed& t : list(*packed)) CHECK(t.bytes == bytes_of(kTwo));
}

TEST_CASE("joblib_files: a file that is not there, or elsewhere, is one tensor's reason", "[format][hostile]") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "in" / "sub");
  const auto inside = folder.path / "in";
  write_text(folder.path / "secret.npy", npy(kTwo));
  write_text(inside / "sub" / "secret.npy", npy(kTwo));
  write_text(inside / "right.npy", npy(kTwo));
  write_text(inside / "no.npy", "no array");
  write_text(inside / "short.npy", npy(kTwo).substr(0, 130));
  write_text(inside / "plain.z", kTwo);
  write_text(inside / "short.z", zfile(kTwo).substr(0, 26));
  write_text(inside / "more.z", zfile(kTwo + kTwo));
  write_text(inside / "less.z", zfile(kTwo.substr(4)));
  std::filesystem::create_symlink(folder.path / "secret.npy", inside / "link.npy");
  REQUIRE(::mkfifo((inside / "pipe.npy").c_str(), 0600) == 0);
  const auto why = [&](const std::string& value) {
    write_text(inside / "m.pkl", pickle({{"right", wrapper("right.npy")}, {"odd", value}}));
    const auto c = open_checkpoint(inside / "m.pkl");
    REQUIRE(c);
    const auto tensors = list(*c);
    REQUIRE(tensors.size() == 2);
    CHECK(tensors[0].bytes == bytes_of(kTwo));
    return tensors[1].why;
  };
  CHECK(why(wrapper("m.pkl_09.npy")) == "joblib wrote it to m.pkl_09.npy beside this file: there is no such file");
  for (const std::string& name : {"../secret.npy"s, (folder.path / "secret.npy").string(), "sub/secret.npy"s, ".."s,
                                  "."s, ""s, "right.npy\0"s, "./right.npy"s})
    CHECK(why(wrapper(name)).find("no name of a file in the same folder") != std::string::npos);
  CHECK(why(wrapper("link.npy")).find("a link") != std::string::npos);
  CHECK(why(wrapper("pipe.npy")).find("no regular file") != std::string::npos);
  CHECK(why(wrapper("sub")).find("no regular file") != std::string::npos);
  CHECK_FALSE(why(wrapper("no.npy")).empty());
  CHECK_FALSE(why(wrapper("short.npy")).empty());
  CHECK_FALSE(why(zwrapper("plain.z", "K\2\x85")).empty());
  CHECK(why(zwrapper("more.z", "J" + le(std::int32_t{1} << 30) + "\x85")).find("cannot be packed") !=
        std::string::npos);
  // Not before it is read can be known what a stream unpacks to.
  for (const char* name : {"short.z", "more.z", "less.z"}) {
    INFO(name);
    write_text(inside / "m.pkl", pickle({{"odd", zwrapper(name, "K\2\x85")}}));
    const auto c = open_checkpoint(inside / "m.pkl");
    REQUIRE(c);
    const auto tensors = list_tensors(*c);
    auto reader = TensorReader::open(c->tree.tensor((*tensors)[0].value));
    REQUIRE(reader);
    std::vector<std::byte> out(kTwo.size());
    CHECK_FALSE(reader->read(out));
    const auto report = verify(inside / "m.pkl");
    REQUIRE(report);
    CHECK_FALSE(report->sound());
  }
  // What is in memory, or came through a pipe, has no folder.
  const std::string whole = pickle({{"right", wrapper("right.npy")}});
  const auto c = open_checkpoint(source_of(whole), inside / "m.pkl");
  REQUIRE(c);
  CHECK(list(*c)[0].why.find("has no folder") != std::string::npos);
}
