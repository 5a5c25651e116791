"""Write the seeds of the fuzz targets: FOLDER/<target>/<name>, each small and each a feature of its format.

    make_corpus.py FOLDER        (Debian's python3: NumPy 1.24, torch 1.13)

Crashers that fuzzing found are kept in the same folders, with the name of what they broke.
"""
import io
import json
import pathlib
import pickle
import struct
import sys
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import torch


def safetensors(entries, data, metadata=None, pad=0):
    header = {"__metadata__": metadata} if metadata else {}
    header.update({name: {"dtype": d, "shape": s, "data_offsets": o} for name, d, s, o in entries})
    text = json.dumps(header).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def safetensors_seeds():
    yield "empty", safetensors([], b"")
    yield "one", safetensors([("w", "F32", [2, 2], [0, 16])], bytes(range(16)))
    yield "order", safetensors([("z", "U8", [2], [1, 3]), ("a", "BOOL", [1], [0, 1])], b"abc", {"format": "pt"}, 5)
    yield "kinds", safetensors([("a", "BF16", [], [0, 2]), ("b", "F8_E4M3", [0, 9], [2, 2]), ("c", "C64", [1], [2, 10])],
                               bytes(10))
    yield "skipped", struct.pack("<Q", 73) + b'{"t":{"dtype":"I8","x":[{"y":[1]}],"shape":[3],"data_offsets":[0,3]}}    ' + b"abc"


def sidecar_seeds():
    yield "netcl", json.dumps({"optim_state": {}, "config": {"lr": 1e-3, "name": "\u00e9"}}).encode()
    yield "moments", b'{"optim_state": {"t": 8, "moments": [[[1.0, 2.0], [3, NaN]]]}, "config": {}}'
    yield "velocity", b'{"optim_state": {"velocity": [[[1], [2]], -Infinity, []]}}'
    yield "torn", b'{"optim_state": {"t": 8, "moments": [['
    yield "numbers", b'{"config": [1e308, -0, 18446744073709551616, 1.5E-7, true, null, "\\ud83d\\ude00\\n"]}'
    yield "twice", b'{"config": {"a": 1, "\\u0061": 2}}'
    yield "foreign", b"[[[[{}]]]]"


def npy(array, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), version)
    return out.getvalue()


def npy_seeds():
    a = np.arange(6, dtype="<f4").reshape(2, 3)
    yield "c", npy(a)
    yield "fortran", npy(np.asfortranarray(a), (2, 0))
    yield "big", npy(a.astype(">f8"), (3, 0))
    yield "scalar", npy(np.float16(1))
    yield "empty", npy(np.zeros((0, 3), "<i8"))
    yield "text", npy(np.array(["ab", "é"]))
    yield "time", npy(np.array([1, 2], "<M8[25us]"))
    yield "fields", npy(np.zeros(2, [("a", "<f4", (2,)), ("b", [("c", ">i2"), ("d", "S3")])]))
    yield "object", npy(np.array([{"a": 1}, None], object))


def npz(members, method=zipfile.ZIP_STORED, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo(name), data, method)
        z.comment = comment
    return out.getvalue()


def npz_seeds():
    a = np.arange(6, dtype="<f4").reshape(2, 3)
    out = io.BytesIO()
    np.savez(out, a=a)  # with zip64 fields
    yield "zip64", out.getvalue()
    yield "stored", npz({"a.npy": npy(a), "b/c.npy": npy(np.asfortranarray(a))})
    yield "deflated", npz({"a.npy": npy(np.zeros((9, 9))), "b.npy": npy(a.T)}, zipfile.ZIP_DEFLATED)
    yield "bzip2", npz({"a.npy": npy(a)}, zipfile.ZIP_BZIP2)
    yield "lzma", npz({"a.npy": npy(a)}, zipfile.ZIP_LZMA)
    yield "other", npz({"readme": b"no array", "é.npy": npy(a)}, comment=b"a comment")
    yield "object", npz({"o.npy": npy(np.array([1, "x"], object))})
    meta = {"type": "Sequential", "config": [{"type": "Linear", "args": {"out_features": 3}}], "version": 2,
            "format": "netcl.single-file"}
    yield "netcl", npz({"__netcl_meta__.npy": npy(np.array(json.dumps(meta))), "0:weight.npy": npy(a)})
    yield "empty", npz({})


