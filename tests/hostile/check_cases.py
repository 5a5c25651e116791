#!/usr/bin/env python3
"""Runs the tool over valid, broken and hostile files and says where it falls short.

    check_cases.py TOOL [GLOB]

cases.tar.xz holds the files and cases.json, which says what each is and, for a valid one, the name, dtype, shape and
SHA-256 of every array as NumPy, torch or safetensors read it. A case passes where
  ok      `verify` exits 0, and `inspect --json --hash` exits 0 and lists the same arrays;
  error   `verify` exits 1 or 2;
  unsafe  `verify --json` exits 1 and names each global, `inspect` lists the arrays beside it, and `convert` refuses
          with 2 and writes nothing;
  foreign `verify --json` exits 1 and names each global, with the code foreign-global, `inspect` lists the arrays beside
          it, and `convert` leaves the global out and says so, or refuses if nothing else is there.
In every case: no signal, JSON that parses, no control character printed, one line for an error, and 256 MB are enough.
"""
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


class Wrong(Exception):
    pass


def limit_memory(tool, megabytes):
    """The kernel holds the program to it; not where a sanitizer keeps a shadow of all memory."""
    if b"__asan_" not in tool.read_bytes() and b"__tsan_" not in tool.read_bytes():
        os.environ["NETCL_CKPT_MAX_MEMORY"] = f"{megabytes}M"


def check_limit(tool):
    """That the limit is one: a hundred thousand members take more than 48 MB."""
    limit_memory(tool, 48)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(100_000):
                archive.writestr(str(i), b"")
        p = run(tool, "verify", path)
        if "NETCL_CKPT_MAX_MEMORY" in os.environ and (p.returncode, p.stderr.count(b"not enough memory")) != (2, 1):
            raise Wrong(f"--max-memory: exit {p.returncode}: {p.stderr!r}")


def run(tool, *args):
    p = subprocess.run([tool, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if p.returncode not in (0, 1, 2):
        raise Wrong(f"{args[0]}: exit {p.returncode}: {p.stderr[-300:]!r}")
    if CONTROL.search(p.stdout) or CONTROL.search(p.stderr):
        raise Wrong(f"{args[0]}: a control character was printed")
    if p.returncode == 2 and not 1 <= len(p.stderr.splitlines()) <= 5:
        raise Wrong(f"{args[0]}: {len(p.stderr.splitlines())} lines of error")
    return p


def parsed(p):
    try:
        return json.loads(p.stdout) if p.stdout.strip() else {}
    except ValueError as e:
        raise Wrong(f"not JSON: {e}")


def compare(want, document):
    keys = ("name", "dtype", "shape", "sha256")
    got = [{k: t.get(k) for k in keys} for t in document.get("tensors", [])]
    if len(got) != len(want):
        raise Wrong(f"lists {len(got)} arrays of {len(want)}")
    for w, g in zip(want, got):
        structured = not w["dtype"].isidentifier() or w["dtype"].startswith("void")  # spelled in more than one way
        if any(w[k] != g[k] for k in keys if k != "dtype" or not structured):
            raise Wrong(f"wants {w}, lists {g}")


def check(tool, path, case):
    verify = run(tool, "verify", "--json", path)
    inspect = run(tool, "inspect", "--json", "--hash", path)
    run(tool, "inspect", path)
    report, listing = parsed(verify), parsed(inspect)
    if case["debatable"]:
        return
    expect = case["expect"]
    if expect == "ok" and (verify.returncode, inspect.returncode) != (0, 0):
        raise Wrong(f"exits {verify.returncode} and {inspect.returncode}: {verify.stdout[-300:]!r}")
    if expect == "error" and verify.returncode == 0:
        raise Wrong("verify calls it sound")
    if expect in ("unsafe", "foreign"):
        if verify.returncode != 1:
            raise Wrong(f"verify exits {verify.returncode}")
        text = json.dumps(report)
        missing = [g for g in case["globals"] if g not in text]
        if missing or f"{expect}-global" not in text:
            raise Wrong(f"does not name {missing} as {expect}")
        with tempfile.TemporaryDirectory() as folder:
            p = run(tool, "convert", path, f"{folder}/out.pkl")
            left = os.listdir(folder)
            if p.returncode == 2 and left or p.returncode == 1 or p.returncode == 0 and expect == "unsafe":
                raise Wrong(f"convert exits {p.returncode} and leaves {left}")
            if p.returncode == 0:
                check_left_out(tool, f"{folder}/out.pkl", case, p.stderr.decode())
    if expect != "error" and case["arrays"] is not None:
        compare(case["arrays"], listing)


def check_left_out(tool, path, case, said):
    if run(tool, "verify", path).returncode != 0:
        raise Wrong("what convert wrote is not sound")
    if any(g not in said for g in case["globals"]):
        raise Wrong(f"convert does not say what it left out: {said!r}")


def outcome(tool, path, case):
    try:
        check(tool, path, case)
    except (Wrong, subprocess.TimeoutExpired) as e:
        return f"{case['name']} [{case['expect']}] {case['what']}\n    {e}"
    return None


def main():
    tool = pathlib.Path(sys.argv[1]).resolve()
    check_limit(tool)
    limit_memory(tool, 256)
    glob = sys.argv[2] if len(sys.argv) > 2 else "*"
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(pathlib.Path(__file__).parent / "cases.tar.xz") as archive:
            archive.extractall(folder)
        root = pathlib.Path(folder)
        cases = [c for c in json.loads((root / "cases.json").read_text()) if fnmatch.fnmatch(c["name"], glob)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            failures = [f for f in pool.map(lambda c: outcome(tool, root / c["name"], c), cases) if f]
    print("\n".join(failures))
    print(f"{len(cases) - len(failures)} passed, {len(failures)} failed")
    sys.exit(1 if failures or not cases else 0)


if __name__ == "__main__":
    main()
