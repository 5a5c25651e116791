#!/usr/bin/env python3
"""At every system call that changes a file, a save is killed, or the call fails: ENOSPC, EIO, EINTR, a short write.

    crash_test.py TOOL PAIR_SAVER SHIM

Afterwards convert's target is byte for byte the old file or the complete new one, and netcl's pair loads as one of
the two saves, arrays and metadata together. Where the process lived to clean up, no temporary is left. All points of
all ways, for new and for replaced files, stored and deflated.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


WAYS = ("kill", "ENOSPC", "EIO", "EINTR", "short")


def run(shim, folder, argv, fault=None):
    env = {**os.environ, "LD_PRELOAD": shim, "FAULT_COUNT": f"{folder}/count",
           "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    if fault:
        env |= {"FAULT_AT": str(fault[0]), "FAULT_HOW": fault[1]}
    return subprocess.run(argv, env=env, capture_output=True, text=True)


def calls_of(folder):
    calls = int((pathlib.Path(folder) / "count").read_text())
    assert calls > 5, f"only {calls} calls were seen"
    return calls


def clear(folder):
    for p in folder.iterdir():
        p.unlink()


def sweep(tool, shim, args, replaced):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.npz", pathlib.Path(folder) / "out" / "t.npz"
        target.parent.mkdir()
        np.savez(source, a=np.arange(300000, dtype="f4"), b=np.zeros(5), c=np.ones((3, 4), "i2"))
        old = b"the old file" if replaced else None
        argv = [tool, "convert", "-q", *args, "--force", str(source), str(target)]

        def reset():
            clear(target.parent)
            if replaced:
                target.write_bytes(old)

        reset()
        p = run(shim, folder, argv)
        assert p.returncode == 0, p.stderr
        new = target.read_bytes()
        calls = calls_of(folder)
        tried = 0
        for how in WAYS:
            for at in range(calls):
                reset()
                p = run(shim, folder, argv, (at, how))
                case = f"{args} {'replaced' if replaced else 'new'}: {how} at call {at}: exit {p.returncode} {p.stderr}"
                found = target.read_bytes() if target.exists() else None
                assert found in (old, new), f"{case}: the target is neither the old nor the new file"
                if how in ("EINTR", "short"):
                    assert p.returncode == 0 and found == new, case
                elif how != "kill":
                    assert p.returncode in (0, 2), case
                    assert p.returncode == 2 or found == new, case
                    assert (p.returncode == 2) == (len(p.stderr.splitlines()) == 1), case
                if how != "kill":
                    left = [q.name for q in target.parent.iterdir() if q != target]
                    assert not left, f"{case}: left {left}"
                tried += 1
        return tried


def sweep_pair(saver, shim, replaced):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "out"
        target.mkdir()

        def save(number, fault=None):
            return run(shim, folder, [saver, "save", str(target), str(number)], fault)

        def load():
            p = subprocess.run([saver, "load", str(target)], capture_output=True, text=True)
            return p.stdout if p.returncode == 0 else None

        old, new = ("1 1 1\n" if replaced else None), "2 2 2\n"
        if replaced:
            assert save(1).returncode == 0
        before = {p: p.read_bytes() for p in target.iterdir()}

        def reset():
            clear(target)
            for path, content in before.items():
                path.write_bytes(content)

        assert load() == old and save(2).returncode == 0 and load() == new
        calls, tried = calls_of(folder), 0
        for how in WAYS:
            for at in range(calls):
                reset()
                p = save(2, (at, how))
                case = f"pair, {'replaced' if replaced else 'new'}: {how} at call {at}: exit {p.returncode} {p.stderr}"
                found = load()
                assert found in (old, new), f"{case}: loads as {found}"
                if how in ("EINTR", "short") or p.returncode == 0:
                    assert p.returncode == 0 and found == new, case
                if how != "kill":
                    left = {q.name for q in target.iterdir()} - {"run.v1.npz", "run.v1.json"}
                    assert not left, f"{case}: left {left}"
                tried += 1
        return tried


def main():
    tool, saver, shim = map(os.path.abspath, sys.argv[1:4])
    tried = sum(sweep(tool, shim, args, replaced)
                for args in (["--compression", "none"], ["--compression", "fast"]) for replaced in (False, True))
    pairs = sum(sweep_pair(saver, shim, replaced) for replaced in (False, True))
    print(f"{tried} faults, each left the old file or the new one; {pairs}, each the old pair or the new one")


if __name__ == "__main__":
    main()