class Unsafe:
    def __reduce__(self):
        return print, ("not executed",)


def pickle_seeds():
    a = np.arange(4, dtype="<f4").reshape(2, 2)
    shared = [a]
    shared.append(shared)
    state = OrderedDict(model={"w": a, "t": a.T, "f": np.asfortranarray(a), "b": None}, t=8, lr=np.float32(0.5),
                        moments=[(a[0], a[1])], big=2**80, text="é\ud800", raw=b"\x00\xff", s={1, 2.5}, f=frozenset([True]),
                        c=1j, again=shared)
    for protocol in range(6):
        yield f"protocol{protocol}", pickle.dumps(state, protocol)
    yield "python2", b"(dp0\nS'w'\np1\nI1\nsS't'\nL5L\nsS'b'\nI01\nsg1\nF0.5\ns."
    yield "object", pickle.dumps(np.array([a, None, "x"], object))
    yield "fields", pickle.dumps(np.zeros(2, [("a", "<f4", (2,)), ("b", ">i2")]))
    yield "random", pickle.dumps(np.random.RandomState(0).get_state()[2:])
    yield "unsafe", pickle.dumps({"a": a, "x": Unsafe()})
    # joblib before 0.10: arrays in files beside this one
    yield "joblib-files", (
        b"\x80\2}(X\1\0\0\0acjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}X\x08\0\0\0filenameX\x08\0\0\0m_01.npysb"
        b"X\1\0\0\0bcjoblib.numpy_pickle\nZNDArrayWrapper\n)\x81}(X\x08\0\0\0filenameX\3\0\0\0m.zX\5\0\0\0state(K\1K\2\x85"
        b"cnumpy\ndtype\nX\2\0\0\0f4K\0K\1\x87R(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89tubu.")


def torch_seeds():
    base = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    values = {"views": {"a": base, "t": base.t(), "row": base[1], "wide": base[0].expand(4, 3)},
              "kinds": [torch.ones(2, dtype=d) for d in (torch.bfloat16, torch.bool, torch.int64, torch.complex64)],
              "model": {"state": torch.nn.Linear(2, 1).state_dict(), "p": torch.nn.Parameter(base), "n": torch.Size([1]),
                        "d": torch.float16, "c": torch.device("cpu")}}
    for name, value in values.items():
        for legacy in (False, True):
            out = io.BytesIO()
            torch.save(value, out, _use_new_zipfile_serialization=not legacy)
            yield f"{name}{'-legacy' if legacy else ''}", out.getvalue()
    yield "small", small_torch()
    yield "tar", torch_tar()
    # pickle.dumps({"a": 1}, 2) by lz4: Debian's Python has no module for it
    yield "lz4", bytes.fromhex("04224d186040820f00008080027d71005801000000614b01732e00000000")


def torch_tar():
    """As torch wrote before 0.1.11: two views of a storage, a part of it, a class, behind pax headers."""
    def dump(obj):
        return pickle.dumps(obj, 2)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj[1] if isinstance(obj, tuple) and obj[0] == "id" else None

    body = io.BytesIO()
    Pickler(body, 2).dump({"w": ("id", "20"), "t": ("id", "21"), "part": ("id", "11"), "class": ("id", (OrderedDict, None, None))})
    tensors = dump(2) + b"".join(
        dump((key, 10, torch.FloatTensor)) + struct.pack(f"<i4x{2 * len(shape) + 1}q", len(shape), *shape, *strides, offset)
        for key, shape, strides, offset in ((20, (2, 3), (3, 1), 0), (21, (2,), (3,), 1)))
    storages = dump(1) + dump((10, "cpu", torch.FloatStorage)) + struct.pack("<q6f", 6, *range(6)) + dump([(11, 10, 2, 3)])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {"sys_info": dump({"little_endian": True}), "pickle": body.getvalue(), "tensors": tensors,
                              "storages": storages}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5 if name == "sys_info" else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()[:-9 * 512]  # without what fills a tape's record


def small_torch():
    """Under 1 KB, which torch's alignment makes impossible."""
    out = io.BytesIO()
    torch.save({"w": torch.ones(2), "t": 8}, out)
    with zipfile.ZipFile(out) as z:
        return npz({n: z.read(n) for n in z.namelist()})


