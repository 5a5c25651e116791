"""repair on files that NumPy, zipfile and torch wrote: cut at many places, and with wrong bytes; what it keeps loads there."""
import io
import json
import random
import subprocess
import zipfile

from judge import TOOL, expect, np, run, same

try:
    import torch
except ImportError:
    torch = None


def repair(path, out):
    done = subprocess.run([TOOL, "repair", "--json", "--force", str(path), "-o", str(out)], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.returncode < 2 else done.stderr


def sound(path):
    return subprocess.run([TOOL, "verify", "--quiet", str(path)], capture_output=True).returncode == 0


def check_npz(folder, name, whole, arrays):
    """Cut `whole` at 40 places, then spoil one byte at 40: what comes back is what was there, and all that could be."""
    rng = random.Random(name)
    with zipfile.ZipFile(io.BytesIO(whole)) as z:
        ends = {}
        descriptor = 16 if z.infolist()[0].flag_bits & 8 else 0  # CRC and sizes, behind the data
        for info in z.infolist():
            header = whole[info.header_offset:]
            data = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            ends[info.filename.removesuffix(".npy")] = (data, data + info.compress_size)
    broken, out = folder / f"{name}_broken.npz", folder / f"{name}_out.npz"
    for _ in range(40):
        length = rng.randrange(1, len(whole))
        broken.write_bytes(whole[:length])
        code, report = repair(broken, out)
        want = [k for k, (_, end) in ends.items() if end + descriptor <= length]
        if not want:
            expect(code == 2, f"{name} cut to {length}: exit {code}")
            continue
        with np.load(out) as z:
            expect(code == 1 and z.files == want and report["end_lost"], f"{name} cut to {length}: {z.files}, {report}")
            for k in z.files:
                same(arrays[k], z[k], f"{name} cut to {length}: {k}")
        expect(sound(out), f"{name} cut to {length}: not sound")
    for _ in range(40):
        at = rng.randrange(len(whole))
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1:])
        code, report = repair(broken, out)
        hit = [k for k, (begin, end) in ends.items() if begin <= at < end]
        expect(code in (0, 1) and len(report["lost"]) <= len(hit), f"{name} byte {at}: {code} {report}")
        with np.load(out) as z:
            for k in z.files:
                if k in arrays:  # a wrong byte may be in a name
                    same(arrays[k], z[k], f"{name} byte {at}: {k}")
            expect(len(z.files) + len(report["lost"]) == len(ends), f"{name} byte {at}: {z.files}")
        expect(sound(out), f"{name} byte {at}: not sound")


def check_torch(folder):
    torch.manual_seed(0)
    shared = torch.randn(16)
    state = {"a": torch.randn(3, 4), "b": shared[:8], "c": shared[8:], "d": torch.zeros(0), "e": torch.arange(5), "epoch": 3}
    whole, broken, out = folder / "whole.pt", folder / "broken.pt", folder / "out.pt"
    torch.save(state, whole)
    data = whole.read_bytes()
    with zipfile.ZipFile(whole) as z:
        last = max(i.header_offset for i in z.infolist() if "/data/" in i.filename)
        after_last = min(i.header_offset for i in z.infolist() if i.header_offset > last)

    broken.write_bytes(data[:after_last])  # no version, no directory
    code, report = repair(broken, out)
    expect(code == 1 and not report["lost"] and not report["lost_tensors"], f"torch, all storages: {code} {report}")
    back = torch.load(out)
    for key, value in state.items():
        expect(torch.equal(back[key], value) if torch.is_tensor(value) else back[key] == value, f"torch: {key}")
    expect(back["b"].data_ptr() + 32 == back["c"].data_ptr(), "torch: the shared storage is shared")

    broken.write_bytes(data[:last + 100])  # in the last storage, which is e's
    code, report = repair(broken, out)
    expect(code == 1 and report["lost_tensors"] == ["e"], f"torch, cut: {code} {report}")
    expect(not sound(out), "torch: a file whose tensor is lost is not sound")
    convert = [TOOL, "convert", "--force", str(out), str(folder / "rest.pt")]
    refused = subprocess.run(convert, capture_output=True, text=True)
    expect(refused.returncode == 2 and "not in the archive" in refused.stderr, f"torch: convert says {refused.stderr}")
    expect(subprocess.run([*convert, "--exclude", "e"], capture_output=True).returncode == 0, "torch: convert --exclude")
    back = torch.load(folder / "rest.pt")
    expect(list(back) == ["a", "b", "c", "d", "epoch"] and torch.equal(back["a"], state["a"]), f"torch: the rest is {list(back)}")

    broken.write_bytes(data[:200])
    code, report = repair(broken, out)
    expect(code == 2 and "data.pkl" in report, f"torch, all lost: {code} {report}")


def main(folder):
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((20, 30)).astype("f4"), "b": np.arange(7), "scalar": np.full((), 2.5),
              "empty": np.zeros((0, 3)), "zeros": np.zeros(5000)}
    for name, save in (("stored", np.savez), ("packed", np.savez_compressed)):
        out = io.BytesIO()
        save(out, **arrays)
        check_npz(folder, name, out.getvalue(), arrays)

    class Pipe(io.RawIOBase):  # zipfile writes data descriptors where it cannot seek
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    for name, method in (("streamed", zipfile.ZIP_STORED), ("streamed_packed", zipfile.ZIP_DEFLATED)):
        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w", method) as z:
            for key, array in arrays.items():
                with z.open(key + ".npy", "w") as f:
                    np.lib.format.write_array(f, array)
        check_npz(folder, name, pipe.data, arrays)
    if torch:
        check_torch(folder)


run(main)
