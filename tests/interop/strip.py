"""strip-optimizer on checkpoints of many programs: what stays is bit for bit what was there, and loads where it came from."""
import pickle

from judge import TOOL, expect, failures, flat, np, run, subprocess
import json

try:
    import torch
except ImportError:
    torch = None


def strip(path, *options, code=0):
    done = subprocess.run([TOOL, "strip-optimizer", "--json", *options, str(path)], capture_output=True, text=True)
    if done.returncode != code:
        failures.append(f"{path.name} {options}: exit {done.returncode}: {done.stderr.strip()}")
        return None
    return json.loads(done.stdout) if done.stdout else None


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_npz(path, source, kept, **meta):
    with np.load(path) as z:
        expect(z.files == kept, f"{path.name} holds {z.files}, not {kept}")
        for name in z.files:
            expect(same(z[name], source[name]), f"{path.name}: {name} differs")


def arrays(rng, prefix, names=("fc1.weight", "fc1.bias", "fc2.weight")):
    return {prefix + n: rng.standard_normal((7, 5)).astype("f4") for n in names}


def main(folder):
    rng = np.random.default_rng(1)
    model = arrays(rng, "")

    # Flat npz files: what each program calls its optimizer's state.
    for number, (prefixes, extra) in enumerate([
            (("optimizer.m.", "optimizer.v."), {}),
            (("opt_state.0.mu.", "opt_state.0.nu."), {"opt_state.0.count": np.int64(3)}),
            (("adam/m/", "adam/v/"), {}),
            (("optimizer_states.0.state.0.exp_avg.", "optimizer_states.0.state.0.exp_avg_sq."), {})]):
        weights = arrays(rng, "model.")
        state = dict(weights)
        for p in prefixes:
            state.update(arrays(rng, p))
        state.update(extra)
        state["epoch"] = np.int64(4)
        path = folder / f"flat{number}.npz"
        (np.savez if number % 2 else np.savez_compressed)(path, **state)
        report = strip(path)
        expect(report and report["found"], f"{path.name}: nothing was found")
        check_npz(folder / f"flat{number}.stripped.npz", state, [*weights, "epoch"])
        strip(path, "--output", str(folder / "half.npz"), "--half", "--force")
        with np.load(folder / "half.npz") as z:
            for name, a in weights.items():
                expect(same(z[name], a.astype("f2")), f"--half: {name} differs")
        # In place, and once more: nothing is left to drop.
        expect(strip(path, "--in-place")["found"], f"{path.name} in place")
        check_npz(path, state, [*weights, "epoch"])
        expect(not strip(path, "--in-place", "--require", code=1)["found"], f"{path.name}: found twice")

    # Pickles: nested, with a scheduler, a scaler and random state that go too, unless they are kept.
    state = {"model": model, "optimizer": {"t": 3, "moments": [(a, a) for a in model.values()]},
             "scheduler": {"last_epoch": 4}, "scaler": {"scale": 65536.0}, "rng": np.random.RandomState(1).get_state(),
             "epoch": 5, "step": 700, "config": {"lr": 0.1}}
    for protocol in range(6):
        path = folder / f"p{protocol}.pkl"
        path.write_bytes(pickle.dumps(state, protocol=protocol))
        strip(path)
        back = pickle.loads((folder / f"p{protocol}.stripped.pkl").read_bytes())
        expect(list(back) == ["model", "epoch", "step", "config"], f"protocol {protocol}: {list(back)} stays")
        expect(all(same(a, model[k]) for k, a in flat(back["model"]).items()), f"protocol {protocol}: the model differs")
        strip(path, "--output", str(folder / "kept.pkl"), "--force", "--keep", "scheduler,rng")
        back = pickle.loads((folder / "kept.pkl").read_bytes())
        expect({"scheduler", "rng"} < set(back) and "scaler" not in back, f"--keep: {list(back)} stays")
    ema = {"model": model, "ema": {"decay": 0.9, "shadow": [a + 1 for a in model.values()]}, "epoch": 1}
    (folder / "ema.pkl").write_bytes(pickle.dumps(ema))
    strip(folder / "ema.pkl", "--ema")
    back = pickle.loads((folder / "ema.stripped.pkl").read_bytes())
    expect(all(same(back["model"][k], a + 1) for k, a in model.items()), "--ema: the shadow is not the model")

    # netcl's pair: the sidecar's optimizer state goes, its config stays.
    np.savez(folder / "pair.npz", **model)
    (folder / "pair.json").write_text(json.dumps({"optim_state": {"t": 3, "velocity": [[1.0]]}, "config": {"lr": 0.1}}))
    strip(folder / "pair.npz")
    check_npz(folder / "pair.stripped.npz", model, list(model))
    sidecar = json.loads((folder / "pair.stripped.json").read_text())
    expect(sidecar.get("config") == {"lr": 0.1} and not sidecar.get("optim_state"), f"the sidecar is {sidecar}")

    if torch:
        net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
        for number, make in enumerate((torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9))):
            optimizer = make(net.parameters(), lr=0.1)
            net(torch.ones(3, 6)).sum().backward()
            optimizer.step()
            path = folder / f"t{number}.pt"
            torch.save({"model_state": net.state_dict(), "optimizer_state": optimizer.state_dict(), "step": 3}, path,
                       _use_new_zipfile_serialization=number == 0)
            strip(path)
            back = torch.load(folder / f"t{number}.stripped.pt", weights_only=True)
            expect(list(back) == ["model_state", "step"], f"torch {number}: {list(back)} stays")
            for k, v in net.state_dict().items():
                expect(torch.equal(back["model_state"][k], v), f"torch {number}: {k} differs")


run(main)
