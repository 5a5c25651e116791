#!/usr/bin/env python3
"""Run the commands in *.cli and compare what they print with what stands below them.

    run.py TOOL [--update] [FILE...]

A file holds blocks, each a command line after "$ " (or "tty$ " to run it on a terminal), then its
standard output, its standard error with "2> " before each line, and "= N" for an exit code other than
0. Control characters are written as \\xNN. --update writes what the tool prints now; read the
difference before you commit it.
"""
import difflib
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile

import samples

HERE = pathlib.Path(__file__).resolve().parent


def visible(data):
    text = data.decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m[0]):02x}", text)


def run_on_terminal(line, **where):
    parent, child = pty.openpty()
    process = subprocess.Popen(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=child, stderr=subprocess.PIPE, **where)
    os.close(child)
    out = b""
    while True:
        try:
            part = os.read(parent, 1 << 16)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        out += part
    os.close(parent)
    return process.wait(), out.replace(b"\r\n", b"\n"), process.stderr.read()


def run(prompt, line, folder, tool):
    environment = {"PATH": f"{tool.parent}:{HERE.parents[1]}/scripts/ci:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "xterm", "TZ": "UTC",
                   **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    where = {"cwd": folder, "env": environment}
    if prompt == "tty$ ":
        code, out, err = run_on_terminal(line, **where)
    else:
        p = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, **where)
        code, out, err = p.returncode, p.stdout, p.stderr
    text = visible(out)
    if text and not text.endswith("\n"):
        text += "\n\\ no newline\n"
    text += "".join(f"2> {l}\n" for l in visible(err).splitlines())
    return text + (f"= {code}\n" if code else "")


def main():
    arguments = [a for a in sys.argv[1:] if a != "--update"]
    tool = pathlib.Path(arguments[0]).resolve()
    files = [pathlib.Path(f) for f in arguments[1:]] or sorted(HERE.glob("*.cli"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        samples.make(folder)
        for file in files:
            before = file.read_text()
            after = ""
            for block in re.split(r"^(?=(?:tty)?\$ )", before, flags=re.M):
                command = re.match(r"((?:tty)?\$ )(.*)\n", block)
                if command is None:  # what stands above the first command
                    after += block
                    continue
                after += command[0] + run(command[1], command[2], folder, tool) + ("\n" if block.endswith("\n\n") else "")
            if after == before:
                continue
            if "--update" in sys.argv:
                file.write_text(after)
                continue
            failed += 1
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), file.name, "now"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
