"""Write a small checkpoint as netcl's save_checkpoint() lays it out: FOLDER/iter_1000.npz and its sidecar.

    make_sample.py FOLDER
"""
import json
import pathlib
import sys

import numpy as np


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (784, 128), "fc1.bias": (128,), "fc2.weight": (128, 10), "fc2.bias": (10,)}
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    # Adam's moments by the names that a flattened state dict gives them; cold parameters have zeros.
    for i, (name, shape) in enumerate(shapes.items()):
        arrays[f"optimizer.moments.{i}.0"] = np.zeros(shape, np.float32)
        arrays[f"optimizer.moments.{i}.1"] = np.square(arrays[name]) * np.float32(1e-3)
    np.savez_compressed(folder / "iter_1000.npz", **arrays)
    sidecar = {"optim_state": {"t": 1000}, "config": {"lr": 1e-3, "epoch": 3, "step": 1000}}
    (folder / "iter_1000.json").write_text(json.dumps(sidecar))


if __name__ == "__main__":
    main()
