#!/usr/bin/env python3
"""What a small file can make each command cost.

    bench/amplification.py TOOL [FOLDER] [--files GLOB] [--commands GLOB] [--all] [--markdown]

Writes files of at most 5 MB, made to be as costly as their format allows, runs every command with every option that adds
work on each, and prints for each command the most memory and processor time that any of them took, and which. Exits 1 if
one took more than 256 MB or 5 s, or ended by a signal. Payloads that inflate are held to a rate instead of a time: an
honest file of zeros must be read too.

FOLDER (a temporary one by default) keeps the files. --all prints every run. Needs no package.
"""
import argparse
import fnmatch
import functools
import json
import os
import pathlib
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zlib

MAX_MB, MAX_SECONDS = 256, 5
GIVE_UP_MB, GIVE_UP_SECONDS = 1024, 10
MAX_BYTES = 5 << 20

# ---- pickles, opcode by opcode ----

TENSOR = (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01K\x01\x85cnumpy\ndtype\n"
          b"(X\x02\0\0\0f4K\0K\x01tR(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89C\x04\0\0\0\0tb")


def pickled(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return (b"\x8c" + bytes([len(s)]) if len(s) < 256 else b"X" + struct.pack("<I", len(s))) + s


def put(i):
    return b"r" + struct.pack("<I", i)


def get(i):
    return b"j" + struct.pack("<I", i)


def doubled(levels, leaf, pair):
    """Each level holds the one below twice."""
    out = [leaf, put(0)]
    for i in range(levels):
        out += [pair(get(i)), put(i + 1)]
    return pickled(*out)


PAIRS = {"lists": lambda g: b"](" + g + g + b"e", "tuples": lambda g: g + g + b"\x86",
         "dicts": lambda g: b"}(" + text("a") + g + text("b") + g + b"u"}


def nested(kind, levels, leaf):
    if kind == "lists":
        return b"]" * levels + leaf + b"a" * levels
    if kind == "tuples":
        return leaf + b"\x85" * levels
    if kind == "frozensets":
        return b"(" * levels + leaf + b"\x91" * levels
    if kind == "dicts":
        return (b"}" + text("k")) * levels + leaf + b"s" * levels
    return b"(cm\nC\n" * levels + leaf + b"tR" * levels  # calls of a class


# ---- zips ----


def zip_of(members, deflated=False, overlap=1, comment=b""):
    """`overlap`: how many directory entries name each member."""
    out, directory, count = bytearray(), bytearray(), 0
    for name, data in members:
        name = name if isinstance(name, bytes) else name.encode()
        body = packed(data) if deflated else data
        crc, at = zlib.crc32(data), len(out)
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8 if deflated else 0, 0, 33, crc, len(body), len(data), len(name), 0)
        out += b"PK\3\4" + fields + name + body
        for i in range(overlap):
            directory += b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, at) + name
            count += 1
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, min(count, 65535), min(count, 65535), len(directory), len(out), len(comment))
    if count > 65535:
        at = len(out) + len(directory)
        end = (struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), len(out)) +
               struct.pack("<4sIQI", b"PK\6\7", 0, at, 1) + end)
    return bytes(out + directory + end + comment)


@functools.lru_cache(4)
def packed(data):
    z = zlib.compressobj(1, zlib.DEFLATED, -15)
    return z.compress(data) + z.flush()


def npy(descr="'|u1'", shape="(0,)", payload=b"", header=None, version=1):
    header = header or f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = struct.pack("<H" if version == 1 and len(header) < 65536 else "<I", len(header))
    return b"\x93NUMPY" + bytes([1 if len(size) == 2 else 2, 0]) + size + header + payload


