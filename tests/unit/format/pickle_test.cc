// What pickles mean, and what they cost: sharing must not multiply.
#include <pthread.h>

#include "catch.h"
#include "format/pickle_globals.h"
#include "netcl/ckpt/inspect.h"
#include "netcl/ckpt/open.h"
#include "sample.h"

using namespace netcl::ckpt;
using namespace std::string_literals;

namespace {

Result<Checkpoint> read(const std::string& pickle, bool thorough = false) {
  const auto bytes = std::as_bytes(std::span(pickle));
  OpenOptions options;
  options.thorough = thorough;
  return open_checkpoint(memory_source({bytes.begin(), bytes.end()}, "p.pkl"), "p.pkl", options);
}

std::string text_of(const std::string& pickle) {
  const auto c = read(pickle);
  return c ? dump(c->tree, c->root) : to_string(c.error().code);
}

std::vector<std::string> globals_of(const Checkpoint& c) {
  std::vector<std::string> out;
  for (const Problem& p : c.problems) {
    if (!p.global.empty()) out.push_back(to_string(p.code) + " "s + p.global);
  }
  return out;
}

/// `count` times `what`.
std::string times(std::size_t count, const std::string& what) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += what;
  return out;
}

}  // namespace

TEST_CASE("pickle: pure reconstructors give values", "[format]") {
  CHECK(text_of("\x80\x02"s + "ccollections\nOrderedDict\n(lR.") == "corrupt");  // a list is no tuple of arguments
  CHECK(text_of("\x80\x02"s + "ccollections\nOrderedDict\n)R(K\x01K\x02u.") == "{1: 2}");
  CHECK(text_of("c__builtin__\nset\n((lp0\nI1\natR.") == "set(1)");
  CHECK(text_of("c_codecs\nencode\n(V\\u00ff\nVlatin1\ntR.") == "b'\xff'");
  CHECK(text_of("cbuiltins\ncomplex\n(F1.0\nF2.0\ntR.") == "1+2j");
  CHECK(text_of("ctorch.jit._pickle\nbuild_intlist\n((lp0\nI1\naI2\natR.") == "[1, 2]");
  // Equal keys: the first place, the last value.
  CHECK(text_of("(dI1\nS'a'\nsI1\nS'b'\ns.") == "{1: 'b'}");
}

TEST_CASE("pickle: a global that is not known is a name, never a call", "[format][hostile]") {
  const auto c = read("(dS'a'\ncposix\nsystem\n(S'x'\ntRsS'b'\nI1\ns.");
  REQUIRE(c);
  CHECK(globals_of(*c) == std::vector<std::string>{"unsafe-global posix.system"});
  CHECK(dump(c->tree, c->root) == "{'a': opaque posix.system(('x')), 'b': 1}");
  // Damage behind the call does not hide it from those who ask for everything.
  const auto damaged = read("cposix\nsystem\n(S'x'\ntR\xff", true);
  REQUIRE(damaged);
  CHECK(globals_of(*damaged) == std::vector<std::string>{"unsafe-global posix.system"});
  CHECK(damaged->problems.back().code == ProblemCode::corrupt);
  CHECK_FALSE(read("cposix\nsystem\n(S'x'\ntR\xff"));
  // Behind STOP too.
  const auto second = read("N.cposix\nsystem\n(S'x'\ntR\xff", true);
  REQUIRE(second);
  CHECK(globals_of(*second) == std::vector<std::string>{"unsafe-global posix.system"});
}

TEST_CASE("pickle: shared parts are refused before they multiply", "[format][hostile]") {
  const std::size_t n = 100'000;
  const std::string big_tuple = "(" + times(n, "K\x01") + "tp0\n";
  const std::string big_text = "V" + std::string(n * 10, 'a') + "\np0\n";
  for (const std::string& pickle : {
           // Many sets of one tuple, many byte strings of one text, many dicts of one list of pairs.
           "(" + big_tuple + times(n, "c__builtin__\nset\n(g0\ntR") + "l.",
           "(" + big_text + times(n, "c_codecs\nencode\n(g0\nVlatin1\ntR") + "l.",
           "((" + times(n, "(I1\nI2\nt") + "lp0\n" + times(n, "ccollections\nOrderedDict\n(g0\ntR") + "l.",
       }) {
    const auto c = read(pickle);
    REQUIRE_FALSE(c);
    CHECK(c.error().code == ErrorCode::limit_exceeded);
  }
  // A billion laughs in a dtype: each field is a structure of two of the level below.
  std::string dtype = "cnumpy\ndtype\n(S'f4'\nI0\nI1\ntRp0\n";
  for (int level = 1; level <= 40; ++level) {
    const std::string below = "g" + std::to_string(level - 1) + "\n";
    dtype += "0cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nS'b'\nt(dS'a'\n(" + below + "I0\ntsS'b'\n(" + below +
             "I4\ntsI-1\nI-1\nI0\ntbp" + std::to_string(level) + "\n";
  }
  CHECK_FALSE(read(dtype + "."));
}

