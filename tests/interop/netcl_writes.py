"""Every file that netcl 0.4.4 writes: parameters, checkpoints and their sidecars, models, torch exports."""
import json
import pickle
import subprocess

from judge import TOOL, check, expect, flat, np, run, sys

try:
    from netcl.core.device import manager
    from netcl.io import export_model, read_state_dict, save_model
    from netcl.io.checkpoint import save_checkpoint, save_params
    from netcl.nn.layers import Conv2d, Flatten, Linear, ReLU, Sequential
    from netcl.optim import AdamW
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)
if manager.default() is None:
    print("skipped: netcl finds no OpenCL device (Debian: pocl-opencl-icd)")
    sys.exit(77)


def verify(path):
    return subprocess.run([TOOL, "verify", str(path)], capture_output=True, text=True).returncode


def loaded(path):
    with np.load(path, allow_pickle=False) as z:
        return {k: z[k] for k in z.files}


def main(folder):
    q = manager.default().queue
    model = Sequential(Flatten(), Linear(q, 12, 5), ReLU(), Linear(q, 5, 3))
    params = list(model.parameters())
    names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    optimizer = AdamW(model.parameters(), lr=1e-3)

    save_params(params, folder / "params")
    check(folder / "params.npz", loaded(folder / "params.npz"), format="npz")

    config = {"lr": 1e-3, "epoch": 3, "note": "é"}
    save_checkpoint(params, folder / "iter_1000", config=config, names=names)
    document = check(folder / "iter_1000.npz", loaded(folder / "iter_1000.npz"), format="npz")
    expect(document and document["metadata"].get("config") == config, "the sidecar's config is metadata")
    expect(verify(folder / "iter_1000.npz") == 0, "a whole pair is sound")

    moments = [[m.tolist(), v.tolist()] for m, v in optimizer.state_dict()["moments"]]
    save_checkpoint(params, folder / "iter_2000", optim_state={"t": 8, "moments": moments}, config=config, names=names)
    document = check(folder / "iter_2000.npz", loaded(folder / "iter_2000.npz"))
    expect(document and document["metadata"]["optim_state"]["t"] == 8, "the sidecar's optim_state is metadata")
    expect(verify(folder / "iter_2000.npz") == 0, "a pair with moments is sound")
    save_checkpoint(params[:2], folder / "other", optim_state={"t": 8, "moments": moments}, names=names[:2])
    expect(verify(folder / "other.npz") == 1, "moments of other arrays are a problem")

    # A real optimizer's arrays stop netcl's json.dump() half-way.
    try:
        save_checkpoint(params, folder / "torn", optim_state=optimizer.state_dict(), names=names)
    except TypeError:
        pass
    document = check(folder / "torn.npz", loaded(folder / "torn.npz"))
    expect(document and any("torn.json" in json.dumps(w) for w in document["warnings"]), "a torn pair is warned of")
    expect(verify(folder / "torn.npz") == 1, "a torn pair is a problem")

    save_checkpoint(params, folder / "run.v2", config=config, names=names)  # writes run.json
    document = check(folder / "run.v2.npz", loaded(folder / "run.v2.npz"))
    expect(document and document["metadata"].get("config") == config, "the sidecar's name that netcl shortens is found")

    save_model(model, str(folder / "model.netcl"))
    document = check(folder / "model.netcl", loaded(folder / "model.netcl"), format="netcl")
    export_model(Sequential(Conv2d(q, 3, 4, 3), Flatten(), Linear(q, 16, 2)), folder / "model.pt")
    check(folder / "model.pt", read_state_dict(folder / "model.pt"), format="torch")

    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    (folder / "state.pkl").write_bytes(pickle.dumps(state))
    check(folder / "state.pkl", flat(state), format="pickle")


run(main)
