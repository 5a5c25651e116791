"""The content identity: of what NumPy, pickle, torch and safetensors write of the same arrays it is one, and the one
that the manual's Python gives; it survives every conversion."""
import hashlib
import pickle
import subprocess

from judge import TOOL, expect, failures, json, np, run

try:
    import torch
except ImportError:
    torch = None
try:
    from safetensors.numpy import save_file
except ImportError:
    save_file = None


def identity_by_the_manual(state):
    h = hashlib.sha256(b"netcl-ckpt.identity/1\n")
    u64 = lambda n: n.to_bytes(8, "little")
    for name in sorted(state, key=str.encode):
        a, name = state[name], name.encode()
        dtype = a.dtype.name.encode()
        h.update(u64(len(name)) + name + u64(len(dtype)) + dtype)
        h.update(u64(a.ndim) + b"".join(map(u64, a.shape)))
        data = a.astype(a.dtype.newbyteorder("<")).tobytes()
        h.update(hashlib.sha256(data).hexdigest().encode())
    return h.hexdigest()


def identity(path):
    done = subprocess.run([TOOL, "inspect", "--json", "--identity", str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        failures.append(f"{path}: exit {done.returncode}: {done.stderr.strip()}")
        return None
    return json.loads(done.stdout)["identity"]


def main(folder):
    state = {f"layer{i}.w": np.arange(12, dtype=d).reshape(3, 4) % 2 for i, d in enumerate(
        ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8"))}
    state |= {"bool": np.array([True, False]), "empty": np.zeros((0, 3), "f4"), "zero-d": np.array(2.5, "f4"),
              "z.é重": np.array([1.5, np.nan, -0.0], "f4")}
    want = identity_by_the_manual(state)
    np.savez(folder / "a.npz", **state)
    np.savez_compressed(folder / "b.npz", **dict(reversed(state.items())))
    np.savez(folder / "c.npz", **{k: np.array(v, v.dtype.newbyteorder(">"), order="F") for k, v in state.items()})
    for protocol in range(6):
        (folder / f"p{protocol}.pkl").write_bytes(pickle.dumps(state, protocol=protocol))
    if torch:
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        torch.save(tensors, folder / "t.pt")
        torch.save(tensors, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    if save_file:
        save_file(state, folder / "s.safetensors")
    sources = sorted(folder.iterdir())
    for source in sources:
        expect(identity(source) == want, f"{source.name}: another identity")
    for source in sources:
        for extension in ("npz", "pkl", "pt", "safetensors"):
            target = folder / f"{source.name}.{extension}"
            subprocess.run([TOOL, "convert", "-q", str(source), str(target)], check=True)
            expect(identity(target) == want, f"{target.name}: another identity")
    np.savez(folder / "other.npz", **(state | {"bool": np.array([True, True])}))
    expect(identity(folder / "other.npz") != want, "another value, the same identity")


run(main)