TEST_CASE("pickle: thousands of arrays may share their dtype", "[format]") {
  const std::string array =
      "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntg9\nI00\nS'ab'\ntb";
  std::string dtype = "cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbp9\n";
  const auto c = read("(" + dtype + "0(" + times(20'000, array) + "l.");
  REQUIRE(c);
  CHECK(list_tensors(*c)->size() == 20'000);
}

TEST_CASE("pickle: arrays of ml_dtypes' types, as ml_dtypes 0.2 and 0.6 write them", "[format]") {
  auto array = [](const std::string& name, const std::string& order, int size, const std::string& bytes) {
    const std::string item = std::to_string(size);
    return "\x80\x04"s + "cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\1btR(K\1(K\1t"s +
           "cnumpy\ndtype\n(cml_dtypes\n" + name + "\n\x89\x88tR(K\3X\1\0\0\0"s + order + "NNNI" + item + "\nI" + item +
           "\nK\100tb\x89" + "C" + static_cast<char>(bytes.size()) + bytes + "tb.";
  };
  CHECK(text_of(array("bfloat16", "<", 2, "\x80\x3f")) == "<tensor bfloat16 (1) 803f>");
  CHECK(text_of(array("bfloat16", ">", 2, "\x3f\x80")) == "<tensor bfloat16 (1) 803f>");
  CHECK(text_of(array("float8_e4m3fn", "<", 1, "8")) == "<tensor float8_e4m3fn (1) 38>");
  CHECK(text_of(array("float8_e8m0fnu", "|", 1, "8")) == "<tensor float8_e8m0fnu (1) 38>");
  CHECK(text_of(array("int4", "<", 1, "8")) == "<tensor int4 (1) 38>");
  const auto too_long = read(array("bfloat16", "<", 4, "\x80\x3f\0\0"s));
  REQUIRE(too_long);
  CHECK(too_long->problems.back().code == ProblemCode::unreadable_tensor);
  CHECK(too_long->problems.back().severity == Severity::error);
  // NumPy's own under this module, and functions are strangers.
  for (const char* name : {"float32", "finfo"}) {
    const auto c = read(array(name, "<", 1, "8"));
    REQUIRE(c);
    CHECK(globals_of(*c) == std::vector<std::string>{std::string("foreign-global ml_dtypes.") + name});
  }
  // A class, and not called.
  CHECK(globals_of(*read("cml_dtypes\nbfloat16\n(F1\ntR.")) ==
        std::vector<std::string>{"foreign-global ml_dtypes.bfloat16"});
}

TEST_CASE("pickle: what holds itself is read, by whatever call it goes", "[format][hostile]") {
  for (const char* module_and_name :
       {"collections\nOrderedDict\n", "__builtin__\ndict\n", "collections\nCounter\n", "posix\nsystem\n"}) {
    const auto c = read("\x80\x02}q\0U\1kc"s + module_and_name + "h\0\x85Rs."s);
    REQUIRE(c);
    CHECK(list_tensors(*c)->empty());
    CHECK(inspect(*c, {}));
  }
  for (const char* module_and_name :
       {"__builtin__\nlist\n", "__builtin__\ntuple\n", "__builtin__\nset\n", "__builtin__\nfrozenset\n",
        "__builtin__\nslice\n", "collections\ndeque\n", "torch\nSize\n", "torch._utils\n_rebuild_parameter\n",
        "argparse\nNamespace\n", "numpy.random._pickle\n__randomstate_ctor\n"}) {
    const auto c = read("\x80\x02]q\0c"s + module_and_name + "h\0\x85Ra."s);
    REQUIRE(c);
    CHECK(inspect(*c, {}));
  }
  const auto factory = read("\x80\x02}q\0U\1kccollections\ndefaultdict\nNh\0\x86Rs."s);
  REQUIRE(factory);
  // An object that is its own state, and one that is its state's only element.
  CHECK(
      read("\x80\x02"
           "ctypes\nSimpleNamespace\n)Rq\0h\0b."s));
  CHECK(text_of("\x80\x02"
                "ctypes\nSimpleNamespace\n)Rq\0}U\1xK\1sb."s) == "{'x': 1}");
}

TEST_CASE("pickle: no depth of any container takes the program's stack", "[format][hostile]") {
  const std::size_t n = 100'000;
  const std::string call = "c";
  std::vector<std::string> pickles = {
      times(n, "(") + "I1\n" + times(n, "l") + ".",
      times(n, "(") + "I1\n" + times(n, "t") + ".",
      times(n, "(S'k'\n") + "I1\n" + times(n, "d") + ".",
      "\x80\x04" + times(n, "(") + "K\x01" + times(n, "\x91") + ".",
      "\x80\x02ctorch\nSize\nq\xff"s + "0" + times(n, "h\xff") + ")" + times(n, "\x85R") + ".",
  };
  for (const char* global :
       {"__builtin__\nlist", "__builtin__\nset", "__builtin__\nbytearray", "__builtin__\nint", "__builtin__\nslice",
        "collections\nOrderedDict", "collections\ndeque", "torch._utils\n_rebuild_parameter", "posix\nsystem",
        "proj\nThing", "argparse\nNamespace", "datetime\ntimezone"}) {
    pickles.push_back(
        "\x80\x02"
        "c"s +
        global + "\nq\xff" + "0" + times(n, "h\xff") + ")" + times(n, "\x85R") + ".");
  }
  // A tensor's shape, an array's elements, a dtype of a dtype, the state of an object, modules of modules.
  pickles.push_back(
      "\x80\x02"
      "ctorch\nSize\nq\xff"
      "0ctorch._utils\n_rebuild_tensor_v2\n(NK\0"s +
      times(n, "h\xff") + ")" + times(n, "\x85R") + ")tR.");
  pickles.push_back(
      "\x80\x02"
      "cnumpy\ndtype\nq\xff"
      "0"s +
      times(n,
            "h\xff"
            "X\1\0\0\0V\x85R(K\3X\1\0\0\0|("s) +
      "N" + times(n, ")tNNK\1K\1K\0tb") + ".");
  pickles.push_back(
      "\x80\x02"
      "cproj\nThing\nq\xff"
      "0"s +
      times(n, "h\xff)\x81") + "}" + times(n, "b") + ".");
  pickles.push_back(
      "\x80\x02"
      "cproj\nNet\nq\xff"
      "0"s +
      times(n, "h\xff)\x81}(U\x0b_parameters}U\x08_buffers}U\x08_modules}U\1a") + "N" + times(n, "sub") + ".");
  struct Run {
    const std::vector<std::string>& pickles;
    static void* all(void* self) {
      for (const std::string& pickle : static_cast<Run*>(self)->pickles) {
        const auto c = read(pickle, true);
        if (!c) continue;  // a limit is an answer, too
        (void)list_tensors(*c);
        (void)inspect(*c, {});
      }
      return nullptr;
    }
  } run{pickles};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::size_t kStackBytes = std::size_t{1} << 20;  // frames are several times as large
#else
  constexpr std::size_t kStackBytes = std::size_t{256} << 10;
#endif
  REQUIRE(pthread_attr_setstacksize(&attributes, kStackBytes) == 0);
  pthread_t thread;
  REQUIRE(pthread_create(&thread, &attributes, Run::all, &run) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
}

TEST_CASE("pickle_globals: three grades", "[format][hostile]") {
  auto grade = [](const std::string& module, const std::string& name, bool called = true) {
    return classify({module, name}, called, false).grade;
  };
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"collections", "OrderedDict"},
                                                        {"argparse", "Namespace"},
                                                        {"datetime", "datetime"},
                                                        {"numpy.core.multiarray", "_reconstruct"},
                                                        {"numpy._core.multiarray", "scalar"},
                                                        {"torch._utils", "_rebuild_sparse_tensor"},
                                                        {"torch.nn.modules.linear", "Linear"},
                                                        {"torch", "device"}})
    CHECK(grade(module, name) == Grade::plain);
  // Harmless as long as they are only named.
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{{"builtins", "len"},
                                                                                     {"numpy", "tanh"},
                                                                                     {"numpy", "memmap"},
                                                                                     {"torch", "float32"},
                                                                                     {"torch.nn.functional", "relu"}}) {
    CHECK(grade(module, name, false) == Grade::plain);
    CHECK(grade(module, name, true) == (module.starts_with("torch") ? Grade::foreign : Grade::unsafe));
  }
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"proj.config", "Config"}, {"torch.nn.functional", "__file__"}, {"__torch__.m", "Net"}})
    CHECK(grade(module, name, false) == Grade::foreign);
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"collections", "OrderedDictX"},
                                                        {"numpy", "ndarray.tofile"},
                                                        {"functools", "partial"},
                                                        {"os.path", "x"},
                                                        {"posix", "system.__call__"},
                                                        {"builtins", "eval"},
                                                        {"__builtin__", "getattr"},
                                                        {"subprocess", "Popen"},
                                                        {"torch", "serialization.os.system"},
                                                        {"collections", "OrderedDict.__init__.__globals__"},
                                                        {"torch.fx.graph_module", "reduce_graph_module"}})
    CHECK(grade(module, name, false) == Grade::unsafe);
}

