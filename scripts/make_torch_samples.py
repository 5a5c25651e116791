"""Write checkpoints as other programs lay them out, with torch: last.ckpt, yolo.pt and diffusion.ckpt in FOLDER.

    make_torch_samples.py FOLDER

Beside make_sample.py and not in it, because that one is for machines without torch. The programs themselves are not
needed: what makes their files theirs is a class that the reader does not have, or the names.
"""
import pathlib
import sys
import types

import torch
from torch import nn


def foreign(name, **members):
    """A class of a module that whoever reads the file has not installed."""
    module, leaf = name.rsplit(".", 1)
    steps = module.split(".")
    for i in range(len(steps)):
        sys.modules.setdefault(".".join(steps[:i + 1]), types.ModuleType(".".join(steps[:i + 1])))
    bases = members.pop("bases", (object,))
    made = type(leaf, bases, {"__module__": module, **members})
    setattr(sys.modules[module], leaf, made)
    return made


def lightning(path):
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    parameters = foreign("mytraining.config.Settings", bases=(dict,))(hidden=3, lr=1e-3)
    torch.save({"epoch": 2, "global_step": 40, "pytorch-lightning_version": "1.9.0",
                "state_dict": {f"net.{name}": value for name, value in net.state_dict().items()},
                "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
                "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
                "hyper_parameters": parameters}, path)


def yolo(path):
    def __init__(self):
        nn.Module.__init__(self)
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
    model = foreign("ultralytics.nn.tasks.DetectionModel", bases=(nn.Module,), __init__=__init__)
    torch.save({"epoch": -1, "model": model().half(), "ema": model().half(), "optimizer": None}, path)


def diffusion(path):
    weights = {"model.diffusion_model.input.weight": torch.randn(4, 4), "model.diffusion_model.input.bias": torch.randn(4)}
    # LitEma keeps its copies as buffers, whose names may have no dots.
    averages = {"model_ema." + name[len("model."):].replace(".", ""): value * 0.99 for name, value in weights.items()}
    counts = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(40)}
    torch.save({"global_step": 40, "state_dict": {**weights, **counts, **averages}}, path)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    lightning(folder / "last.ckpt")
    yolo(folder / "yolo.pt")
    diffusion(folder / "diffusion.ckpt")


if __name__ == "__main__":
    main()
