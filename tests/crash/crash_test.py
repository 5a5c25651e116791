#!/usr/bin/env python3
"""At every system call that changes a file, `convert` is killed, or the call fails: ENOSPC, EIO, EINTR, a short write.

    crash_test.py TOOL SHIM

Afterwards the target is byte for byte the old file or the complete new one. Where the process lived to clean up, no
temporary is left. All points of all ways, for a new and for a replaced file, stored and deflated.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


def convert(tool, shim, folder, args, fault=None):
    env = {**os.environ, "LD_PRELOAD": shim, "FAULT_COUNT": f"{folder}/count",
           "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    if fault:
        env |= {"FAULT_AT": str(fault[0]), "FAULT_HOW": fault[1]}
    return subprocess.run([tool, "convert", "-q", *args], env=env, capture_output=True, text=True)


def sweep(tool, shim, args, replaced):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.npz", pathlib.Path(folder) / "out" / "t.npz"
        target.parent.mkdir()
        np.savez(source, a=np.arange(300000, dtype="f4"), b=np.zeros(5), c=np.ones((3, 4), "i2"))
        old = b"the old file" if replaced else None
        argv = [*args, "--force", str(source), str(target)]

        def reset():
            for p in target.parent.iterdir():
                p.unlink()
            if replaced:
                target.write_bytes(old)

        reset()
        p = convert(tool, shim, folder, argv)
        assert p.returncode == 0, p.stderr
        new = target.read_bytes()
        calls = int((pathlib.Path(folder) / "count").read_text())
        assert calls > 5, f"only {calls} calls were seen"
        tried = 0
        for how in ("kill", "ENOSPC", "EIO", "EINTR", "short"):
            for at in range(calls):
                reset()
                p = convert(tool, shim, folder, argv, (at, how))
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


def main():
    tool, shim = map(os.path.abspath, sys.argv[1:3])
    tried = sum(sweep(tool, shim, args, replaced)
                for args in (["--compression", "none"], ["--compression", "fast"]) for replaced in (False, True))
    print(f"{tried} faults, each left the old file or the new one")


if __name__ == "__main__":
    main()
