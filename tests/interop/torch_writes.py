"""torch.save's zip and legacy files, by Debian's torch."""
import warnings

from judge import check, expect, np, run, sys

try:
    import torch
except ImportError:
    print("skipped: this Python has no torch")
    sys.exit(77)

NAMES = {torch.bfloat16: "bfloat16"}


def bits(t):
    """The tensor's elements in C order; bfloat16 as the integers that hold it."""
    t = t.detach().contiguous()
    return t.view(torch.int16).numpy() if t.dtype == torch.bfloat16 else t.numpy()


def flat(value, prefix=""):
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    out = {}
    for key, element in items:
        out.update(flat(element, f"{prefix}.{key}" if prefix else str(key)))
    return out


def check_saved(folder, name, value):
    tensors = flat(value)
    arrays = {k: bits(t) for k, t in tensors.items()}
    dtypes = {k: NAMES[t.dtype] for k, t in tensors.items() if t.dtype in NAMES}
    for legacy in (False, True):
        path = folder / f"{name}{'-legacy' if legacy else ''}.pt"
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        check(path, arrays, dtypes, format="torch-legacy" if legacy else "torch")


def main(folder):
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    check_saved(folder, "views", {
        "whole": base, "transposed": base.t(), "row": base[2], "column": base[:, 3], "block": base[1:4, 2::3],
        "expanded": torch.tensor([1.5, 2.5]).expand(3, 2), "scalar": torch.tensor(3.5), "empty": torch.empty(0, 3),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(base), "shared": base, "flipped": base.flip(0)})
    check_saved(folder, "dtypes", {str(d): (torch.arange(12) % 2).reshape(3, 4).to(d) for d in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
        torch.float32, torch.float64, torch.complex64, torch.complex128)})
    check_saved(folder, "lone", base)

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    check_saved(folder, "training", {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(), "epoch": 3, "device": torch.device("cpu"), "dtype": torch.float32,
        "size": torch.Size([1, 2]), "best": np.float64(0.5)})

    torch.jit.script(torch.nn.Linear(3, 2)).save(str(folder / "script.pt"))
    document = check_names(folder / "script.pt", {"weight", "bias"})
    expect(document, "a TorchScript archive is read for its tensors")


def check_names(path, wanted):
    from judge import inspect
    document = inspect(path)
    return document and wanted <= {t["name"].split(".")[-1] for t in document["tensors"]}


run(main)
