"""npy and npz as NumPy writes them: by Debian's NumPy 1 and by the venv's NumPy 2."""
from judge import check, np, run
from samples import arrays_of_every_dtype


def main(folder):
    arrays = arrays_of_every_dtype()
    np.savez(folder / "stored.npz", **arrays)
    check(folder / "stored.npz", arrays, format="npz")
    np.savez_compressed(folder / "compressed.npz", **arrays)
    check(folder / "compressed.npz", arrays, format="npz")
    for i, a in enumerate(arrays.values()):
        np.save(folder / f"{i}.npy", a)
        check(folder / f"{i}.npy", {"": a}, format="npy")
    for version in ((1, 0), (2, 0), (3, 0)):
        with open(folder / "version.npy", "wb") as f:
            np.lib.format.write_array(f, arrays["d13/3x4"], version)
        check(folder / "version.npy", {"": arrays["d13/3x4"]}, format="npy")


run(main)
