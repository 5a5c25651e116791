"""The pickles that convert writes, as pickle.load has them: with Debian's NumPy 1 and the venv's NumPy 2."""
import collections
import pickle
import subprocess
import warnings

from judge import TOOL, expect, failures, np, run, same
from samples import arrays_of_every_dtype

warnings.simplefilter("error")  # NumPy 2 warns of names that it is about to drop


def convert(source, target, *options):
    return subprocess.run([TOOL, "convert", "--quiet", "--force", *options, str(source), str(target)],
                          capture_output=True, text=True)


def through(folder, value, *options, protocol=4):
    """`value`, pickled by Python, converted, and loaded again."""
    (folder / "in.pkl").write_bytes(pickle.dumps(value, protocol))
    done = convert(folder / "in.pkl", folder / "out.pkl", *options)
    if done.returncode != 0:
        failures.append(f"convert: exit {done.returncode}: {done.stderr.strip()}")
        return None
    return pickle.loads((folder / "out.pkl").read_bytes())


def check_values(folder):
    shared = [1, 2]
    weight = np.arange(6, dtype=np.float32)
    values = {
        "none": None, "true": True, "false": False,
        "ints": [0, 1, 255, 256, 65535, 65536, -1, -128, -129, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**63 - 1, -2**63],
        "long": [2**63, -2**63 - 1, 2**64, 2**255, -2**255, 2**2039 - 1, 2**2039, -2**2039, 2**4000, -10**900, 10**18, 2**71],
        "reals": [0.0, -0.0, 0.1, 1e308, 5e-324, float("inf"), float("-inf"), float("nan")],
        "complex": [1j, complex(-0.0, float("nan"))],
        "text": ["", "é", "重", "\U0001f600", "\udc80 alone", "\ud83d", "a\0b\n", "x" * 70000],
        "bytes": [b"", b"\0\xff", bytes(range(256)) * 300],
        "empty": [[], (), {}, set(), frozenset()],
        "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((),))],
        "set": {1, "a", (2, 3), frozenset([4])}, "frozenset": frozenset([1, (2,)]),
        "keys": {1: "a", -1: "b", None: "c", (1, "x"): "d", 2.5: "e", b"k": "f", "": "g", 2**70: "h", np.float32(3): "i"},
        "long list": list(range(2500)), "long dict": {i: str(i) for i in range(2500)}, "thousand": [None] * 1000,
        "types": [int, float, bool, str, bytes, list, tuple, dict, set, frozenset, complex, object, np.ndarray,
                  collections.OrderedDict],
        "dtypes": [np.dtype("<f4"), np.dtype(">M8[25us]"), np.dtype("S3"), np.dtype("?")],
        "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.float16("nan"), np.complex64(1 + 2j), np.str_("重a"),
                    np.bytes_(b"ab\0c"), np.datetime64("2024-02-29T12", "25s"), np.timedelta64(3, "D"), np.longdouble(1) / 3,
                    np.zeros((), [("a", "<f4"), ("b", ">i2", (2,))])[()]],
        "arrays": [weight, {"w": weight}], "shared": [shared, (shared,), {"s": shared}],
    }
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        same(values, through(folder, values, protocol=protocol), f"protocol {protocol}")
    same({"a": [weight, (1, "é", b"\xff")]}, through(folder, {"a": [weight, (1, "é", b"\xff")]}, protocol=0), "protocol 0")
    back = through(folder, values)
    expect(back["arrays"][0] is back["arrays"][1]["w"], "an array under two names is one")
    expect(back["shared"][0] is back["shared"][1][0] is back["shared"][2]["s"], "a list under two names is one")

    loop = {"list": []}
    loop["list"].append(loop["list"])
    loop["self"] = loop
    back = through(folder, loop)
    expect(back["self"] is back and back["list"][0] is back["list"], "a list and a dict may hold themselves")
    (folder / "deep.pkl").write_bytes(b"\x80\x02" + b"](" * 50_000 + b"]" + b"e" * 50_000 + b".")
    done = convert(folder / "deep.pkl", folder / "out.pkl")
    expect(done.returncode == 0, f"depth comes from the input: {done.stderr}")


def check_arrays(folder):
    arrays = arrays_of_every_dtype()
    kept = pickle.loads(pickle.dumps(arrays, 4))  # in native byte order, and what is strided in C order
    for protocol in (2, 4, 5):
        same(kept, through(folder, arrays, protocol=protocol), f"arrays by protocol {protocol}")
    np.savez(folder / "in.npz", **arrays)
    expect(convert(folder / "in.npz", folder / "out.pkl").returncode == 0, "npz to pickle")
    same(kept, pickle.loads((folder / "out.pkl").read_bytes()), "from npz")
    np.savez_compressed(folder / "in.npz", **arrays)
    expect(convert(folder / "in.npz", folder / "out.pkl", "--verify").returncode == 0, "compressed npz to pickle")
    same(kept, pickle.loads((folder / "out.pkl").read_bytes()), "from a compressed npz")
    np.save(folder / "in.npy", arrays["order/f3"])
    expect(convert(folder / "in.npy", folder / "out.pkl").returncode == 0, "npy to pickle")
    same(kept["order/f3"], pickle.loads((folder / "out.pkl").read_bytes()), "from npy")

    (folder / "in.json").write_text('{"config": {"lr": 0.1}, "optim_state": {"t": 3}}')
    np.savez(folder / "in.npz", w=arrays["d13/7"])
    convert(folder / "in.npz", folder / "out.pkl")
    same({"w": arrays["d13/7"], "config": {"lr": 0.1}, "optim_state": {"t": 3}},
         pickle.loads((folder / "out.pkl").read_bytes()), "the sidecar becomes keys")


def check_ml_dtypes(folder):
    try:
        import ml_dtypes
    except ImportError:
        return  # Debian has none; the venv does
    names = "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"
    values = {n: np.arange(6).astype(getattr(ml_dtypes, n)).reshape(2, 3) for n in names}
    for protocol in range(6):
        back = through(folder, values, protocol=protocol)
        for between in "npz", "pt":
            convert(folder / "out.pkl", folder / f"between.{between}")
            convert(folder / f"between.{between}", folder / "home.pkl")
            home = pickle.loads((folder / "home.pkl").read_bytes())
            same(values, home, f"ml_dtypes' types come home from {between}")
        same(values, back, f"ml_dtypes' types, protocol {protocol}")


def check_refusals(folder):
    class Stranger:
        def __reduce__(self):
            return print, ("executed",)

    objects = np.array([1, None], object)
    recursive = ([],)
    recursive[0].append(recursive)
    np.savez(folder / "clash.npz", config=np.zeros(1))
    (folder / "clash.json").write_text('{"config": 1}')
    for name, value, word in (("a call", {"a": {"b": Stranger()}}, "print"), ("objects", {"a": {"b": objects}}, "a.b"),
                              ("a tuple in itself", {"a": {"b": recursive}}, "holds itself")):
        (folder / "in.pkl").write_bytes(pickle.dumps(value))
        done = convert(folder / "in.pkl", folder / "refused.pkl")
        expect(done.returncode != 0 and word in done.stderr, f"{name} is refused by name: {done.returncode} {done.stderr}")
    done = convert(folder / "clash.npz", folder / "refused.pkl")
    expect(done.returncode != 0 and "config" in done.stderr, f"a name that is taken is refused: {done.stderr}")
    expect(not (folder / "refused.pkl").exists(), "a refused file is not there")


def main(folder):
    check_values(folder)
    check_arrays(folder)
    check_ml_dtypes(folder)
    check_refusals(folder)


run(main)
