"""The small files that the command-line tests run on, made with Python's standard library alone."""
import json
import os
import pathlib
import pickle
import struct
import zipfile


def npy(descr, shape, payload, fortran=False):
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape!r}, }}".encode()
    header += b" " * ((64 - (10 + len(header) + 1) % 64) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def write_zip(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as z:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # 1980: the same bytes each time
            info.compress_type = method
            z.writestr(info, data, compresslevel=0)  # level 0: the same size with every zlib


class Evil:
    def __reduce__(self):
        import os
        return os.system, ("echo \x1b[31mboo",)


def make(folder):
    folder = pathlib.Path(folder)
    weight = npy("<f4", (2, 3), floats(1, 2, 3, 4, 5, 6))
    bias = npy("<f4", (3,), floats(0, float("nan"), float("inf")))
    state = {"model.fc.weight.npy": weight, "model.fc.bias.npy": bias,
             "optimizer.m.fc.weight.npy": weight, "optimizer.m.fc.bias.npy": bias,
             "epoch.npy": npy("<i8", (), struct.pack("<q", 7))}
    write_zip(folder / "state.npz", state)
    write_zip(folder / "packed.npz", state, zipfile.ZIP_DEFLATED)
    write_zip(folder / "pair.npz", {"fc.weight.npy": weight})
    (folder / "pair.json").write_text(json.dumps(
        {"optim_state": {}, "config": {"lr": 0.1, "betas": [0.9, 0.999], "note": "two\nlines \x1b[2J"}}))
    write_zip(folder / "torn.npz", {"fc.weight.npy": weight})
    (folder / "torn.json").write_text('{"optim_state": {"t": 3, "moments": [[')
    meta = json.dumps({"type": "Sequential", "version": 2, "format": "netcl.single-file", "config": [
        {"type": "Linear", "args": {"in_features": 3, "out_features": 2, "bias": True}}, {"type": "ReLU", "args": {}}]})
    write_zip(folder / "model.netcl", {"0:weight.npy": weight, "__netcl_meta__.npy":
                                       npy(f"<U{len(meta)}", (), meta.encode("utf-32-le"))})
    (folder / "array.npy").write_bytes(npy(">i2", (2, 2), struct.pack(">4h", 1, 2, 3, -4), fortran=True))
    write_zip(folder / "hostile.npz", {name + ".npy": weight for name in (
        "esc\x1b[31mred", "bell\x07", "line\nbreak", "tab\tstop", "c1\u009b31m", "rtl\u202eoverride", "del\x7f", "é×漢")})
    good = (folder / "state.npz").read_bytes()
    (folder / "cut.npz").write_bytes(good[:-30])
    flipped = bytearray(good)
    flipped[good.index(floats(1, 2, 3))] ^= 1
    (folder / "flipped.npz").write_bytes(flipped)
    moved = npy("<f4", (2, 3), floats(1, 2.5, 3, 4, 5, -6))
    write_zip(folder / "later.npz", {"model.fc.weight.npy": moved, "model.fc.bias.npy": npy("<f4", (4,), floats(0, 1, 2, 3)),
                                     "model.extra\x1b[31m.npy": weight, "optimizer.m.fc.weight.npy": weight,
                                     "optimizer.m.fc.bias.npy": bias, "epoch.npy": npy("<i4", (), struct.pack("<i", 8))})
    for name, third in (("trained.npz", 3), ("nearly.npz", 3 + 2**-22)):
        write_zip(folder / name, {"model.w.npy": npy("<f4", (3,), floats(1, 2, third)), "optimizer.m.w.npy": weight,
                                  "epoch.npy": npy("<i8", (), struct.pack("<q", 7))})
    write_zip(folder / "unread.npz", {"fc.weight.npy": weight, "fc.bias.npy": b"\x93NUMPY\x01\x00\x08\x00{'descr\n"})
    (folder / "text.npz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "evil.pkl").write_bytes(pickle.dumps({"model": Evil(), "lr": 0.5}, protocol=2))
    settings = pickle.dumps({"kernel": "rbf", "C": 1.5, "classes": (0, 1), "inner": {}}, protocol=2)[2:-1]
    (folder / "object.pkl").write_bytes(b"\x80\x02cstranger\nModel\n)\x81" + settings + b"b.")
    (folder / "empty").mkdir()
    (folder / "runs").mkdir()
    write_zip(folder / "runs/b.npz", {"w.npy": weight})
    write_zip(folder / "runs/a.npz", {"w.npy": bias})
    (folder / "runs/notes.txt").write_text("no checkpoint")
    (folder / "shapes.json").write_text('{"fc.weight": [2, 3], "fc.bias": {"dtype": "float32", "shape": [2]}}')
    write_zip(folder / "many.npz", {f"layer{i}.weight.npy": weight for i in range(2000)})
    make_run(folder / "train", weight)


def write_state(path, npy_file, **state):
    """An npz as the save functions write it: plain values in the archive's comment."""
    write_zip(path, {"w.npy": npy_file})
    with zipfile.ZipFile(path, "a") as z:
        z.comment = json.dumps({"netcl-ckpt": 1, "state": {"w": {"$tensor": ""}, **state}}, separators=(",", ":")).encode()


def make_run(folder, npy_file):
    """A directory in which a training run has left its checkpoints, one of them half."""
    folder.mkdir()
    for step, loss in ((100, 0.5), (200, 0.25), (300, 0.375), (400, 0.3125)):
        write_state(folder / f"iter_{step}.npz", npy_file, epoch=step // 200, metrics={"val_loss": loss})
    whole = (folder / "iter_400.npz").read_bytes()
    (folder / "iter_500.npz").write_bytes(whole[:200])
    (folder / "notes.txt").write_text("no checkpoint")
    write_zip(folder / "best\x1b[31m.npz", {"w.npy": npy_file})
    for number, file in enumerate(sorted(folder.iterdir())):
        os.utime(file, (1_700_000_000 + 60 * number,) * 2)