def structure_seeds():
    yield "all", (b'{"netcl-ckpt":1,"state":{"a":{"$tensor":"bfloat16"},"b.c":{"$tensor":""},"d":[{"$tensor":""},{"$tuple":[1,'
                  b'2.5,null,true]},{"$dict":[[7,{"$set":[1]}],[{"$bytes":"00ff"},{"$frozenset":[]}]]},{"$real":"NaN"},'
                  b'{"$complex":[1.0,{"$real":"Infinity"}]},{"$name":"torch.float32"},{"$scalar":["<f4","0000803f"]},'
                  b'{"$str":"eda080"},123456789012345678901234567890]},"attributes":{"config":{"lr":0.5}}}')
    yield "flat", b'{"netcl-ckpt":1,"state":{"b.c":{"$tensor":""},"a":{"$tensor":""},"d.0":{"$tensor":""}}}'
    yield "object", b'{"netcl-ckpt":1,"state":{"a":{"$tensor":"|O"}}}'


def manifest_seeds():
    tensor = {"name": "w", "dtype": "float32", "shape": [2, 3], "sha256": "0" * 64}
    files = [{"path": "a.npz", "file_bytes": 7, "sha256": "1" * 64, "format": "npz", "identity": "2" * 64, "tensors": [tensor]},
             {"path": "b/notes.txt", "file_bytes": 0, "sha256": "3" * 64}]
    yield "manifest", json.dumps({"schema": "netcl-ckpt.manifest/1", "files": files}).encode()
    yield "index", json.dumps({"schema": "netcl-ckpt.index/1", "checkpoints": [
        {"name": "iter_1.npz", "size_bytes": 7, "modified_ns": 1, "step": 1, "metrics": {"loss": 0.5}}]}).encode()
    yield "shapes", b'{"w": [2, 3], "b": {"dtype": "float32", "shape": []}}'


def repair_seeds():
    whole = dict(npz_seeds())["deflated"]
    yield "torn", whole[:-40]
    yield "no-front", whole[60:]
    yield "torch", small_torch()[:-30]
    yield "descriptor", b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 0, 0, 33, 0, 0, 0, 1, 0) + b"a" + b"abc" + (
        b"PK\7\10" + struct.pack("<III", 0x352441C2, 3, 3))


def flax():
    """What flax.serialization.msgpack_serialize gives, and a value of an extension that it does not have."""
    def text(s):
        return bytes([0xA0 + len(s)]) + s.encode()

    def extension(code, data):
        return b"\xc7" + bytes([len(data), code]) + data

    def array(shape, dtype, data, code=1):
        return extension(code, b"\x93" + bytes([0x90 + len(shape), *shape]) + text(dtype) + b"\xc4" + bytes([len(data)]) + data)

    def table(**values):
        return bytes([0x80 + len(values)]) + b"".join(text(k) + v for k, v in values.items())

    kernel = array([2, 3], "bfloat16", bytes(range(12)))
    parts = b"\x83" + text("__msgpack_chunked_array__") + b"\xc3" + text("shape") + b"\x82\xa10\2\xa11\1" + text("chunks") + (
        b"\x82\xa11" + array([1], "int8", b"b") + b"\xa10" + array([1], "int8", b"a"))
    return table(step=b"\xcd\1\0", params=table(kernel=kernel, parts=parts),
                 opt_state=table(count=array([], "int32", b"\1\0\0\0"), mu=table(kernel=kernel)),
                 other=b"\x98\xc0\xc2\xff" + array([], "float32", bytes(4), 3) + extension(2, b"\x92\1\2") +
                 b"\xcb\x3f\xf8\0\0\0\0\0\0" + extension(255, b"tick") + b"\xc4\2\0\xff")


def any_seeds():
    yield "flax", flax()
    yield "npz", dict(npz_seeds())["other"]
    yield "pickle", pickle.dumps({"model": {"w": np.ones(2, "<f4")}, "optimizer": {"state": [np.zeros(2, "<f4")], "t": 8}}, 4)
    yield "torch", small_torch()


SEEDS = {"structure": structure_seeds, "manifest": manifest_seeds, "repair": repair_seeds, "operations": any_seeds,
         "directory": any_seeds, "npy": npy_seeds, "npz": npz_seeds, "pickle": pickle_seeds, "torch": torch_seeds, "safetensors": safetensors_seeds,
         "sidecar": sidecar_seeds}


def main():
    for target, seeds in SEEDS.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
