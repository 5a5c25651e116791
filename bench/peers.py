#!/usr/bin/env python3
"""Time netcl-ckpt beside the Python that one would write instead.

    bench/peers.py TOOL [FOLDER] [--runs N] [--only ROW,…]

FOLDER (a temporary one by default) gets a checkpoint of 270 MB: weights like trained ones, and Adam's moments, of which
70 % of the embedding's rows were never touched. Each row runs the two in turn, in whole processes, checks that what the
tool wrote is right, and prints the median of the ratios: above 1, the tool is faster. It also syncs what it writes to the
disk, which Python does not. Needs NumPy; safetensors and torch rows are left out where they are not installed.
"""
import argparse
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

NP = "import numpy as np; "
ROWS = {  # what it is: the Python, the tool's arguments, the file that is written
    "list": ("import numpy as np\nz = np.load('packed.npz')\nfor k in z.files:\n  with z.zip.open(k + '.npy') as f:\n"
             "    np.lib.format.read_magic(f); print(k, np.lib.format.read_array_header_1_0(f))", "inspect packed.npz", ""),
    "statistics": (NP + "z = np.load('plain.npz')\nfor k in z.files:\n  a = z[k]; print(k, a.min(), a.max(), a.mean(), a.std(), "
                   "np.isnan(a).sum())", "inspect --stats plain.npz", ""),
    "check": ("import zipfile; assert zipfile.ZipFile('packed.npz').testzip() is None", "verify packed.npz", ""),
    "compare": (NP + "a = np.load('plain.npz'); b = np.load('other.npz'); print(sum(int((a[k] != b[k]).sum()) for k in a.files), "
                "max(float(np.abs(a[k] - b[k]).max()) for k in a.files))", "diff plain.npz other.npz", ""),
    "compress": (NP + "z = np.load('plain.npz'); np.savez_compressed('theirs.npz', **z)",
                 "convert plain.npz ours.npz --compression fast", "npz"),
    "decompress": (NP + "z = np.load('packed.npz'); np.savez('theirs.npz', **z)",
                   "convert packed.npz ours.npz --compression none", "npz"),
    "drop the optimizer": (NP + "z = np.load('packed.npz'); np.savez_compressed('theirs.npz', **{k: z[k] for k in z.files if "
                           "k.startswith('model.')})", "strip-optimizer packed.npz --output ours.npz", "npz"),
    "pickle to npz": (NP + "import pickle; d = pickle.load(open('plain.pkl', 'rb')); np.savez('theirs.npz', **d)",
                      "convert plain.pkl ours.npz --compression none", "npz"),
    "npz to safetensors": (NP + "from safetensors.numpy import save_file; z = np.load('plain.npz'); "
                           "save_file(dict(z), 'theirs.safetensors')", "convert plain.npz ours.safetensors", "safetensors"),
    "npz to torch": (NP + "import torch; z = np.load('plain.npz'); torch.save({k: torch.from_numpy(z[k]) for k in z.files}, "
                     "'theirs.pt')", "convert plain.npz ours.pt", "pt"),
}


def prepare():
    import pickle

    rng = np.random.default_rng(0)
    shapes = {"embedding": (30522, 384)} | {f"layer{i}.{n}": s for i in range(6) for n, s in (
        ("query", (384, 384)), ("key", (384, 384)), ("value", (384, 384)), ("out", (384, 384)), ("up", (1536, 384)),
        ("down", (384, 1536)), ("bias", (384,)), ("norm", (384,)))}
    arrays = {"model." + k: rng.standard_normal(s, np.float32) * np.float32(0.02) for k, s in shapes.items()}
    for part, power in (("m", 1), ("v", 2)):
        for k, s in shapes.items():
            moment = (rng.standard_normal(s, np.float32) * np.float32(1e-4)) ** power
            if k == "embedding":
                moment[rng.random(s[0]) < 0.7] = 0
            arrays[f"optimizer.{part}.{k}"] = moment
    np.savez("plain.npz", **arrays)
    np.savez_compressed("packed.npz", **arrays)
    with open("plain.pkl", "wb") as f:
        pickle.dump(arrays, f, 4)
    arrays["model.layer3.up"].flat[1234] += 0.5
    np.savez("other.npz", **arrays)


def arrays_of(path):
    if path.endswith(".npz"):
        return dict(np.load(path))
    if path.endswith(".pt"):
        import torch
        return {k: v.numpy() for k, v in torch.load(path).items()}
    from safetensors.numpy import load_file
    return load_file(path)


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def seconds(command):
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return time.perf_counter() - begin, done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=lambda p: str(pathlib.Path(p).resolve()))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.makedirs(options.folder or temporary, exist_ok=True)
        os.chdir(options.folder or temporary)
        if not os.path.exists("other.npz"):
            prepare()
        print(f"{'':<20}{'Python':>10}{'ours':>10}{'times':>8}")
        failed = False
        for name, (python, arguments, kind) in ROWS.items():
            if options.only and name not in options.only.split(","):
                continue
            tool = [options.tool, *shlex.split(arguments), *(["--force", "--quiet"] if kind else [])]
            theirs, ours = [], []
            for _ in range(options.runs):
                took, done = seconds([sys.executable, "-c", python])
                if done.returncode != 0:
                    print(f"{name:<20}  left out: {done.stderr.strip().splitlines()[-1]}")
                    break
                theirs.append(took)
                took, done = seconds(tool)
                ours.append(took)
                if done.returncode != (name == "compare"):
                    sys.exit(f"{name}: exit {done.returncode}: {done.stderr}")
            else:
                if kind and not same(arrays_of(f"theirs.{kind}"), arrays_of(f"ours.{kind}")):
                    failed = True
                    print(f"{name:<20}  WRONG")
                times = statistics.median(t / o for t, o in zip(theirs, ours))
                print(f"{name:<20}{statistics.median(theirs):>8.3f} s{statistics.median(ours):>8.3f} s{times:>8.1f}")
    sys.exit(failed)


main()
