"""What the interop tests share: the tool's listing of a file against the arrays that its writer has."""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: this Python has no NumPy")
    sys.exit(77)

TOOL = os.path.abspath(sys.argv[1])
failures = []


def described(name, array, dtype=None):
    """An array as inspect lists it."""
    a = np.asarray(array)
    if a.dtype.hasobject:
        return {"name": name, "dtype": a.dtype.name, "shape": list(a.shape)}
    if a.dtype != a.dtype.newbyteorder("<"):  # not otherwise: a cast leaves padding behind
        a = a.astype(a.dtype.newbyteorder("<"))
    return {"name": name, "dtype": dtype or a.dtype.name, "shape": list(a.shape),
            "sha256": hashlib.sha256(a.tobytes()).hexdigest()}


def inspect(path):
    """The document that `inspect --json --hash` gives of the file; None and a failure where it gives none."""
    done = subprocess.run([TOOL, "inspect", "--json", "--hash", str(path)], capture_output=True, text=True)
    if done.returncode != 0:
        failures.append(f"{path}: exit {done.returncode}: {done.stderr.strip()}")
        return None
    return json.loads(done.stdout)


def check(path, arrays, dtypes={}, format=None):
    """`arrays`: {name: array} in file order. `dtypes`: names of those that NumPy itself has no name for."""
    document = inspect(path)
    if document is None:
        return None
    want = [described(name, a, dtypes.get(name)) for name, a in arrays.items()]
    got = [{k: t[k] for k in w if k in t} for w, t in zip(want, document["tensors"])]
    for w, g in zip(want, got):
        if w["dtype"].startswith("void") and np.asarray(arrays[w["name"]]).dtype.names:
            w["dtype"] = g["dtype"]  # a field list, which NumPy's name does not have
        if w != g:
            failures.append(f"{path}: wants {w}, has {g}")
    if len(document["tensors"]) != len(want):
        failures.append(f"{path}: lists {[t['name'] for t in document['tensors']]}, has {list(arrays)}")
    if format and document["format"] != format:
        failures.append(f"{path}: is called {document['format']}, is {format}")
    return document


def expect(condition, what):
    if not condition:
        failures.append(what)


def flat(value, prefix=""):
    """Nested dicts, lists and tuples as {dotted name: array}."""
    if isinstance(value, np.ndarray):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    out = {}
    for key, element in items:
        out.update(flat(element, f"{prefix}.{key}" if prefix else str(key)))
    return out


def same(want, got, where):
    """Records where `got` is not `want`, bit by bit: types, dtypes, memory order, the order of keys, NaN."""
    if type(want) is not type(got):
        failures.append(f"{where}: wants {type(want)}, has {type(got)}")
    elif isinstance(want, np.ndarray):
        for what, w, g in (("dtype", want.dtype, got.dtype), ("byte order", want.dtype.byteorder, got.dtype.byteorder),
                           ("shape", want.shape, got.shape),
                           ("Fortran order", want.flags.fnc, got.flags.fnc), ("elements", want.tobytes(), got.tobytes())):
            if w != g:
                failures.append(f"{where}: wants {what} {str(w)[:200]}, has {str(g)[:200]}")
                return
    elif isinstance(want, np.generic):
        if (want.dtype, want.tobytes()) != (got.dtype, got.tobytes()):
            failures.append(f"{where}: wants {want!r}, has {got!r}")
    elif isinstance(want, dict):
        if list(map(repr, want)) != list(map(repr, got)):
            failures.append(f"{where}: wants {list(want)[:50]}, has {list(got)[:50]}")
        else:
            for (key, w), g in zip(want.items(), got.values()):
                same(w, g, f"{where}.{key}")
    elif isinstance(want, (list, tuple)):
        if len(want) != len(got):
            failures.append(f"{where}: wants {len(want)} elements, has {len(got)}")
        else:
            for i, (w, g) in enumerate(zip(want, got)):
                same(w, g, f"{where}.{i}")
    elif want != got if isinstance(want, (set, frozenset)) else repr(want) != repr(got):
        failures.append(f"{where}: wants {want!r:.200}, has {got!r:.200}")


def run(main):
    """Runs main(folder) and exits: 0, or 1 with every failure."""
    with tempfile.TemporaryDirectory() as folder:
        main(pathlib.Path(folder))
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)
