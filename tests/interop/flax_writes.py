"""Flax's msgpack files, by a writer of our own: flax.serialization.msgpack_serialize on msgpack's Packer, in short."""
import struct

import subprocess

from judge import TOOL, check, expect, flat, np, run

MAX_CHUNK_BYTES = 1000  # Flax's is 2**30


def sized(n, *forms):
    """The first of the forms (largest size, first byte, bytes of the length) that can say `n`."""
    for most, first, length in forms:
        if n <= most:
            return bytes([first + n]) if length == 0 else bytes([first]) + n.to_bytes(length, "big")
    raise ValueError(n)


def extension(code, data):
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    head = (bytes([fixed[len(data)]]) if len(data) in fixed else
            sized(len(data), (2**8 - 1, 0xC7, 1), (2**16 - 1, 0xC8, 2), (2**32 - 1, 0xC9, 4)))
    return head + struct.pack("b", code) + data


def pack(v):
    if v is None or isinstance(v, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[v]
    if isinstance(v, np.ndarray) and v.nbytes > MAX_CHUNK_BYTES:
        step = MAX_CHUNK_BYTES // v.itemsize
        parts = {str(i): v.reshape(-1)[at:at + step] for i, at in enumerate(range(0, v.size, step))}
        return pack({"__msgpack_chunked_array__": True, "chunks": dict(sorted(parts.items())),  # as jax sorts them
                     "shape": {str(i): n for i, n in enumerate(v.shape)}})
    if isinstance(v, (np.ndarray, np.generic)):
        a = np.asarray(v)
        return extension(1 if isinstance(v, np.ndarray) else 3, pack([list(a.shape), a.dtype.name, a.tobytes("C")]))
    if isinstance(v, int):
        if -32 <= v < 128:
            return struct.pack("b", v)
        unsigned = [f for f in ("\xcc>B", "\xcd>H", "\xce>I", "\xcf>Q") if 0 <= v < 1 << 8 * struct.calcsize(f[1:])]
        signed = [f for f in ("\xd0>b", "\xd1>h", "\xd2>i", "\xd3>q") if -v <= 1 << 8 * struct.calcsize(f[1:]) - 1]
        form = (unsigned if v >= 0 else signed)[0]
        return form[0].encode("latin-1") + struct.pack(form[1:], v)
    if isinstance(v, float):
        return b"\xcb" + struct.pack(">d", v)
    if isinstance(v, complex):
        return extension(2, pack([v.real, v.imag]))
    if isinstance(v, str):
        data = v.encode()
        return sized(len(data), (31, 0xA0, 0), (2**8 - 1, 0xD9, 1), (2**16 - 1, 0xDA, 2)) + data
    if isinstance(v, bytes):
        return sized(len(v), (2**8 - 1, 0xC4, 1), (2**16 - 1, 0xC5, 2), (2**32 - 1, 0xC6, 4)) + v
    if isinstance(v, dict):
        return sized(len(v), (15, 0x80, 0), (2**16 - 1, 0xDE, 2)) + b"".join(pack(k) + pack(e) for k, e in v.items())
    return sized(len(v), (15, 0x90, 0), (2**16 - 1, 0xDC, 2)) + b"".join(map(pack, v))


def tool(*arguments):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True)


def converts(folder):
    state = {"params": {"w": np.arange(600, dtype=np.float32).reshape(20, 30), "b": np.float16(range(3))}, "step": 7}
    source = folder / "small.msgpack"
    source.write_bytes(pack(state))
    for name in ("a.safetensors", "a.npz", "a.pkl", "a.pt"):
        done = tool("convert", "--verify", source, folder / name)
        expect(done.returncode == 0, f"convert to {name}: {done.stderr}")
        check(folder / name, flat(state))
        done = tool("diff", source, folder / name)
        expect(done.returncode == 0, f"diff with {name}: {done.stdout}{done.stderr}")
    for arguments in (("convert", source, folder / "b.msgpack"), ("strip-optimizer", source), ("strip-optimizer", "--in-place", source)):
        done = tool(*arguments)
        expect(done.returncode == 2 and "read, not written; use --to safetensors" in done.stderr, f"{arguments}: {done.stderr}")
    expect(source.read_bytes() == pack(state), "the source is as it was")


def strips(folder):
    params = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    moments = {k: {n: {"grad_ema": v, "grad_sq_ema": v} for n, v in layer.items()} for k, layer in params.items()}
    states = {
        "train_state": {"step": 9, "params": params, "opt_state": {"0": {"count": np.int32(9), "mu": params, "nu": params}, "1": {}}},
        "optimizer": {"target": params, "state": {"step": 9, "param_states": moments}},
    }
    for name, state in states.items():
        (folder / f"{name}.msgpack").write_bytes(pack(state))
        expect(tool("verify", folder / f"{name}.msgpack").returncode == 0, f"{name} is sound")
        done = tool("strip-optimizer", folder / f"{name}.msgpack", "-o", folder / f"{name}.npz")
        expect(done.returncode == 0, f"{name}: {done.stderr}")
        kept = {k: v for k, v in state.items() if k in ("params", "target")}
        document = check(folder / f"{name}.npz", flat(kept))
        expect(document and "opt_state" not in str(document["metadata"]), f"{name}: nothing of the optimizer stays")


def main(folder):
    random = np.random.default_rng(0)
    arrays = {}
    for dtype in ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
                  "float64", "complex64", "complex128"):
        for shape in ((), (0, 2), (5,), (2, 3), (40, 50)):
            arrays[f"{dtype}_{len(shape)}_{shape[0] if shape else 0}"] = random.integers(0, 99, shape).astype(dtype) + \
                np.zeros(shape, dtype)
    arrays = {k: np.asarray(a) for k, a in arrays.items()}
    arrays["when"] = np.array(["2020-01-01", "NaT"], "datetime64[ns]")
    arrays["turned"] = np.arange(12, dtype=np.int32).reshape(3, 4).T
    values = {"none": None, "yes": True, "no": False, "ints": [0, 127, 128, 70000, 2**40, 2**63, -1, -33, -40000, -2**40],
              "real": 0.1, "text": "é重" * 20, "bytes": b"\0\xff" * 200, "complex": 1.5 - 2j, "empty": {}, "scalar": np.float32(2.5),
              "many": list(range(100)), 7: "an int for a key"}
    state = {"params": {"Dense_0": arrays}, "values": values, "lists": [[np.ones(3), "x"], {"a": np.zeros(2)}]}
    (folder / "all.msgpack").write_bytes(pack(state))
    (folder / "checkpoint_7").write_bytes(pack(state))
    want = flat(state)
    expect(len(want) == len(arrays) + 2, "every array is compared")
    document = check(folder / "all.msgpack", want, format="flax")
    check(folder / "checkpoint_7", want, format="flax")
    metadata = document["metadata"]["values"] if document else {}
    for key, value in values.items():
        got = metadata.get(str(key), "is not there")
        if not isinstance(value, (bytes, complex, np.generic)) and not (key == "ints"):
            expect(got == value, f"{key} is {value}, not {got}")
    expect([int(n) for n in metadata.get("ints", [])] == values["ints"], "integers of each width")

    converts(folder)
    strips(folder)
    try:
        import ml_dtypes
    except ImportError:
        return
    names = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4")
    brains = {name: np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, name)) for name in names}
    (folder / "brain.msgpack").write_bytes(pack({"params": brains}))
    check(folder / "brain.msgpack", flat({"params": brains}), format="flax")


run(main)
