"""diff against NumPy: every figure of random pairs, with NaN, Inf, -0, denormals and integers at their limits."""
import json
import math

from judge import TOOL, failures, np, run, subprocess

FLOATS = ["<f2", "<f4", "<f8", ">f4"]
INTEGERS = ["|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", ">i8"]
OTHERS = ["|b1", "<c8", "<c16", "|S3", "<U2", "<M8[s]", "|V4"]
WIDE = np.longdouble


def bits(a):
    return a.view(f"u{a.itemsize}")


def pair(rng, descr):
    dtype = np.dtype(descr)
    shape = tuple(rng.integers(1, 40, size=rng.integers(0, 4)))
    if rng.random() < 0.15:
        shape = (int(rng.integers(100_000, 300_000)),)  # beyond a block
    count = int(np.prod(shape))
    if dtype.kind == "b":
        a = rng.random(count) < 0.5
    elif dtype.kind == "U":
        a = np.array(["".join(chr(c) for c in rng.integers(65, 90, 2)) for _ in range(count)], dtype)
    else:
        a = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()  # every pattern: NaN payloads, denormals
    if dtype.kind == "f" and rng.random() < 0.7:
        a = rng.standard_normal(count).astype(dtype)
    b = a.copy()
    touched = rng.random(count) < rng.choice([0, 0.01, 0.5, 1])
    if dtype.kind == "f":
        how = rng.integers(0, 4)
        if how == 0:
            b[touched] = rng.standard_normal(int(touched.sum())).astype(dtype)
        elif how == 1:
            with np.errstate(all="ignore"):
                b[touched] = np.nextafter(b, np.array(np.inf, dtype.newbyteorder("=")))[touched]
        else:
            special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, np.finfo(dtype).tiny, np.finfo(dtype).max], dtype)
            a[touched] = rng.choice(special, int(touched.sum()))
            b[touched] = rng.choice(special, int(touched.sum()))
    elif dtype.kind in "iu":
        limits = np.array([0, 1, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
        b[touched] = rng.choice(limits, int(touched.sum()))
    elif dtype.kind == "b":
        b[touched] = ~b[touched]
    else:
        b[touched] = np.roll(b, 1)[touched]
    return a.reshape(shape), b.reshape(shape)


def ordered(a):
    """Floats as integers whose distance is the number of steps from one to the other; -0 is 0."""
    i = bits(a).astype(object)
    sign = 1 << (8 * a.itemsize - 1)
    return np.array([-(x - sign) if x & sign else x for x in i], object)


def expected(a, b, equal):
    """What diff should say of two arrays of numbers; only of the pairs of which both are finite."""
    out = {"differing": int((~equal).sum())}
    if a.dtype.kind in "iub":
        x, y = a.astype(object), b.astype(object)
        d = [abs(int(p) - int(q)) for p, q in zip(x, y)]
        out["max_abs"] = max(d)
        rel = [WIDE(e) / WIDE(abs(int(q))) for e, q in zip(d, y) if q != 0]
        out["max_rel"] = max(rel, default=0)
        x, y = a.astype(WIDE), b.astype(WIDE)
    else:
        finite = np.isfinite(a) & np.isfinite(b)
        out["nan_appeared"] = int((np.isnan(b) & np.isfinite(a)).sum())
        out["nan_vanished"] = int((np.isnan(a) & np.isfinite(b)).sum())
        a, b = a[finite], b[finite]
        x, y = a.astype(WIDE), b.astype(WIDE)
        d = np.abs(x - y)
        out["max_abs"] = d.max(initial=0)
        out["max_rel"] = (d[y != 0] / np.abs(y[y != 0])).max(initial=0)
        steps = np.abs(ordered(a) - ordered(b)) if a.size else []
        out["max_ulp"] = int(max(steps, default=0))
    square = lambda v: (v * v).sum() if v.size else WIDE(0)
    with np.errstate(all="ignore"):
        out["rms"] = np.sqrt(square(x - y) / x.size) if x.size else 0.0
        norms = np.sqrt(square(x)), np.sqrt(square(y))
        out["cosine"] = (x * y).sum() / norms[0] / norms[1] if all(norms) else None
        out["moved"] = np.sqrt(square(x - y)) / norms[0] if norms[0] else None
    return out


def close(got, want):
    if want is None or got is None:
        return got is None and not want
    if isinstance(want, int):
        return got == want
    return math.isclose(float(got), float(want), rel_tol=1e-9, abs_tol=1e-12)


def diff(folder, *options):
    done = subprocess.run([TOOL, "diff", "--json", "-v", *options, str(folder / "a.npz"), str(folder / "b.npz")],
                          capture_output=True, text=True)
    if done.returncode not in (0, 1):
        failures.append(f"{options}: exit {done.returncode}: {done.stderr}")
        return {}
    document = json.loads(done.stdout)
    if done.returncode != int(document["differs"]):
        failures.append(f"{options}: exit {done.returncode}, differs {document['differs']}")
    return {t["name"]: t for t in document["tensors"]}


def exact(a, b):
    if a.dtype.kind in "fc":
        return (a == b) | (np.isnan(a) & np.isnan(b))
    if a.dtype.kind == "V":
        return np.array([p.tobytes() == q.tobytes() for p, q in zip(a, b)], bool)
    if a.dtype.kind in "mM":
        return a.view("i8") == b.view("i8")
    return a == b


def check(name, t, a, b, equal):
    flat = a.ravel(), b.ravel()
    want = {"differing": int((~equal).sum())}
    if "max_abs" in t and a.dtype.kind in "fiub":
        want = expected(*(v.astype(v.dtype.newbyteorder("="), copy=False) for v in flat), equal)
    for key, value in want.items():
        got = t.get(key)
        if key in ("max_abs", "max_rel"):
            got, at = (got["value"], got["index"]) if got else (0, None)
            if at is not None and key == "max_abs" and a.dtype.kind == "f":
                there = abs(WIDE(flat[0][at]) - WIDE(flat[1][at]))
                if not close(there, float(value)):
                    failures.append(f"{name}: {key} is not at {at}")
        if not close(got, value):
            failures.append(f"{name}: {key} is {got}, NumPy says {value}")


def main(folder):
    rng = np.random.default_rng(20261124)
    with np.errstate(all="ignore"):
        for round_ in range(6):
            pairs = {f"{descr}.{i}": pair(rng, descr) for descr in FLOATS + INTEGERS + OTHERS for i in range(2)}
            np.savez(folder / "a.npz", **{k: a for k, (a, _) in pairs.items()})
            np.savez(folder / "b.npz", **{k: b for k, (_, b) in pairs.items()})
            found = diff(folder)
            for name, (a, b) in pairs.items():
                check(name, found[name], a, b, exact(a.ravel(), b.ravel()))
            rtol, atol = float(rng.choice([0, 1e-3, 0.1])), float(rng.choice([0, 1e-2, 1]))
            found = diff(folder, "--rtol", str(rtol), "--atol", str(atol))
            for name, (a, b) in pairs.items():
                if a.dtype.kind == "f":  # NumPy's own arithmetic is in the arrays' type: here in a wider one
                    x, y = a.ravel().astype(WIDE), b.ravel().astype(WIDE)
                    equal = np.isclose(x, y, rtol=WIDE(rtol), atol=WIDE(atol), equal_nan=True)
                    if found[name]["differing"] != int((~equal).sum()):
                        failures.append(f"{name}: {found[name]['differing']} beyond rtol {rtol} atol {atol}, NumPy {(~equal).sum()}")
            found = diff(folder, "--bitwise")
            for name, (a, b) in pairs.items():
                equal = np.array_equal(np.frombuffer(a.tobytes(), "u1"), np.frombuffer(b.tobytes(), "u1"))
                if (found[name]["differing"] == 0) != equal:
                    failures.append(f"{name}: bitwise {found[name]['differing']}, the bytes are {'the same' if equal else 'others'}")
            found = diff(folder, "--no-equal-nan")
            for name, (a, b) in pairs.items():
                if a.dtype.kind == "f" and found[name]["differing"] != int((a != b).sum()):
                    failures.append(f"{name}: --no-equal-nan {found[name]['differing']}, NumPy {(a != b).sum()}")


run(main)
