// The table of globals: which names in a pickle are pure data, which are known to execute something, and
// what a call of the pure ones gives. Nothing is imported or called whatever it says. A name that is not
// in it is foreign; so is a harmless function that is called, because what it gives is not made here. In
// the modules that pickles of data are made of, both are unsafe: there, every name that data needs is known.
//
// Names match whole. Dots in a name are attributes of attributes, which protocol 4 follows: such a name
// is foreign, or unsafe if one of its parts is special, because `torch` leads to `os` by way of them.
#include "format/pickle_globals.h"

#include <algorithm>
#include <array>

#include "base/problem.h"
#include "base/text.h"
#include "model/dtype.h"

namespace netcl::ckpt {
namespace {

/// Modules and names are lists of words; "*" is every name without a dot, "MODULE.*" a module and those below it.
struct Entry {
  std::string_view modules;
  std::string_view names;
  Meaning meaning = Meaning::opaque;
  bool only_named = false;  // plain as long as it is not called
};

constexpr Entry named(std::string_view modules, std::string_view names) {
  return {modules, names, Meaning::opaque, true};
}

constexpr std::string_view kBuiltins = "builtins __builtin__";

constexpr std::array kPlain = {
    // Python: docs.python.org/3/library, "Data Types"; pickle.py's own names for protocols 0 to 2.
    Entry{"collections", "OrderedDict", Meaning::ordered_dict},
    Entry{"collections", "defaultdict", Meaning::default_dict},
    Entry{"collections", "Counter", Meaning::mapping},
    Entry{"collections", "deque", Meaning::deque},
    Entry{kBuiltins, "dict", Meaning::mapping},
    Entry{kBuiltins, "list", Meaning::list},
    Entry{kBuiltins, "tuple", Meaning::tuple},
    Entry{kBuiltins, "set", Meaning::set},
    Entry{kBuiltins, "frozenset", Meaning::frozenset},
    Entry{kBuiltins, "bytes bytearray", Meaning::bytes},
    Entry{kBuiltins, "complex", Meaning::complex},
    Entry{kBuiltins, "int float bool str long unicode", Meaning::number},
    Entry{kBuiltins, "object slice range xrange", Meaning::record},
    named(kBuiltins,
          "NoneType Ellipsis NotImplemented NotImplementedType ellipsis type abs all any ascii bin callable chr divmod "
          "enumerate format hash hex id isinstance issubclass iter len max min next oct ord pow repr reversed round "
          "sorted sum zip property staticmethod classmethod print Exception ValueError TypeError KeyError RuntimeError "
          "IndexError StopIteration AttributeError NotImplementedError memoryview"),
    named("types", "NoneType EllipsisType"),
    Entry{"_codecs", "encode", Meaning::encode},
    Entry{"copyreg copy_reg", "_reconstructor", Meaning::reconstructor},
    Entry{"argparse types", "Namespace SimpleNamespace", Meaning::attributes},
    Entry{"datetime", "date", Meaning::date},
    Entry{"datetime", "time", Meaning::time},
    Entry{"datetime", "datetime", Meaning::datetime},
    Entry{"datetime", "timedelta", Meaning::timedelta},
    Entry{"datetime", "timezone", Meaning::timezone},
    Entry{"pathlib pathlib._local", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath", Meaning::path},
    Entry{"decimal _decimal", "Decimal", Meaning::written},
    Entry{"fractions", "Fraction", Meaning::written},
    Entry{"uuid", "UUID", Meaning::uuid},
    Entry{"uuid", "SafeUUID", Meaning::first},
    // NumPy: what its arrays, dtypes, scalars and generators reduce to (numpy/_core, numpy/random/_pickle.py).
    Entry{"numpy.core.multiarray numpy._core.multiarray", "_reconstruct", Meaning::reconstruct},
    Entry{"numpy.core.multiarray numpy._core.multiarray", "scalar", Meaning::numpy_scalar},
    Entry{"numpy.core.numeric numpy._core.numeric", "_frombuffer", Meaning::frombuffer},
    Entry{"numpy", "dtype", Meaning::dtype},
    Entry{"numpy", "ndarray matrix memmap recarray chararray", Meaning::array_class, true},
    Entry{"numpy.matrixlib.defmatrix", "matrix", Meaning::array_class, true},
    Entry{"numpy.core.memmap numpy._core.memmap", "memmap", Meaning::array_class, true},
    Entry{"numpy.core.records numpy._core.records numpy.rec", "recarray", Meaning::array_class, true},
    Entry{"numpy.core.defchararray numpy._core.defchararray numpy.char", "chararray", Meaning::array_class, true},
    named("numpy numpy.core.records numpy._core.records numpy.rec", "record"),
    Entry{"numpy",
          "bool_ bool8 int8 int16 int32 int64 uint8 uint16 uint32 uint64 intp uintp intc uintc byte ubyte short ushort "
          "int_ uint longlong ulonglong half single double float_ float16 float32 float64 str_ unicode_ bool float int "
          "str",
          Meaning::number},
    named("numpy",
          "longdouble float96 float128 complex64 complex128 complex192 complex256 csingle cdouble clongdouble complex_ "
          "cfloat bytes_ string_ void object_ datetime64 timedelta64 generic number integer signedinteger "
          "unsignedinteger inexact floating complexfloating flexible character object complex long ulong"),
    named("numpy numpy.core.multiarray numpy._core.multiarray",
          "array asarray zeros ones empty full arange linspace dot concatenate where mean sum min max std var median "
          "argmax argmin argsort sort unique ufunc finfo iinfo clip stack nanmean nanstd nanmedian "
          "nansum nanmin nanmax prod average"),
    named("numpy numpy.core._multiarray_umath numpy._core._multiarray_umath numpy.core.umath",
          "abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor "
          "cbrt ceil conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1 fabs "
          "float_power floor floor_divide fmax fmin fmod greater greater_equal heaviside hypot invert isfinite isinf "
          "isnan ldexp less less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or "
          "logical_xor matmul maximum minimum mod modf multiply negative not_equal positive power rad2deg radians "
          "reciprocal remainder rint sign sin sinh sqrt square subtract tan tanh true_divide trunc"),
    named("numpy.dtypes",
          "BoolDType Int8DType UInt8DType Int16DType UInt16DType Int32DType UInt32DType Int64DType UInt64DType "
          "LongLongDType ULongLongDType Float16DType Float32DType Float64DType LongDoubleDType Complex64DType "
          "Complex128DType CLongDoubleDType ObjectDType BytesDType StrDType VoidDType DateTime64DType "
          "TimeDelta64DType StringDType ByteDType UByteDType ShortDType UShortDType IntDType UIntDType LongDType "
          "ULongDType"),
    Entry{"numpy.random._pickle", "__randomstate_ctor __generator_ctor __bit_generator_ctor", Meaning::random_state},
    Entry{"numpy.random.bit_generator", "__pyx_unpickle_SeedSequence __pyx_unpickle_SeedlessSeedSequence",
          Meaning::random_state},
    named("numpy.random.bit_generator", "SeedSequence SeedlessSeedSequence"),
    named("numpy.random._mt19937 numpy.random._pcg64 numpy.random._philox numpy.random._sfc64 numpy.random",
          "MT19937 PCG64 PCG64DXSM Philox SFC64 RandomState Generator"),
    // jax, flax, haiku and cupy wrap NumPy's arrays and Python's dicts (their __reduce__).
    Entry{"jax._src.array", "_reconstruct_array", Meaning::jax_array},
    Entry{"jax._src.device_array jax.interpreters.xla jax.interpreters.pxla",
          "reconstruct_device_array _reconstruct_device_array", Meaning::jax_array},
    Entry{"cupy._core.core cupy.core.core", "array", Meaning::first},
    Entry{"flax.core.frozen_dict", "FrozenDict", Meaning::mapping},
    Entry{"haiku._src.data_structures",
          "FlatMapping FlatMap FlatMappingView frozendict to_haiku_dict to_immutable_dict", Meaning::mapping},
    // torch: what torch.load(weights_only=True) takes by default (torch/_weights_only_unpickler.py,
    // _get_allowed_globals;
    // torch/_utils.py), and what torch.save(module) adds of torch.nn.
    Entry{"torch._utils", "_rebuild_tensor _rebuild_tensor_v2", Meaning::tensor},
    Entry{"torch._utils", "_rebuild_tensor_v3", Meaning::typed_tensor},
    Entry{"torch._utils",
          "_rebuild_parameter _rebuild_parameter_with_state _rebuild_device_tensor_from_cpu_tensor "
          "_rebuild_device_tensor_from_numpy _rebuild_xla_tensor _rebuild_mlc_tensor",
          Meaning::first},
    Entry{"torch._utils", "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor", Meaning::sparse},
    Entry{"torch._utils", "_rebuild_nested_tensor", Meaning::nested},
    Entry{"torch._utils", "_rebuild_qtensor", Meaning::quantized},
    Entry{"torch._utils", "_rebuild_meta_tensor_no_storage", Meaning::meta},
    Entry{"torch._utils", "_rebuild_wrapper_subclass", Meaning::wrapper_subclass},
    Entry{"torch._tensor", "_rebuild_from_type _rebuild_from_type_v2", Meaning::from_type},
    Entry{"torch.storage", "_load_from_bytes", Meaning::load_from_bytes},
    Entry{"torch.storage", "UntypedStorage TypedStorage", Meaning::element_type},
    Entry{"torch.serialization", "_get_layout", Meaning::layout},
    Entry{"torch", "Size", Meaning::size},
    Entry{"torch", "device", Meaning::device},
    Entry{"torch.jit._pickle", "build_intlist build_tensorlist build_doublelist build_boollist", Meaning::first},
    named("torch",
          "Tensor strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc jagged _mkldnn per_tensor_affine "
          "per_channel_affine per_tensor_symmetric per_channel_symmetric per_channel_affine_float_qparams "
          "contiguous_format channels_last channels_last_3d preserve_format DoubleTensor FloatTensor HalfTensor "
          "BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor"),
    named("torch.cuda torch.sparse torch.cuda.sparse",
          "DoubleTensor FloatTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor "
          "BoolTensor"),
    // Before torch 0.4 a parameter was a call of its class.
    Entry{"torch.nn.parameter torch.nn", "Parameter", Meaning::first},
    Entry{"torch.autograd.variable", "Variable", Meaning::first},
    named("torch.nn.parameter", "Buffer UninitializedParameter UninitializedBuffer"),
    named("torch.nn", "Buffer"),
    Entry{"torch.nn.modules.*", "*", Meaning::module},
    Entry{"torch.nn.parallel.*", "DataParallel DistributedDataParallel", Meaning::module},
    named("torch.nn.functional torch.nn.init torch.nn", "*"),
    named("torch", "tanh sigmoid relu softmax exp sin cos"),
    named("torch._C._nn", "gelu silu elu leaky_relu hardtanh hardswish log_sigmoid softplus mish"),
    named("torch.distributed.tensor torch.distributed._tensor torch.distributed._tensor.api "
          "torch.distributed.tensor._api",
          "DTensor"),
    Entry{"torch.distributed.tensor._dtensor_spec torch.distributed._tensor.placement_types",
          "DTensorSpec TensorMeta ShardOrderEntry", Meaning::attributes},
    Entry{"torch.distributed.tensor.placement_types torch.distributed._tensor.placement_types",
          "Shard Replicate Partial _Partial _StridedShard", Meaning::attributes},
    Entry{"torch.distributed.device_mesh torch.distributed._tensor.device_mesh", "DeviceMesh", Meaning::attributes},
    Entry{"torch.distributed._mesh_layout", "_MeshLayout", Meaning::attributes},
    Entry{"torch.distributed.checkpoint.metadata",
          "Metadata TensorStorageMetadata BytesStorageMetadata TensorProperties ChunkStorageMetadata MetadataIndex "
          "StorageMeta",
          Meaning::attributes},
    Entry{"torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING", Meaning::first},
    Entry{"torch.distributed.checkpoint.filesystem", "_StorageInfo", Meaning::attributes},
    // joblib's wrapper of an array (joblib/numpy_pickle.py); scikit-learn had a copy of joblib until 0.23.
    Entry{"joblib.numpy_pickle sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper", Meaning::joblib_array},
    Entry{"joblib.numpy_pickle joblib.numpy_pickle_compat sklearn.externals.joblib.numpy_pickle "
          "sklearn.externals.joblib.numpy_pickle_compat",
          "NDArrayWrapper ZNDArrayWrapper", Meaning::joblib_array_file},
};

/// Foreign, but read for what they hold; executing them is what Python would do.
constexpr std::array kForeign = {
    // torch_utils.persistence of StyleGAN compiles the source that it carries.
    Entry{"torch_utils.persistence", "_reconstruct_persistent_obj", Meaning::persistent_module},
    // Theano's arrays of a device (theano/sandbox/cuda/type.py, theano/gpuarray/type.py).
    Entry{"theano.sandbox.cuda.type", "CudaNdarray_unpickler", Meaning::first},
    Entry{"theano.gpuarray.type", "GpuArray_unpickler", Meaning::first},
};

/// Known ways to execute something: the lists of picklescan, modelscan and fickling, and Python's own warnings.
constexpr std::array kUnsafe = {
    // Code from text, and attributes and modules by name.
    Entry{kBuiltins,
          "eval exec compile execfile open file getattr setattr delattr __import__ breakpoint input raw_input apply "
          "reload vars globals locals dir map filter reduce super exit quit help"},
    Entry{"operator _operator", "attrgetter methodcaller call"},
    Entry{"functools _functools", "reduce"},
    Entry{"types", "FunctionType LambdaType CodeType ModuleType MethodType new_class"},
    Entry{"importlib.* imp _imp _frozen_importlib _frozen_importlib_external pkgutil pkg_resources zipimport runpy",
          "*"},
    Entry{"code codeop timeit trace profile cProfile pdb bdb doctest pydoc test.* idlelib.* lib2to3.*", "*"},
    // Processes, files and the network.
    Entry{"os nt posix posixpath ntpath os.* sys subprocess _posixsubprocess commands popen2 pty shutil "
          "tempfile signal resource fcntl multiprocessing.* threading _thread thread concurrent.* asyncio.* sched "
          "atexit gc ctypes.* _ctypes cffi.* mmap",
          "*"},
    Entry{"socket _socket ssl socketserver select http.* httplib urllib.* urllib2 requests.* aiohttp.* httpx.* ftplib "
          "smtplib telnetlib poplib imaplib nntplib xmlrpc.* webbrowser antigravity wsgiref.*",
          "*"},
    Entry{"io _io codecs", "open open_code FileIO TextIOWrapper BufferedReader BufferedWriter"},
    Entry{"linecache fileinput glob zipfile.* tarfile logging.config logging.handlers sqlite3.* dbm.* shelve", "*"},
    Entry{"pip.* setuptools.* distutils.* venv ensurepip", "*"},
    // Loaders of more pickles and of functions.
    Entry{"pickle _pickle cPickle dill.* cloudpickle.* marshal joblib.parallel jsonpickle.*", "*"},
    Entry{"joblib joblib.numpy_pickle pandas pandas.io.pickle", "load read_pickle"},
    Entry{"numpy numpy.lib.npyio numpy.lib._npyio_impl", "load fromfile loadtxt genfromtxt save savez"},
    Entry{"numpy.testing.* numpy.f2py.* numpy.distutils.*", "*"},
    Entry{"torch torch.serialization", "load"},
    Entry{"torch.hub torch._dynamo.* torch._inductor.* torch.utils.cpp_extension torch.utils.collect_env "
          "torch.utils._config_module torch.utils.bottleneck.* torch.testing.* torch.package.* torch.multiprocessing.* "
          "torch.distributed.rpc.*",
          "*"},
    Entry{"torch.fx.graph_module", "reduce_graph_module reduce_package_graph_module _exec_with_source"},
    Entry{"torch.jit torch.jit._serialization torch.jit.unsupported_tensor_ops", "load execWrapper"},
    Entry{"torch._utils", "_import_dotted_name"},
    Entry{"uuid", "_get_command_stdout _popen"},
    Entry{"pydoc", "pipepager tempfilepager locate"},
    Entry{"IPython.* jupyter_client.* paramiko.* fabric.* pexpect.* sh", "*"},
};

/// Where whatever data needs is in kPlain: builtins.list is data, and builtins.LIST is somebody's trick.
constexpr std::string_view kCoreModules =
    "builtins __builtin__ __builtins__ collections.* copyreg copy_reg _codecs codecs functools _functools itertools "
    "numpy.* site unittest.*";

/// Parts of a dotted name that lead from any object to everything: frames, globals, subclasses.
constexpr std::string_view kSpecialParts =
    "os sys posix nt subprocess builtins importlib eval exec compile system popen getattr open ctypes socket pickle "
    "shutil runpy pty";

bool has_word(std::string_view words, std::string_view wanted) {
  while (!words.empty()) {
    const auto end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == wanted) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

bool matches_module(std::string_view patterns, std::string_view module) {
  while (!patterns.empty()) {
    const auto end = std::min(patterns.find(' '), patterns.size());
    std::string_view pattern = patterns.substr(0, end);
    patterns.remove_prefix(std::min(end + 1, patterns.size()));
    if (!module.starts_with(pattern.substr(0, 1))) continue;  // nearly all end here, without a call
    if (pattern == module) return true;
    if (!pattern.ends_with(".*")) continue;
    pattern.remove_suffix(1);  // "torch.nn.modules."
    if (module.starts_with(pattern) || module == pattern.substr(0, pattern.size() - 1)) return true;
  }
  return false;
}

template <std::size_t N>
const Entry* find(const std::array<Entry, N>& table, const PickleGlobal& g) {
  const bool simple = g.name.find('.') == g.name.npos && !g.name.starts_with("__");
  for (const Entry& e : table) {  // modules first: there are fewer, and a pickle may name 400,000 globals
    if (matches_module(e.modules, g.module) && (e.names == "*" ? simple : has_word(e.names, g.name))) return &e;
  }
  return nullptr;
}

bool is_unsafe(const PickleGlobal& g) {
  if (find(kUnsafe, g) != nullptr) return true;
  // Whole modules that execute are unsafe whatever of them is named: `os.path.__builtins__` too.
  for (const Entry& e : kUnsafe) {
    if (e.names == "*" && matches_module(e.modules, g.module)) return true;
  }
  std::string_view rest = g.name;
  if (rest.find('.') == rest.npos) return false;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, end);
    if ((part.starts_with("__") && part.ends_with("__")) || has_word(kSpecialParts, part)) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

/// One of those modules, or a name that only looks like one: in other case, or with characters that no identifier of
/// a program has that means to be read.
bool imitates_core(std::string_view module) {
  std::string lower(module);
  for (char& c : lower) {
    const bool usual = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                       c == '_' || c == '-' || c == '<' || c == '>';
    if (!usual) return true;
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  constexpr std::size_t kLongestModule = 255;
  return module.size() > kLongestModule || matches_module(kCoreModules, lower);
}

struct TorchType {
  std::string_view storage_class;
  std::string_view dtype;
  ScalarType type;
};
constexpr std::array kTorchTypes = {
    TorchType{"DoubleStorage", "float64", ScalarType::float64},
    TorchType{"FloatStorage", "float32", ScalarType::float32},
    TorchType{"HalfStorage", "float16", ScalarType::float16},
    TorchType{"BFloat16Storage", "bfloat16", ScalarType::bfloat16},
    TorchType{"LongStorage", "int64", ScalarType::int64},
    TorchType{"IntStorage", "int32", ScalarType::int32},
    TorchType{"ShortStorage", "int16", ScalarType::int16},
    TorchType{"CharStorage", "int8", ScalarType::int8},
    TorchType{"ByteStorage", "uint8", ScalarType::uint8},
    TorchType{"BoolStorage", "bool", ScalarType::boolean},
    TorchType{"ComplexDoubleStorage", "complex128", ScalarType::complex128},
    TorchType{"ComplexFloatStorage", "complex64", ScalarType::complex64},
    TorchType{"QInt8Storage", "qint8", ScalarType::int8},
    TorchType{"QUInt8Storage", "quint8", ScalarType::uint8},
    TorchType{"QInt32Storage", "qint32", ScalarType::int32},
    TorchType{"", "complex32", ScalarType::complex32},
    TorchType{"", "uint16", ScalarType::uint16},
    TorchType{"", "uint32", ScalarType::uint32},
    TorchType{"", "uint64", ScalarType::uint64},
    TorchType{"Float8_e4m3fnStorage", "float8_e4m3fn", ScalarType::float8_e4m3fn},
    TorchType{"Float8_e5m2Storage", "float8_e5m2", ScalarType::float8_e5m2},
    TorchType{"Float8_e4m3fnuzStorage", "float8_e4m3fnuz", ScalarType::float8_e4m3fnuz},
    TorchType{"Float8_e5m2fnuzStorage", "float8_e5m2fnuz", ScalarType::float8_e5m2fnuz},
    TorchType{"Float8_e8m0fnuStorage", "float8_e8m0fnu", ScalarType::float8_e8m0fnu},
    TorchType{"", "float4_e2m1fn_x2", ScalarType::float4_e2m1fn_x2},
};

/// torch's and ml_dtypes' element types, which have tables of their own.
std::optional<Meaning> element_type(const PickleGlobal& g) {
  const bool of_torch = g.module == "torch" || g.module == "torch.cuda";
  if (of_torch && (torch_element_type(g.name) || g.name == "UntypedStorage")) return Meaning::element_type;
  if (g.module == "ml_dtypes") {
    const auto dtype = parse_type_string(g.name);
    if (dtype && !known_to_numpy(dtype->type)) return Meaning::ml_dtype;
  }
  return std::nullopt;
}

/// What torch.load(weights_only=True) takes of the types that are written as values.
constexpr std::string_view kWeightsOnlyBuiltins = "complex bytearray set";
/// Further names on its list, beside the element types: torch/_weights_only_unpickler.py, _get_allowed_globals.
constexpr std::array kWeightsOnly = {
    named("collections", "OrderedDict Counter"),
    named("_codecs", "encode"),
    named("torch.nn.parameter", "Parameter"),
    named("torch.serialization", "_get_layout"),
    named("torch.storage", "TypedStorage UntypedStorage"),
    named("torch._tensor", "_rebuild_from_type_v2"),
    named("torch._utils",
          "_rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor _rebuild_tensor _rebuild_tensor_v2 "
          "_rebuild_tensor_v3 _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass "
          "_rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor"),
    named("torch",
          "Size Tensor device per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric "
          "per_channel_affine_float_qparams uint1 uint2 uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 "
          "int7 bits8 bits16 bits1x8 bits2x4 bits4x2 QUInt4x2Storage QUInt2x4Storage quint4x2 quint2x4"),
    named("torch torch.cuda torch.sparse torch.cuda.sparse",
          "DoubleTensor FloatTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor "
          "BoolTensor"),
    // These where torch.distributed is at hand, which torch.load() then imports.
    named("torch.distributed.device_mesh", "DeviceMesh"),
    named("torch.distributed._mesh_layout", "_MeshLayout"),
    named("torch.distributed.tensor", "DTensor"),
    named("torch.distributed.tensor._dtensor_spec", "DTensorSpec TensorMeta ShardOrderEntry"),
    named("torch.distributed.tensor.placement_types", "Partial Replicate Shard"),
};
constexpr std::string_view kWeightsOnlyBlocked = "sys os posix nt";
constexpr std::string_view kTypesAsValues =
    "object int float complex bool str bytes bytearray list tuple dict set frozenset slice range";

}  // namespace

std::optional<ScalarType> torch_element_type(std::string_view name) {
  const auto it = std::find_if(kTorchTypes.begin(), kTorchTypes.end(), [&](const TorchType& t) {
    return (!t.storage_class.empty() && t.storage_class == name) || t.dtype == name;
  });
  return it == kTorchTypes.end() ? std::nullopt : std::optional(it->type);
}

GlobalInfo classify(const PickleGlobal& g, bool called, bool script) {
  if (is_unsafe(g)) return {Grade::unsafe, Meaning::opaque};
  if (const auto meaning = element_type(g)) return {called ? Grade::foreign : Grade::plain, *meaning};
  // TorchScript's own classes; their code lies beside the pickle, in `code/`.
  if (script && (g.module == "__torch__" || g.module.starts_with("__torch__.")))
    return {Grade::plain, Meaning::script_class};
  const Grade unknown = imitates_core(g.module) ? Grade::unsafe : Grade::foreign;
  if (const Entry* e = find(kPlain, g)) return {e->only_named && called ? unknown : Grade::plain, e->meaning};
  if (const Entry* e = find(kForeign, g)) return {Grade::foreign, e->meaning};
  return {unknown, Meaning::opaque};
}

std::optional<std::string> weights_only_refuses(const PickleGlobal& g) {
  if (!g.module.empty() && has_word(kWeightsOnlyBlocked, g.module)) return "its module " + g.module + " is blocked";
  const bool builtin = g.module == "builtins" || g.module == "__builtin__";
  const bool element = (g.module == "torch" || g.module == "torch.cuda") && torch_element_type(g.name);
  if (element || (builtin && has_word(kWeightsOnlyBuiltins, g.name)) || find(kWeightsOnly, g) != nullptr)
    return std::nullopt;
  return "it is not an allowed global by default";
}

std::optional<TypeName> type_name(std::string_view module, std::string_view name) {
  if (module == "builtins" || module == "__builtin__") {
    if (name == "long") name = "int";
    if (name == "unicode") name = "str";
    if (name == "xrange") name = "range";
    if (!has_word(kTypesAsValues, name)) return std::nullopt;
    return TypeName{"builtins", name, has_word(kWeightsOnlyBuiltins, name)};
  }
  if (module == "collections" && name == "OrderedDict") return TypeName{module, name, true};
  if (module == "collections" && name == "defaultdict") return TypeName{module, name, false};
  if (module == "torch" && (name == "Size" || name == "device" || torch_element_type(name)))
    return TypeName{module, name, true};
  const GlobalInfo info = classify({std::string(module), std::string(name), 0}, false, false);
  const bool of_numpy = module == "numpy" || module.starts_with("numpy.");
  if (info.meaning == Meaning::ml_dtype || (of_numpy && info.grade == Grade::plain))
    return TypeName{module, name, false};
  return std::nullopt;
}

void report_globals(std::span<const PickleGlobal> globals, const std::string& where, bool script, Checkpoint& out) {
  constexpr std::size_t kMostReported = 10'000;
  auto add = [&](Grade grade, const PickleGlobal& g, std::string name) {
    const bool unsafe = grade == Grade::unsafe;
    std::string message = name + (unsafe ? " (not executed)" : " (not known here, not executed)");
    out.problems.push_back(make_problem(unsafe ? ProblemCode::unsafe_global : ProblemCode::foreign_global, where,
                                        g.offset_bytes, std::move(message)));
    out.problems.back().global = std::move(name);
  };
  for (const PickleGlobal& g : globals) {
    if (out.problems.size() > kMostReported) return;
    const Grade grade = classify(g, g.called, script).grade;
    const std::string name = to_valid_utf8(g.qualified());
    if (grade != Grade::plain) add(grade, g, name);
    if (g.result_called) add(Grade::unsafe, g, name + "()");
  }
}

}  // namespace netcl::ckpt