TEST_CASE("pickle: the call of what a call gave is unsafe, and arguments that are calls are named",
          "[format][hostile]") {
  const auto twice = read("cproj\nfactory\n(tR(tR.");
  REQUIRE(twice);
  CHECK(globals_of(*twice) == std::vector<std::string>{"foreign-global proj.factory", "unsafe-global proj.factory()"});
  // The size of a dimension, and the order of an array.
  const auto shape = read(
      "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(cposix\nsystem\n("
      "S'x'\ntRtcnumpy\ndtype\n(S'u1'\nI0\nI1\ntRI00\nS'ab'\ntb.");
  REQUIRE(shape);
  CHECK(globals_of(*shape) == std::vector<std::string>{"unsafe-global posix.system"});
}

TEST_CASE("pickle: what NumPy refuses is not sound", "[format][hostile]") {
  auto array = [](const std::string& version, const std::string& dtype_version) {
    return "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(" + version +
           "(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(" + dtype_version + "S'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'ab'\ntb.";
  };
  auto worst = [](const std::string& pickle) {
    const auto c = read(pickle);
    if (!c) return Severity::error;
    Severity out = Severity::note;
    for (const Problem& p : c->problems) out = std::max(out, p.severity);
    return out;
  };
  CHECK(worst(array("I1\n", "I3\n")) == Severity::note);
  CHECK(worst(array("I2\n", "I3\n")) == Severity::error);
  CHECK(worst(array("I1\n", "I5\n")) == Severity::error);
  const std::string buffer = "cnumpy.core.numeric\n_frombuffer\n(S'ab'\ncnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I2\ntS'";
  CHECK(worst(buffer + "C'\ntR.") == Severity::note);
  CHECK(worst(buffer + "Z'\ntR.") == Severity::error);
  CHECK(worst("\x80\x04"
              "cproj\nA\n)K\1\x92."s) == Severity::error);  // keywords that are no dict
  CHECK(worst("cargparse\nNamespace\n(I1\ntR.") == Severity::error);
}

