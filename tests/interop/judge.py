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


def run(main):
    """Runs main(folder) and exits: 0, or 1 with every failure."""
    with tempfile.TemporaryDirectory() as folder:
        main(pathlib.Path(folder))
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)
