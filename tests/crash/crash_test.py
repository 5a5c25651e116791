#!/usr/bin/env python3
"""At every system call that changes a file, a save is killed, before it or after it, or the call fails: ENOSPC, EIO,
EINTR, a short write.

    crash_test.py TOOL PAIR_SAVER SHIM

Afterwards convert's target, a file or a folder, is byte for byte the old one or the complete new one, and the exit code
and the message say which; netcl's pair loads as one of the two saves, arrays and metadata together; a manager's folder
restores the newest save that it told of, or a later one. Where the process lived to clean up, no temporary is left. All
points of all ways, for new and for replaced files, stored and deflated, also on file systems without O_TMPFILE, without
RENAME_EXCHANGE and RENAME_NOREPLACE, and where /proc is not mounted.
"""
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np


WAYS = ("kill", "kill after", "ENOSPC", "EIO", "EINTR", "short")
IN_PLACE = "is in place"  # what a message says if an error came after the rename


def run(shim, folder, argv, fault=None, without=""):
    env = {**os.environ, "LD_PRELOAD": shim, "FAULT_COUNT": f"{folder}/count", "FAULT_WITHOUT": without,
           "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    if fault:
        env |= {"FAULT_AT": str(fault[0]), "FAULT_HOW": fault[1]}
    return subprocess.run(argv, env=env, capture_output=True, text=True)


def calls_of(folder):
    calls = int((pathlib.Path(folder) / "count").read_text())
    assert calls > 5, f"only {calls} calls were seen"
    return calls


def is_kill(how):
    return how.startswith("kill")


def clear(folder):
    for p in folder.iterdir():
        shutil.rmtree(p) if p.is_dir() else p.unlink()


def content(path):
    """Of a file, or of a folder by name; None where there is nothing."""
    if path.is_dir():
        return {p.name: p.read_bytes() for p in path.iterdir()}
    return path.read_bytes() if path.exists() else None


def sweep(tool, shim, args, replaced, without="", target_name="t.npz"):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.npz", pathlib.Path(folder) / "out" / target_name
        as_folder = target.suffix == ""
        target.parent.mkdir()
        np.savez(source, a=np.arange(300000, dtype="f4"), b=np.zeros(5), c=np.ones((3, 4), "i2"))
        argv = [tool, "convert", "-q", *args, *(["--force"] if replaced else []), str(source),
                str(target) + ("/" if as_folder else "")]
        old = None
        if replaced and as_folder:
            np.savez(pathlib.Path(folder) / "old.npz", z=np.ones(2))
            subprocess.run([tool, "convert", "-q", pathlib.Path(folder) / "old.npz", f"{target}/"], check=True)
            old = content(target)
        elif replaced:
            old = b"the old file"

        def reset():
            clear(target.parent)
            if replaced and as_folder:
                target.mkdir()
                for name, data in old.items():
                    (target / name).write_bytes(data)
            elif replaced:
                target.write_bytes(old)

        reset()
        p = run(shim, folder, argv, without=without)
        assert p.returncode == 0, p.stderr
        new = content(target)
        calls = calls_of(folder)
        tried = 0
        for how in WAYS:
            for at in range(calls):
                reset()
                p = run(shim, folder, argv, (at, how), without)
                case = (f"{target_name} {args} {'replaced' if replaced else 'new'} without '{without}': {how} at call {at}: "
                        f"exit {p.returncode} {p.stderr}")
                found = content(target)
                aside = list(target.parent.glob(f"{target_name}.replaced-*"))
                if found is None and old is not None and "exchange" in without and is_kill(how):
                    assert [content(a) for a in aside] == [old], f"{case}: the old folder is neither there nor aside"
                elif not replaced and not as_folder and "link" in without and is_kill(how):
                    assert found in (old, new, b""), case  # the name is claimed before the rename
                else:
                    assert found in (old, new), f"{case}: the target is neither the old nor the new one"
                if how in ("EINTR", "short"):
                    assert p.returncode == 0 and found == new, case
                elif not is_kill(how):
                    assert p.returncode in (0, 2), case
                    assert p.returncode == 2 or found == new, case
                    assert (p.returncode == 2) == (len(p.stderr.splitlines()) == 1), case
                    assert p.returncode == 0 or (found == new) == (IN_PLACE in p.stderr), case
                left = [q.name for q in target.parent.iterdir() if q != target]
                if not is_kill(how):
                    in_place = [q for q in left if not (as_folder and IN_PLACE in p.stderr)]
                    assert not in_place, f"{case}: left {left}"
                elif as_folder:
                    again = run(shim, folder, argv[:2] + ["--force"] + argv[2:] if not replaced else argv, without=without)
                    hidden = [q.name for q in target.parent.iterdir() if q.name.startswith(".")]
                    assert again.returncode == 0 and content(target) == new and not hidden, f"{case}: left {hidden}"
                tried += 1
        return tried


def sweep_pair(saver, shim, replaced, without=""):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "out"
        target.mkdir()

        def save(number, fault=None):
            return run(shim, folder, [saver, "save", str(target), str(number)], fault, without)

        def load():
            p = subprocess.run([saver, "load", str(target)], capture_output=True, text=True)
            return p.stdout if p.returncode == 0 else None

        old, new = ("1 1 1\n" if replaced else None), "2 2 2\n"
        if replaced:
            assert save(1).returncode == 0
        before = {p: p.read_bytes() for p in target.iterdir()}

        def reset():
            clear(target)
            for path, data in before.items():
                path.write_bytes(data)

        assert load() == old and save(2).returncode == 0 and load() == new
        calls, tried = calls_of(folder), 0
        for how in WAYS:
            for at in range(calls):
                reset()
                p = save(2, (at, how))
                case = (f"pair, {'replaced' if replaced else 'new'} without '{without}': {how} at call {at}: "
                        f"exit {p.returncode} {p.stderr}")
                found = load()
                assert found in (old, new), f"{case}: loads as {found}"
                if how in ("EINTR", "short") or p.returncode == 0:
                    assert p.returncode == 0 and found == new, case
                if not is_kill(how):
                    assert p.returncode == 0 or (found == new) == ("is the new one" in p.stderr or IN_PLACE in p.stderr), case
                    left = {q.name for q in target.iterdir()} - {"run.v1.npz", "run.v1.json"}
                    assert not left, f"{case}: left {left}"
                tried += 1
        return tried


def sweep_manager(saver, shim, without=""):
    """-> the number of faults tried"""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "out"

        def save(fault=None):
            shutil.rmtree(target, ignore_errors=True)
            return run(shim, folder, [saver, "run", str(target), "4"], fault, without)

        p = save()
        assert p.returncode == 0 and p.stdout == "saved 1\nsaved 2\nsaved 3\nsaved 4\n", p
        calls, tried = calls_of(folder), 0
        for how in WAYS:
            for at in range(calls):
                p = save((at, how))
                case = f"manager without '{without}': {how} at call {at}: exit {p.returncode} {p.stdout!r} {p.stderr}"
                told = max([0, *(int(line.split()[1]) for line in p.stdout.splitlines())])
                if how in ("EINTR", "short"):
                    assert told == 4 and p.returncode == 0, case
                q = subprocess.run([saver, "restore", str(target)], capture_output=True, text=True)
                assert q.returncode == 0, f"{case}: {q.stderr}"
                restored = int(q.stdout)
                assert told <= restored <= told + 1, f"{case}: {told} was told, {restored} is restored"
                left = sorted(f.name for f in target.iterdir())
                assert not any(name.endswith(".tmp") for name in left), f"{case}: left {left}"
                tried += 1
        return tried


def main():
    tool, saver, shim = map(os.path.abspath, sys.argv[1:4])
    stored, deflated = ["--compression", "none"], ["--compression", "fast"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # most of the time is waiting for the disk

        def begin(function, cases):
            return [pool.submit(function, *case) for case in cases]

        both = (False, True)
        files = begin(sweep, [(tool, shim, args, replaced) for args in (stored, deflated) for replaced in both])
        files += begin(sweep, [(tool, shim, stored, replaced, without) for replaced in both for without in
                               ("tmpfile", "proc", "tmpfile noreplace", "tmpfile noreplace link")])
        folders = begin(sweep, [(tool, shim, [], replaced, without, "folder") for replaced, without in
                                ((False, ""), (True, ""), (True, "exchange"), (True, "exchange tmpfile"))])
        pairs = begin(sweep_pair, [(saver, shim, replaced, without) for replaced in both for without in ("", "tmpfile")])
        managers = begin(sweep_manager, [(saver, shim, without) for without in ("", "proc")])
        tried, folders, pairs, managers = (sum(f.result() for f in part) for part in (files, folders, pairs, managers))
    print(f"{tried} faults, each left the old file or the new one; {folders}, each the old folder or the new one; "
          f"{pairs}, each the old pair or the new one; {managers}, each what the manager had told of, or later")


if __name__ == "__main__":
    main()
