"""The archives that convert writes, as torch.load has them: with Debian's torch 1.13, and held to what newer
torch takes with weights_only=True."""
import collections
import pickle
import pickletools
import subprocess
import sys
import zipfile

from judge import TOOL, expect, failures, np, run, same
from samples import arrays_of_every_dtype

try:
    import torch
except ImportError:
    print("skipped: this Python has no torch (Debian: python3-torch)")
    sys.exit(77)

# torch/_weights_only_unpickler.py of 2.x, which has been the default way of loading since 2.6.
OPCODES = set("""NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE NEWTRUE
    EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BINPERSID BININT BININT1 BININT2 BINFLOAT BINGET LONG_BINGET BINPUT
    LONG_BINPUT BINUNICODE SHORT_BINSTRING LONG1 PROTO STOP GLOBAL""".split())
GLOBALS = {"collections OrderedDict", "torch Size", "torch device", "_codecs encode", "__builtin__ set",
           "__builtin__ complex", "__builtin__ bytearray", "torch._utils _rebuild_tensor_v2"}


def convert(source, target, *options):
    done = subprocess.run([TOOL, "convert", "--quiet", "--force", *options, str(source), str(target)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        failures.append(f"convert {source.name}: exit {done.returncode}: {done.stderr.strip()}")
    return done.returncode == 0


def load(path):
    with zipfile.ZipFile(path) as z:
        expect(z.testzip() is None, f"{path.name}: CRCs")
        for info in z.infolist():
            z.fp.seek(info.header_offset + 26)
            name, extra = (int.from_bytes(z.fp.read(2), "little") for _ in range(2))
            expect((info.header_offset + 30 + name + extra) % 64 == 0, f"{path.name}: {info.filename} is aligned")
        for op, arg, _ in pickletools.genops(z.read("archive/data.pkl")):
            expect(op.name in OPCODES, f"{path.name}: {op.name} is no opcode of weights_only")
            expect(op.name != "GLOBAL" or arg in GLOBALS or arg.startswith("torch ") and
                   (arg.endswith("Storage") or isinstance(getattr(torch, arg[6:]), torch.dtype)),
                   f"{path.name}: {arg} is no global of weights_only")
    return torch.load(path)


def bits(tensor):
    kinds = {torch.bfloat16: torch.int16}
    t = tensor.detach().contiguous()
    return t.view(kinds.get(t.dtype, t.dtype)).numpy().tobytes()


def same_tensor(want, got, where):
    for what in ("dtype", "size", "stride", "storage_offset"):
        w, g = (getattr(t, what) for t in (want, got))
        w, g = (w, g) if what == "dtype" else (w(), g())
        if w != g:
            failures.append(f"{where}: wants {what} {w}, has {g}")
    if len(want.storage()) != len(got.storage()):
        failures.append(f"{where}: wants {len(want.storage())} elements in the storage, has {len(got.storage())}")
    if bits(want) != bits(got):
        failures.append(f"{where}: other elements")


def check_torch(folder):
    base = torch.arange(24, dtype=torch.float32)
    tensors = {
        "base": base, "tied": base, "view": base.view(4, 6), "transposed": base.view(4, 6).t(), "column": base.view(4, 6)[:, 2],
        "tail": base[20:], "expanded": base[3:4].expand(7), "empty": base[:0], "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "channels_last": torch.arange(48.).view(1, 3, 4, 4).contiguous(memory_format=torch.channels_last),
    }
    for dtype in (torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.float16, torch.bfloat16,
                  torch.float64, torch.complex64, torch.complex128):
        tensors[str(dtype)] = torch.arange(-3, 4).to(dtype)
    others = {"epoch": 3, "lr": 0.1, "none": None, "flags": [True, False], "betas": (0.9, 0.999), "text": "é重",
              "long": 2**200, "nan": float("nan"), "groups": [{"params": [0, 1], "lr": 1e-3}], "numbers": list(range(3000))}
    for name, options in (("zip.pt", {}), ("legacy.pt", {"_use_new_zipfile_serialization": False})):
        torch.save({**tensors, **others}, folder / name, **options)
        if not convert(folder / name, folder / "out.pt"):
            continue
        got = load(folder / "out.pt")
        expect(list(got) == list(tensors) + list(others), f"{name}: the order of keys")
        for key, want in tensors.items():
            same_tensor(want, got[key], f"{name}: {key}")
        same(others, {k: got[k] for k in others}, name)
        expect(got["base"] is got["tied"], f"{name}: a tensor under two names is one")
        for key in ("view", "transposed", "column", "tail", "expanded"):
            expect(got[key].storage().data_ptr() == got["base"].storage().data_ptr(), f"{name}: {key} shares its storage")

        convert(folder / name, folder / "compact.pt", "--compact", "--verify")
        compact = load(folder / "compact.pt")
        for key, want in tensors.items():
            expect(bits(want) == bits(compact[key]), f"{name}: {key}, compact")
            expect(len(compact[key].storage()) == want.numel(), f"{name}: {key} keeps only what it uses")

    torch.save(tensors, folder / "tensors.pt")  # 1.13's weights_only knows no float
    convert(folder / "tensors.pt", folder / "out.pt")
    got = torch.load(folder / "out.pt", weights_only=True)
    for key, want in tensors.items():
        same_tensor(want, got[key], f"weights_only: {key}")

    torch.save({"d": torch.float32, "s": {1, 2}, "c": 1 + 2j, "b": b"\0\xff", "dtype": torch.bfloat16}, folder / "more.pt")
    convert(folder / "more.pt", folder / "out.pt")
    same(torch.load(folder / "more.pt"), load(folder / "out.pt"), "more.pt")

    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(5, 4)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "training.pt")
    convert(folder / "training.pt", folder / "out.pt")
    got = load(folder / "out.pt")
    model.load_state_dict(got["model"])
    optimizer.load_state_dict(got["optimizer"])
    for key, want in model.state_dict().items():
        same_tensor(want, got["model"][key], key)
    # A state dict stays an OrderedDict, and keeps what load_state_dict() asks of each module's version.
    subprocess.run([TOOL, "strip-optimizer", "-q", folder / "training.pt", "-o", folder / "stripped.pt"], check=True)
    want = model.state_dict()
    for name, back in (("convert", got["model"]), ("strip", load(folder / "stripped.pt")["model"])):
        expect(type(back) is type(want) and back._metadata == want._metadata, f"{name}: OrderedDict and _metadata")


def check_numpy(folder):
    arrays = arrays_of_every_dtype()
    convertible = {"?", "i1", "u1", "<i2", ">i2", "<i4", "<i8", ">i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c16"}
    kept = {k: a for k, a in arrays.items() if a.dtype in map(np.dtype, convertible)}
    newer = {"<u2", ">u2", "<u4", ">u4", "<u8", ">u8"}  # written for torch 2.3 and later
    refused = {k: a for k, a in arrays.items() if k not in kept and a.dtype not in map(np.dtype, newer)}
    np.savez(folder / "in.npz", **kept)
    (folder / "in.pkl").write_bytes(pickle.dumps(kept))
    for source in ("in.npz", "in.pkl"):
        if convert(folder / source, folder / "out.pt"):
            got = load(folder / "out.pt")
            expect(list(got) == list(kept), f"{source}: the order of names")
            for key, want in kept.items():
                native = want.astype(want.dtype.newbyteorder("="), order="C")
                same(native, np.ascontiguousarray(got[key].numpy()).reshape(want.shape), f"{source}: {key}")
                expect(len(got[key].storage()) == want.size, f"{source}: {key} has a storage of its own")
            expect(got["order/f"].stride() == (1, 5), f"{source}: Fortran order is kept as strides")
    for key, array in refused.items():
        np.savez(folder / "in.npz", **{key: array})
        done = subprocess.run([TOOL, "convert", str(folder / "in.npz"), str(folder / "refused.pt")], capture_output=True, text=True)
        expect(done.returncode != 0 and key in done.stderr, f"{key} is refused by name: {done.stderr}")

    values = {"step": np.float32(1.5), "count": np.int64(7), "nested": collections.OrderedDict(w=np.ones(3), b=(np.zeros(2), None))}
    (folder / "in.pkl").write_bytes(pickle.dumps(values))
    convert(folder / "in.pkl", folder / "out.pt")
    got = load(folder / "out.pt")
    expect(got["step"].dtype == torch.float32 and got["step"].item() == 1.5, "a NumPy scalar is a tensor of no dimensions")
    expect(got["count"].dtype == torch.int64 and got["count"].item() == 7, "an integer too")
    expect(got["nested"]["b"][0].tolist() == [0, 0] and got["nested"]["b"][1] is None, "nested arrays are tensors")


def main(folder):
    check_torch(folder)
    check_numpy(folder)


run(main)