def torch_zip(tensors, storage_bytes):
    """tensors: (size, stride) each, all over one storage."""
    def tuple_of(numbers):
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in numbers) + b"t"
    storage = (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") +
               b"\x8a\x08" + struct.pack("<q", storage_bytes // 4) + b"tQ")
    out = [b"\x80\x04}("]
    for i, (size, stride) in enumerate(tensors):
        out += [text(f"t{i}"), b"ctorch._utils\n_rebuild_tensor_v2\n(", storage, b"K\0", tuple_of(size),
                tuple_of(stride), b"\x89ccollections\nOrderedDict\n)RtR"]
    data = b"".join(out) + b"u."
    return zip_of([("a/data.pkl", data), ("a/version", b"3\n"), ("a/data/0", bytes(storage_bytes))])


def safetensors(header, payload=b""):
    header = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + payload


def many(count, leaf="{},"):
    return "".join(leaf.format(i) for i in range(count))


def msgpack_list(count, item):
    return b"\xdd" + struct.pack(">I", count) + item * count


def msgpack_map(keys, value):
    return b"\xdf" + struct.pack(">I", len(keys)) + b"".join(k + value for k in keys)


ARRAY = b"\xd7\1\x93\x91\0\xa2u1\xc4\0"  # of no element, in eleven bytes

LEVELS = 190_000  # just below Limits::max_depth
FILES = {}


for _kind in ("lists", "tuples", "frozensets", "dicts", "calls"):
    for _levels in (20_000, LEVELS):
        FILES[f"nested-{_kind}-{_levels // 1000}k.pkl"] = lambda k=_kind, n=_levels: pickled(nested(k, n, TENSOR))
    FILES[f"nested-{_kind}-no-tensor.pkl"] = lambda k=_kind: pickled(nested(k, LEVELS, b"N"))
for _kind, _pair in PAIRS.items():
    for _levels in (16, 20, 32, 10_000):
        FILES[f"shared-{_kind}-{_levels}.pkl"] = lambda p=_pair, n=_levels: doubled(n, TENSOR, p)
    FILES[f"shared-{_kind}-no-tensor.pkl"] = lambda p=_pair: doubled(32, b"]", p)
FILES |= {
    # pickles
    "chains.pkl": lambda: pickled(b"](", *[nested("lists", LEVELS, b"N")] * 12, b"e"),
    "tensor-each-level.pkl": lambda: pickled(TENSOR, put(0), b"0", b"](" * 20_000, b"N", (get(0) + b"e") * 20_000),
    "tensor-each-level-2k.pkl": lambda: pickled(TENSOR, put(0), b"0", b"](" * 2_000, b"N", (get(0) + b"e") * 2_000),
    "wide-none.pkl": lambda: pickled(b"](", b"N" * 1_900_000, b"e"),
    "wide-integers.pkl": lambda: pickled(b"](", b"K\7" * 1_900_000, b"e"),
    "wide-lists.pkl": lambda: pickled(b"](", b"]" * 1_900_000, b"e"),
    "wide-dict.pkl": lambda: pickled(b"}(", *[b"M" + struct.pack("<H", i % 65536) + b"N" for i in range(900_000)], b"u"),
    "wide-text.pkl": lambda: pickled(b"](", b"\x8c\1x" * 1_600_000, b"e"),
    "wide-shared-tensor.pkl": lambda: pickled(b"](", TENSOR, put(0), (b"h\0") * 900_000, b"e"),
    "wide-tensors.pkl": lambda: pickled(b"](", TENSOR * 22_000, b"e"),
    "tuples-of-tuples.pkl": lambda: pickled(TENSOR, put(0), b"(", b"h\0" * 150_000, b"t", put(1), b"(", b"h\1" * 150_000, b"t"),
    "tuples-of-nothing.pkl": lambda: pickled(b"N", put(0), b"(", b"h\0" * 150_000, b"t", put(1), b"(", b"h\1" * 150_000, b"t"),
    "sets-of-tuples.pkl": lambda: pickled(b"N", put(0), b"(", b"h\0" * 150_000, b"t", put(1), b"(", b"h\1" * 150_000, b"\x91"),
    "tuple-keys.pkl": lambda: pickled(b"N", put(0), b"(", b"h\0" * 150_000, b"t", put(1), b"}(", b"h\1N" * 150_000, b"u"),
    "shared-text.pkl": lambda: pickled(b"](", text("x" * (1 << 20)), put(0), b"h\0" * 800_000, b"e"),
    "shared-keys.pkl": lambda: pickled(text("k" * (1 << 20)), put(0), b"0](", (b"}h\0" + TENSOR + b"s") * 10_000, b"e"),
    "long-key.pkl": lambda: pickled(b"}", text("k" * (4 << 20)), b"}(", *[text(f"{i}") + TENSOR for i in range(1000)], b"us"),
    "long-key-once.pkl": lambda: pickled(b"}", text("ab" * (5 << 18)), TENSOR, b"s"),
    "escapes.pkl": lambda: pickled(b"}", text("\x1b" * (4 << 20)), text("\x1b" * (900 << 10)), b"s"),
    "big-integer.pkl": lambda: pickled(b"\x8b", struct.pack("<i", 4 << 20), b"\x5a" * (4 << 20)),
    "big-integers.pkl": lambda: pickled(b"](", (b"\x8b" + struct.pack("<i", 400) + b"\x5a" * 400) * 12_000, b"e"),
    "decimal.pkl": lambda: b"I" + b"7" * (4 << 20) + b"\n.",
    "floats.pkl": lambda: b"(l" + b"F1.5\na" * 800_000 + b".",
    "protocol-0.pkl": lambda: b"(l" * LEVELS + b"N" + b"a" * LEVELS + b".",
    "memo.pkl": lambda: pickled(b"N", *[put(i * 4000) for i in range(900_000)]),
    "globals.pkl": lambda: pickled(b"](", *[f"cm\nf{i}\n".encode() for i in range(400_000)], b"e"),
    "calls.pkl": lambda: pickled(b"](", *[f"cos\nsystem{i}\n)R".encode() for i in range(240_000)], b"e"),
    "long-globals.pkl": lambda: pickled(b"](", *[b"cos\nsystem" + b"x" * 900 + b"%d\n)R" % i for i in range(5000)], b"e"),
    "notes.pkl": lambda: pickled(b"](", b"cm\nC\n)\x81}b" * 400_000, b"e"),
    # torch; sizes that the processor time follows from
    "stride-0.pt": lambda: torch_zip([((65536, 1 << 20), (0, 1))], 4 << 20),
    "stride-0-small.pt": lambda: torch_zip([((1 << 16,), (0,))] * 15_000, 4),
    "stride-0-many.pt": lambda: torch_zip([((1 << 14, 1024), (0, 1))] * 10_000, 4096),
    "transposed.pt": lambda: torch_zip([((1024, 1024), (1, 1024))] * 4000, 4 << 20),
    "far-apart.pt": lambda: torch_zip([((1 << 9, 1 << 9), (1, 1 << 10))] * 5000, 3 << 20),
    "many-dimensions.pt": lambda: torch_zip([((1,) * 64, (0,) * 64)] * 3000, 4),
    # zips
    "tiny-members.npz": lambda: zip_of((f"{i}.npy", npy()) for i in range(28_000)),
    "empty-members.npz": lambda: zip_of((f"{i}", b"") for i in range(55_000)),
    "long-names.npz": lambda: zip_of((b"%05d" % i + b"n" * 65_000 + b".npy", npy()) for i in range(38)),
    "long-dotted-names.npz": lambda: zip_of((b"%05d" % i + b".n" * 32_000 + b".npy", npy()) for i in range(38)),
    "overlapping.npz": lambda: zip_of([("w.npy", npy("'<f4'", "(262144,)", bytes(1 << 20)))], overlap=200),
    "overlapping-inflating.npz": lambda: zip_of([("w.npy", npy("'|u1'", f"({1 << 26},)", bytes(1 << 26)))], True, overlap=200),
    "overlapping-many.npz": lambda: zip_of([("w.npy", npy("'|u1'", f"({2 << 20},)", bytes(2 << 20)))], overlap=50_000),
    "inflating.npz": lambda: zip_of([("w.npy", npy("'|u1'", f"({1 << 29},)", bytes(1 << 29)))], True),
    "inflating-fortran.npz": lambda: zip_of([("w.npy", npy(header=b"{'descr':'<f4','fortran_order':True,'shape':(16384,8192)}", payload=bytes(1 << 29)))], True),
    "headers-inflating.npz": lambda: zip_of([(f"{i}.npy", npy(header=b"{'descr':'<f4','fortran_order':False,'shape':(0,)}" + b" " * (4_000_000))) for i in range(280)], True),
    "structure-nested.npz": lambda: zip_of([("__netcl_ckpt__.json", b'{"version":1,"root":' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}"), ("w.npy", npy())]),
    "structure-wide.npz": lambda: zip_of([("__netcl_ckpt__.json", b'{"version":1,"root":[' + b"0," * 2_000_000 + b"0]}"), ("w.npy", npy())]),
    "local-headers.npz": lambda: b"PK\3\4" * (5 << 18),
    "local-headers-inflating.npz": lambda: (b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 8, 0, 0, 0, 0, 0, 1, 0) + b"a" + packed(bytes(1 << 20))[:990]) * 4500,
    "descriptors.npz": lambda: (b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 0, 0, 0, 0, 0, 0, 1, 0) + b"a" + b"PK\7\10" + bytes(12)) * 100_000,
    # npy
    "header-nested.npy": lambda: npy(header=b"(" * 4_000_000, version=2),
    "header-fields.npy": lambda: npy("[" + many(150_000, "('f{0}','<f4'),") + "]", "(0,)"),
    "header-shape.npy": lambda: npy("'<f4'", "(" + "1," * 1_900_000 + ")"),
    "header-nested-fields.npy": lambda: npy("[('a'," * 30 + "[" + many(150_000, "('f{0}','<f4'),") + "]" + ")]" * 30, "(0,)"),
    "wide-item.npy": lambda: npy("'|V4000000'", "(1,)", bytes(4_000_000)),
    "void-items.npy": lambda: npy("'|V0'", f"({1 << 40},)"),
    "text.npy": lambda: npy("'<U1000000'", "(1,)", struct.pack("<I", 0x1F600) * 1_000_000),
    "elements.npy": lambda: npy("'<f2'", "(2400000,)", os.urandom(4_800_000)),
    # safetensors and JSON
    "tensors.safetensors": lambda: safetensors(("{" + many(80_000, '"{0}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}},')[:-1] + "}").encode()),
    "metadata.safetensors": lambda: safetensors({"__metadata__": {f"{i}": "" for i in range(300_000)}}),
    "nested.safetensors": lambda: safetensors(b'{"__metadata__":' + b"[" * 4_000_000),
    "long-names.safetensors": lambda: safetensors({"n" * 900_000 + f"{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(5)}),
    "sidecar-nested.npz+json": lambda: (zip_of([("w.npy", npy())]), b'{"config":' + b"[" * LEVELS + b"]" * LEVELS + b"}"),
    "sidecar-wide.npz+json": lambda: (zip_of([("w.npy", npy())]), b'{"config":[' + b"0," * 1_900_000 + b"0]}"),
    "sidecar-moments.npz+json": lambda: (zip_of([("w.npy", npy("'<f4'", "(600000,)", bytes(2_400_000)))]),
                                         b'{"optim_state":{"t":1,"moments":[[[' + b"0," * 599_999 + b"0],[" + b"0," * 599_999 + b"0]]]}}"),
    "sidecar-deep-dicts.npz+json": lambda: (zip_of([("w.npy", npy())]), b'{"config":' + b'{"a":' * LEVELS + b"1" + b"}" * LEVELS + b"}"),
    # Flax
    "arrays.msgpack": lambda: msgpack_list(79_000, ARRAY),
    "many-arrays.msgpack": lambda: msgpack_list(450_000, ARRAY),
    "bad-arrays.msgpack": lambda: msgpack_list(79_000, b"\xc7\0\1"),
    "named-arrays.msgpack": lambda: msgpack_map([b"\xa5%05d" % i for i in range(79_000)], ARRAY),
    "parts.msgpack": lambda: b"\x83\xb9__msgpack_chunked_array__\xc3\xa5shape\x91\0\xa6chunks" + msgpack_list(79_000, ARRAY),
    "extensions.msgpack": lambda: msgpack_list(1_600_000, b"\xc7\0\5"),
    "wide.msgpack": lambda: msgpack_list(1_900_000, b"\xc0"),
    "wide-lists.msgpack": lambda: msgpack_list(1_900_000, b"\x90"),
    "wide-map.msgpack": lambda: msgpack_map([b"\xce" + struct.pack(">I", i) for i in range(800_000)], b"\xc0"),
    "nested.msgpack": lambda: b"\x91" * LEVELS + ARRAY,
    "nested-maps.msgpack": lambda: b"\x81\xa1a" * LEVELS + ARRAY,
    "long-key.msgpack": lambda: b"\x81\xdb" + struct.pack(">I", 4 << 20) + b"k" * (4 << 20) + msgpack_list(20_000, b"\xc7\0\1"),
    "text.msgpack": lambda: b"\x81\xa1a\xdb" + struct.pack(">I", 4 << 20) + b"\x1b" * (4 << 20),
}
INFLATES = ("*inflating*", "stride-0*", "transposed*", "far-apart*")  # what is read is larger than the file

# ---- commands; F is the file, G a copy of it, O a fresh output without extension, D a folder that holds it ----

COMMANDS = ["inspect F", "inspect --json F", "inspect --verbose F", "inspect --json --verbose F", "inspect --hash F", "inspect --identity F",
            "inspect --stats F", "inspect --html O.html F", "inspect --include *1*a*k F", "inspect --exclude *1*a*k F",
            "inspect --depth 2 --sort size F", "inspect --optimizer-pattern *1*a*k F",
            "verify F", "verify --json F", "verify --verbose F", "verify --format junit F", "verify --format sarif F", "verify --format github F",
            "verify --finite F", "verify --like F F",
            "convert F O.npz", "convert F O.pkl", "convert F O.pt", "convert F O.safetensors", "convert F O.d/", "convert F O.npy",
            "convert --compression best F O.npz", "convert --embed-sidecar F O.npz", "convert --verify F O.pt", "convert --dtype float16 F O.npz",
            "convert --rename (.*)a(.*)=\\2 F O.npz", "convert --include *1*a*k F O.npz", "convert --exclude *1*a*k F O.npz",
            "convert --dry-run F O.npz", "convert --to npz F -",
            "diff F F", "diff F G", "diff --json F G", "diff --report F G", "diff --html O.html F G", "diff --map (.*)a(.*)=\\2 F G",
            "diff --include *1*a*k F G", "diff --exclude *1*a*k F G", "diff --only metadata F G", "diff --ignore-dtype --rtol 1e-3 F G",
            "diff F small.npz", "diff --json small.npz F", "diff --transpose * F G", "diff --brief F G",
            "strip-optimizer F -o O.npz", "strip-optimizer F -o O.pkl", "strip-optimizer --ema F -o O.npz",
            "strip-optimizer --optimizer-pattern *1*a*k --dry-run F -o O.npz",
            "textconv F", "list D", "list --full --json D", "latest D", "prune --keep-last 1 D", "manifest create -f F -o all.json",
            "manifest create -f D -o all.json", "repair F -o O.zip"]


def measure(arguments, cwd):
    """Seconds of processor time, MB, exit code; None where it was ended for what it took."""
    def limits():
        resource.setrlimit(resource.RLIMIT_DATA, (GIVE_UP_MB << 20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (GIVE_UP_SECONDS, GIVE_UP_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = subprocess.Popen(arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=limits)
    timer = threading.Timer(6 * GIVE_UP_SECONDS, process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = 0
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, code


def in_child(make):
    """What is made stays out of this process: its peak is counted as its children's."""
    pid = os.fork()
    if pid == 0:
        try:
            make()
            os._exit(0)
        except BaseException as e:  # noqa: the parent says so
            print(e, file=sys.stderr)
            os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("could not write a file")


def write(folder, name):
    def make():
        made = FILES[name]()
        stem = name.removesuffix("+json")
        parts = {stem: made} if isinstance(made, bytes) else {stem: made[0], stem.replace(".npz", ".json"): made[1]}
        for n, data in parts.items():
            if len(data) > MAX_BYTES:
                raise ValueError(f"{n} has {len(data)} bytes")
            for f in ("file", "copy"):
                (folder / f).mkdir(parents=True, exist_ok=True)
                (folder / f / n).write_bytes(data)
    in_child(make)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=lambda p: str(pathlib.Path(p).resolve()))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--files", default="*")
    parser.add_argument("--commands", default="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    temporary = tempfile.TemporaryDirectory()
    base = pathlib.Path(options.folder or temporary.name).resolve()
    commands = [c for c in COMMANDS if any(fnmatch.fnmatch(c, g) for g in options.commands.split(","))]
    worst = {}  # command: ((MB, file), (seconds, file))
    over = []
    for name in FILES:
        if not any(fnmatch.fnmatch(name, g) for g in options.files.split(",")):
            continue
        folder = base / name
        if not folder.exists():
            write(folder, name)
            in_child(lambda: (folder / "small.npz").write_bytes(zip_of([("w.npy", npy())])))
        stem = name.removesuffix("+json")
        for command in commands:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            places = {"F": f"file/{stem}", "G": f"copy/{stem}", "D": "file"}
            words = [places.get(w, w.replace("O.", "out/o.") if w.startswith("O.") else w) for w in shlex.split(command, posix=False)]
            seconds, megabytes, code = measure([options.tool, *words], folder)
            is_over = megabytes > MAX_MB or code < 0 or (seconds > MAX_SECONDS and not any(fnmatch.fnmatch(name, g) for g in INFLATES))
            if options.all or is_over:
                print(f"{name:<34}{command:<48}{megabytes:7.0f} MB {seconds:7.2f} s  exit {code}{'  OVER' if is_over else ''}", flush=True)
            if is_over:
                over.append((name, command))
            old = worst.get(command, ((0, ""), (0, "")))
            worst[command] = (max(old[0], (megabytes, name)), max(old[1], (seconds, name)))
        shutil.rmtree(folder / "out", ignore_errors=True)
        if not options.folder:
            shutil.rmtree(folder)
    form = "| `{}` | {} MB | {} | {} s | {} |" if options.markdown else "{:<48}{:>6} MB  {:<32}{:>7} s  {}"
    print("| command | memory | by | time | by |\n|---|---:|---|---:|---|" if options.markdown else "")
    for command, ((megabytes, a), (seconds, b)) in worst.items():
        print(form.format(command, f"{megabytes:.0f}", a, f"{seconds:.1f}", b))
    print(f"\n{len(over)} runs over {MAX_MB} MB or {MAX_SECONDS} s")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
