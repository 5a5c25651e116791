"""Random states through every format and home again, bit for bit; and what convert writes, read by its own program.

Home is a pickle: the only format that says everything. safetensors and torch normalise byte order and lack some dtypes,
so what goes through them is drawn from what they hold.
"""
import json
import pickle
import random
import struct

from judge import TOOL, failures, flat, np, run, subprocess

try:
    import torch
except ImportError:
    torch = None
try:
    from safetensors.numpy import load_file
except ImportError:
    load_file = None

EVERYWHERE = ["?", "i1", "u1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"]
NUMPY_ONLY = [">i2", ">f4", ">c16", "<u4", "<c32", "<f16", "S5", "<U3", "<M8[ns]", "<m8[25s]", "V6",
              [("a", "<f4"), ("b", ">i2", (2, 3))], np.dtype([("a", "u1"), ("b", "<f8")], align=True)]


def array(r, dtypes):
    dtype = np.dtype(r.choice(dtypes))
    shape = tuple(r.choice([0, 1, 2, 3, 5]) for _ in range(r.choice([0, 1, 1, 2, 2, 3])))
    if r.random() < 0.03:
        shape = (r.randint(200_000, 400_000),)  # beyond a block
    count = int(np.prod(shape))
    if dtype.kind == "U":
        return np.full(shape, "é重", dtype)
    if dtype.kind == "b":
        a = np.asarray(np.frombuffer(r.randbytes(count), np.uint8).reshape(shape) % 2 == 1)
    else:
        a = np.frombuffer(r.randbytes(count * dtype.itemsize), dtype).reshape(shape)  # NaN payloads too
    return np.asfortranarray(a) if r.random() < 0.3 else a


def value(r, dtypes, depth):
    kind = r.random()
    if depth == 0 or kind < 0.45:
        return array(r, dtypes)
    if kind < 0.65:
        return {r.choice(["w", "a.b", "", "é", "$x", 3, None, "optimizer"]) if r.random() < 0.3 else f"k{i}": value(r, dtypes, depth - 1)
                for i in range(r.randint(0, 4))}
    if kind < 0.75:
        return [value(r, dtypes, depth - 1) for _ in range(r.randint(0, 3))]
    if kind < 0.85:
        return tuple(value(r, dtypes, depth - 1) for _ in range(r.randint(0, 3)))
    return r.choice([None, True, 7, -2**70, 0.1, float("inf"), "text\n\"é", b"\0\xff", 1 + 2j, {1}, frozenset({2})])


def num_arrays(v):
    items = v.values() if isinstance(v, dict) else v if isinstance(v, (list, tuple)) else ()
    return isinstance(v, np.ndarray) + sum(map(num_arrays, items))


def same(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            return False
        if a.dtype != b.dtype:  # NumPy makes big-endian arrays native while it loads a pickle
            a, b = (x.astype(x.dtype.newbyteorder("="), copy=False) for x in (a, b))
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


def convert(source, target, *args):
    done = subprocess.run([TOOL, "convert", "-q", "--force", "--verify", *args, str(source), str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        failures.append(f"{source} to {target} {args}: exit {done.returncode}: {done.stderr.strip()}")
    return done.returncode == 0


def round_trips(folder, r, ways, dtypes, count):
    for n in range(count):
        state = {"model": value(r, dtypes, 3), "more": value(r, dtypes, 2), "step": n}
        if len(flat(state)) != num_arrays(state):
            continue  # "a.b" beside a: {b}: one name for two
        home = folder / "home.pkl"
        home.write_bytes(pickle.dumps(state, protocol=r.randint(0, 5)))
        for way in ways:
            at = home
            for i, (extension, *args) in enumerate(way):
                to = f"{folder}/step{i}{extension}"  # a name that ends with "/" is a folder of npy files
                if not convert(at, to, *args):
                    break
                at = to
            else:
                if convert(at, folder / "back.pkl"):
                    back = pickle.loads((folder / "back.pkl").read_bytes())
                    if not same(state, back):
                        failures.append(f"state {n} through {way} came back different: {state!r:.300} {back!r:.300}")


def main(folder):
    r = random.Random(20261123)
    npz = [[(".npz",)], [(".npz", "--compression", "fast")],
           [(".npz", "--compression", "best"), (".npz", "--compression", "none")],
           [(".npz", "--compression", "fast"), (".npz",)]]
    round_trips(folder, r, npz + [[(".pkl",)], [("/",), (".npz",), ("/",)]], EVERYWHERE + NUMPY_ONLY, 25)
    through = [[(".safetensors",)], [(".safetensors",), (".npz", "--compression", "fast"), (".safetensors",)]]
    round_trips(folder, r, through, EVERYWHERE, 15)
    readable(folder, r)
    architecture(folder)


def architecture(folder):
    """A `.netcl` through every format, and through two, and home again: the same members, bit for bit."""
    text = json.dumps({"type": "Sequential", "config": [{"type": "Linear", "args": {"name": "é重"}}], "version": 2},
                      ensure_ascii=False)
    state = {"__netcl_meta__": np.array(text), "1:weight": np.ones((3, 2), "<f4"), "1:bias": np.arange(3, dtype="<f2")}
    with open(folder / "in.netcl", "wb") as file:
        np.savez(file, **state)
    extensions = [".npz", ".pkl", ".safetensors", ".pt", "/"]
    for way in [(a,) for a in extensions] + [(a, b) for a in extensions for b in extensions]:
        at = folder / "in.netcl"
        for i, extension in enumerate(way):
            to = f"{folder}/architecture{i}{extension}"
            convert(at, to)
            at = to
        if convert(at, folder / "back.netcl"):
            with np.load(folder / "back.netcl") as z:
                if sorted(z.files) != sorted(state) or not all(same(state[k], z[k]) for k in state):
                    failures.append(f"a .netcl through {way} came back different")
    if torch:
        convert(folder / "in.netcl", folder / "out.pt")
        if torch.load(folder / "out.pt")["__netcl_meta__"] != text:
            failures.append("torch.load has another architecture")


def readable(folder, r):
    """A flat state, read by the programs that own the formats."""
    state = {f"t{i}": array(r, EVERYWHERE) for i in range(30)}
    np.savez(folder / "in.npz", **state)
    for compression in ("keep", "none", "fast", "best"):
        if convert(folder / "in.npz", folder / "out.npz", "--compression", compression):
            with np.load(folder / "out.npz") as z:
                if z.files != list(state) or not all(same(state[k], z[k]) for k in state):
                    failures.append(f"np.load of --compression {compression} differs")
    if convert(folder / "in.npz", f"{folder}/out/"):
        if not all(same(state[k], np.load(folder / "out" / f"{k}.npy")) for k in state):
            failures.append("np.load of a folder's npy differs")
    if convert(folder / "in.npz", folder / "out.pkl") and not same(state, pickle.loads((folder / "out.pkl").read_bytes())):
        failures.append("pickle.load differs")
    if load_file and convert(folder / "in.npz", folder / "out.safetensors"):
        back = load_file(folder / "out.safetensors")
        if not all(same(np.ascontiguousarray(state[k]).reshape(state[k].shape), back[k]) for k in state):
            failures.append("safetensors.load_file differs")
    if torch and convert(folder / "in.npz", folder / "out.pt"):
        back = torch.load(folder / "out.pt", weights_only=True)
        if not all(same(state[k], back[k].numpy()) for k in state):
            failures.append("torch.load differs")


run(main)