TEST_CASE("pickle: values of Python's library are shown as they read", "[format]") {
  CHECK(text_of("\x80\x03"
                "cdatetime\ndatetime\nC\x0a\x07\xe8\x05\x11\x0a\x1e\x00\x00\x00\x00\x85R."s) ==
        "'2024-05-17 10:30:00'");
  CHECK(text_of("\x80\x03"
                "cdatetime\ndate\nC\x04\x07\xe7\x02\x09\x85R."s) == "'2023-02-09'");
  CHECK(text_of("cdatetime\ntimedelta\n(I1\nI3600\nI0\ntR.") == "'1 day, 1:00:00'");
  CHECK(text_of("cpathlib\nPosixPath\n(S'/'\nS'runs'\nS'a'\ntR.") == "'/runs/a'");
  CHECK(text_of("cdecimal\nDecimal\n(S'1.25'\ntR.") == "'1.25'");
  CHECK(text_of("cfractions\nFraction\n(I3\nI8\ntR.") == "'3/8'");
  CHECK(text_of("cuuid\nUUID\n)\x81(dS'int'\nI255\nsb."s) == "'00000000-0000-0000-0000-0000000000ff'");
  CHECK(text_of("cuuid\nUUID\n)\x81(dS'int'\nL340282366920938463463374607431768211455L\nsb."s) ==
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'");
  CHECK(text_of("cargparse\nNamespace\n)\x81(dS'lr'\nI2\nsb."s) == "{'lr': 2}");
  CHECK(text_of("ctorch\ndevice\n(S'cuda'\nI1\ntR.") == text_of("ctorch\ndevice\n(S'cuda:1'\ntR."));
  CHECK(text_of("(S'a\\xc3\\xa9'\nS'a\\xe9'\nl.") == "['a\xc3\xa9', b'a\xe9']");  // Python 2's str
}

TEST_CASE("pickle: an object array is listed as what it holds", "[format]") {
  auto objects = [](const std::string& shape, const std::string& elements) {
    return "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n" + shape +
           "cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\n" + elements + "tb.";
  };
  CHECK(text_of(objects("(t", "((dS'a'\nI1\nsl")) == "{'a': 1}");
  CHECK(text_of(objects("(I2\nt", "((lI1\na(dl")) == "[[1], {}]");
  const auto plain = read(objects("(I2\nt", "(S'x'\nNl"));
  REQUIRE(plain);
  CHECK(plain->tree.kind(plain->root) == ValueKind::tensor);
}

namespace {

/// A torch file of the old kind that holds one storage, as torch.storage._load_from_bytes gets it.
std::string legacy_storage(const std::string& type, std::uint8_t count, const std::string& elements) {
  return "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."s + "\x80\x02(U\x07storagectorch\n" +
         type +
         "\nU\x01"
         "0U\x03"
         "cpuK"s +
         static_cast<char>(count) +
         "NtQ.\x80\x02]U\x01"
         "0a."s +
         static_cast<char>(count) + std::string(7, '\0') + elements;
}

/// pickle.dump of a vector on such a storage. `metadata`: opcodes of the last argument.
std::string dumped_tensor(const std::string& type, std::uint8_t count, const std::string& elements,
                          const std::string& metadata) {
  const std::string nested = legacy_storage(type, count, elements);
  return "ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\nC"s + static_cast<char>(nested.size()) +
         nested + "\x85RK\0K"s + static_cast<char>(count) +
         "\x85K\1\x85\x89"
         "ccollections\nOrderedDict\n)R"s +
         metadata + "tR";
}

}  // namespace

TEST_CASE("pickle: a pickled torch tensor is read out of the torch file in its bytes", "[format]") {
  const std::string two = "\0\0\x80\x3f\0\0\0\xc0"s;  // 1, -2
  CHECK(text_of("\x80\x03"s + dumped_tensor("FloatStorage", 2, two, "N") + ".") ==
        "<tensor float32 (2) 0000803f000000c0>");
  // torch's neg and conj bits change signs.
  CHECK(text_of("\x80\x03"s + dumped_tensor("FloatStorage", 2, two, "}U\x03neg\x88s") + ".") ==
        "<tensor float32 (2) 000080bf00000040>");
  CHECK(text_of("\x80\x03"s +
                dumped_tensor("ComplexFloatStorage", 1, two,
                              "}U\x04"
                              "conj\x88s"s) +
                ".") == "<tensor complex64 (1) 0000803f00000040>");
  // What is called in there is named.
  const std::string nested =
      "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.cposix\nsystem\n(S'x'\ntR.]."s;
  const auto evil = read(
      "\x80\x03"
      "ctorch.storage\n_load_from_bytes\nC"s +
      static_cast<char>(nested.size()) + nested + "\x85R.");
  REQUIRE(evil);
  CHECK(globals_of(*evil).front() == "unsafe-global posix.system");
}

TEST_CASE("pickle: one tensor that cannot be read does not hide the others", "[format]") {
  const std::string odd = dumped_tensor("Float5Storage", 2, "ab", "N");
  const auto c = read("\x80\x03}(U\1a"s + odd + "U\1b" + dumped_tensor("ByteStorage", 2, "ab", "N") + "u.");
  REQUIRE(c);
  const auto tensors = list_tensors(*c);
  REQUIRE(tensors->size() == 2);
  const Tensor& lost = c->tree.tensor((*tensors)[0].value);
  CHECK_FALSE(lost.why_unreadable.empty());
  CHECK(lost.shape == std::vector<std::uint64_t>{2});
  CHECK_FALSE(TensorReader::open(lost));
  CHECK(elements_of(c->tree.tensor((*tensors)[1].value)).size() == 2);
}

TEST_CASE("pickle: a pickled module is its state dict", "[format]") {
  const std::string array =
      "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n("
      "S'u1'\nI0\nI1\ntRI00\nS'ab'\ntb";
  auto module = [&](const std::string& name, const std::string& buffers, const std::string& modules) {
    return "cproj\n" + name + "\n)\x81(dS'_parameters'\n(dS'w'\n" + array + "sS'none'\nNssS'_buffers'\n(d" + buffers +
           "sS'_modules'\n(d" + modules +
           "sS'_non_persistent_buffers_set'\nc__builtin__\nset\n((lS'table'\natRsS'x'\nI1\nsb";
  };
  const std::string inner = module("Inner", "S'table'\n" + array + "sS'kept'\n" + array + "s", "");
  const auto c = read("(dS'net'\n" + module("Net", "", "S'fc'\n" + inner + "s") + "s.");
  REQUIRE(c);
  std::vector<std::string> names;
  const auto tensors = list_tensors(*c);
  for (const NamedTensor& t : *tensors) names.push_back(t.name);
  CHECK(names == std::vector<std::string>{"net.w", "net.fc.w", "net.fc.kept"});
  CHECK(globals_of(*c) == std::vector<std::string>{"foreign-global proj.Net", "foreign-global proj.Inner"});
  // Attributes of an object that is no module stand under its own name.
  const auto object = read("(dS'clf'\ncproj\nC\n)\x81(dS'coef_'\n" + array + "sbs.");
  REQUIRE(object);
  CHECK(list_tensors(*object)->at(0).name == "clf.coef_");
}

namespace {

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return out;
}

}  // namespace

