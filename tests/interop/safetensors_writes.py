"""safetensors by its reference implementation, and the dtypes of ml_dtypes in npz."""
from judge import check, expect, np, run, sys

try:
    import ml_dtypes
    from safetensors.numpy import load_file, save_file
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)


def main(folder):
    arrays = {}
    for dtype in ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
                  "float64", "complex64", ml_dtypes.bfloat16):
        dtype = np.dtype(dtype)
        for shape in ((), (0, 2), (5,), (2, 3)):
            arrays[f"{dtype.name}.{len(shape)}"] = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    save_file(arrays, folder / "all.safetensors", metadata={"format": "np", "é": "重"})
    # The reference orders tensors by dtype and name; load_file gives that order.
    document = check(folder / "all.safetensors", load_file(folder / "all.safetensors"), format="safetensors")
    expect(document and document["metadata"] == {"format": "np", "é": "重"}, "__metadata__ is the metadata")

    brain = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(2, 3)
    np.savez(folder / "brain.npz", brain=brain)
    check(folder / "brain.npz", {"brain": brain.view(np.uint16)}, {"brain": "bfloat16"})


run(main)
