"""The library's save.h and netcl 0.4.4 itself: each loads what the other saved. netcl's loaders also read what
convert and strip-optimizer write."""
import os
import subprocess

from judge import TOOL, expect, failures, np, run, sys

try:
    from netcl.core.device import manager
    from netcl.core.tensor import Tensor
    from netcl.io import export_model, load_into_model, load_model, save_model
    from netcl.io.checkpoint import load_checkpoint, load_params, save_checkpoint, save_params
    from netcl.nn.layers import Flatten, Linear, ReLU, Sequential
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)
if manager.default() is None:
    print("skipped: netcl finds no OpenCL device (Debian: pocl-opencl-icd)")
    sys.exit(77)

PEER = os.path.abspath(sys.argv[2])
NAMES = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def peer(command, folder):
    done = subprocess.run([PEER, command, str(folder)], capture_output=True, text=True)
    expect(done.returncode == 0, f"{command}: {done.stderr.strip()}")


def tool(*arguments):
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True)
    expect(done.returncode == 0, f"{arguments}: {done.stderr.strip()}")


def counting(start):
    """The arrays of the peer."""
    out = []
    for shape in ((12, 5), (5,), (5, 3), (3,)):
        n = int(np.prod(shape))
        out.append((start + 0.25 * np.arange(1, n + 1, dtype="f4")).reshape(shape))
        start += 0.25 * n
    return out


def hosts(params):
    return [p.to_host() for p in params]


def same(a, b, what):
    expect(len(a) == len(b) and all(np.array_equal(x, y) and x.shape == y.shape for x, y in zip(a, b)), f"{what} differs")


def network(q):
    return Sequential(Flatten(), Linear(q, 12, 5), ReLU(), Linear(q, 5, 3))


def main(folder):
    q = manager.default().queue
    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir(), theirs.mkdir()

    # What the library writes, through netcl.
    peer("write", ours)
    want = counting(0)
    model = network(q)
    params = list(model.parameters())
    load_params(q, params, ours / "params.npz")
    same(hosts(params), want, "load_params")
    params = list(network(q).parameters())
    meta = load_checkpoint(q, params, ours / "ck.npz", names=NAMES)
    same(hosts(params), want, "load_checkpoint")
    expect(meta.get("config") == {"lr": 0.5, "note": "é"}, f"the sidecar is {meta}")
    same(hosts(load_model(str(ours / "model.netcl"), q).parameters()), want, "load_model")

    # What convert and strip-optimizer make of it.
    tool("convert", "--compression", "fast", ours / "ck.npz", ours / "packed.npz")
    params = list(network(q).parameters())
    meta = load_checkpoint(q, params, ours / "packed.npz", names=NAMES)
    same(hosts(params), want, "load_checkpoint of a converted pair")
    expect(meta.get("config") == {"lr": 0.5, "note": "é"}, f"the converted sidecar is {meta}")
    tool("strip-optimizer", ours / "ck.npz")
    params = list(network(q).parameters())
    load_params(q, params, ours / "ck.stripped.npz", names=NAMES)
    same(hosts(params), want, "load_params of a stripped pair")
    tool("convert", ours / "model.netcl", ours / "copy.netcl")
    same(hosts(load_model(str(ours / "copy.netcl"), q).parameters()), want, "load_model of a converted .netcl")
    source = network(q)
    export_model(source, ours / "exported.pt")
    tool("convert", ours / "exported.pt", ours / "through.npz")
    tool("convert", ours / "through.npz", ours / "again.pt")
    target = network(q)
    load_into_model(target, ours / "again.pt")
    same(hosts(target.parameters()), hosts(source.parameters()), "load_into_model of a converted .pt")

    # What netcl writes, through the library.
    model = network(q)
    params = list(model.parameters())
    save_params(params, theirs / "params")
    save_checkpoint(params, theirs / "run.v2", config={"lr": 0.1}, names=NAMES)  # writes run.json
    save_model(model, str(theirs / "model.netcl"))
    peer("read", theirs)
    for name in ("params", "pair", "model"):
        with np.load(theirs / f"back-{name}.npz") as z:
            same([z[k] for k in z.files], hosts(params), f"what netcl saved ({name})")


run(main)