TEST_CASE("pickle: joblib's arrays lie behind their wrappers", "[format][hostile]") {
  // joblib.dump({"w": np.array([1, 2], "int16"), "o": 3}) of 1.4: a byte of padding's length, padding, elements.
  const std::string padded = from_hex(
      "800495c8000000000000007d94288c01778c136a6f626c69622e6e756d70795f7069636b6c658c114e756d70794172726179577261707065"
      "7293"
      "2981947d94288c08737562636c6173738c056e756d70798c076e646172726179938c0573686170654b02858c056f726465728c01438c0564"
      "7479"
      "70658c056e756d70798c056474797065938c0269328988875294284b038c013c4e4e4e4affffffff4affffffff4b0074628c0a616c6c6f77"
      "5f6d"
      "6d6170888c1b6e756d70795f61727261795f616c69676e6d656e745f62797465734b1075620cffffffffffffffffffffffff010002009507"
      "0000"
      "00000000008c016f4b03752e");
  CHECK(text_of(padded) == "{'w': <tensor int16 (2) 01000200>, 'o': 3}");
  for (std::size_t n = 0; n < padded.size(); ++n) CHECK_FALSE(read(padded.substr(0, n)));
  // {"w": np.array([{"a": 1}], object)} of 0.11: the elements are a pickle.
  const std::string objects = from_hex(
      "800495a8000000000000007d94288c01778c136a6f626c69622e6e756d70795f7069636b6c658c114e756d70794172726179577261707065"
      "7293"
      "2981947d94288c08737562636c6173738c056e756d70798c076e646172726179938c0573686170654b01858c056f726465728c01438c0564"
      "7479"
      "70658c056e756d70798c056474797065938c014f8988875294284b038c017c4e4e4e4affffffff4affffffff4b3f74628c0a616c6c6f775f"
      "6d6d"
      "61708975628002636e756d70792e636f72652e6d756c746961727261790a5f7265636f6e7374727563740a636e756d70790a6e6461727261"
      "790a"
      "4b0085635f636f646563730a656e636f64650a58010000006258060000006c6174696e318652710087527101284b014b0185636e756d7079"
      "0a64"
      "747970650a58010000004f898887527102284b0358010000007c4e4e4e4affffffff4affffffff4b3f7462895d7103287d71042858010000"
      "00614b"
      "01756574622e752e");
  CHECK(text_of(objects) == "{'w': [{'a': 1}]}");
  for (std::size_t n = 0; n < objects.size(); ++n) CHECK_FALSE(read(objects.substr(0, n)));
}

TEST_CASE("pickle: several pickles one after another are a list", "[format]") {
  const auto c = read("\x80\x02K\x01.\x80\x02K\x02.");
  REQUIRE(c);
  CHECK(dump(c->tree, c->root) == "[1, 2]");
  REQUIRE(c->problems.size() == 1);
  CHECK(c->problems[0].severity == Severity::note);
  const auto junk = read("\x80\x02K\x01.\xff\xff");
  REQUIRE(junk);
  CHECK(dump(junk->tree, junk->root) == "1");
  CHECK(junk->problems[0].code == ProblemCode::trailing_bytes);
}
