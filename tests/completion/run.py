#!/usr/bin/env python3
"""Complete command lines in the real shells and compare what they offer.

    run.py TOOL

bash is asked through its completion function; zsh and fish complete at a prompt of their own, zsh on a
pseudo-terminal, since it completes nowhere else. A shell that is not installed is passed over.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))
import samples

# A line, and the words offered: all of them where the list is complete, else some that must be there.
CASES = [
    ("netcl-ckpt insp", ["inspect"]),
    ("netcl-ckpt inspect --iden", ["--identity"]),
    ("netcl-ckpt inspect --sort ", ["file", "name", "size"]),
    ("netcl-ckpt convert --to np", ["npy", "npz"]),
    ("netcl-ckpt inspect state.npz --include model.fc.", ["model.fc.bias", "model.fc.weight"]),
    ("netcl-ckpt inspect plain.netcl --include 1:", ["1:bias", "1:weight"]),
    ("netcl-ckpt inspect plain.npz --exclude with", ["with space"]),
    ("netcl-ckpt inspect pack", ["packed.npz"]),
    ("netcl-ckpt help comp", ["completion"]),
]


def bash(line, tool):
    words = [w for w in re.split(r"([:=])|\s", line) if w]
    if line.endswith((" ",)):
        words.append("")
    script = f"""
        PATH={tool.parent}:$PATH
        source <(netcl-ckpt completion bash)
        compopt() {{ :; }}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _netcl_ckpt netcl-ckpt
        if [ ${{#COMPREPLY[@]}} -eq 0 ]; then COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}")); fi
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    out = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    prefix = line.split()[-1].rpartition(":")[0] if ":" in line else ""
    return [(prefix + ":" if prefix else "") + w.replace("\\ ", " ") for w in out.stdout.split("\n") if w]


def fish(line, tool):
    script = f"set -x PATH {tool.parent} $PATH; netcl-ckpt completion fish | source; complete -C '{line}'"
    out = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True)
    return [w.split("\t")[0].replace("\\ ", " ") for w in out.stdout.split("\n") if w]


def zsh(line, tool):
    """What stands below the prompt after Tab (the list), or on the line where there is but one."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {
            "PATH": f"{tool.parent}:/usr/bin:/bin", "TERM": "dumb", "PS1": "", "HOME": os.getcwd(), "COLUMNS": "120"})
    seen = b""

    def read_until(mark, seconds=10):
        nonlocal seen
        end = time.monotonic() + seconds
        while mark not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    seen += os.read(terminal, 1 << 16)
                except OSError:
                    break
        return seen

    setup = ("unsetopt prompt_sp beep; autoload -U compinit; compinit -u -D; source <(netcl-ckpt completion zsh); "
             # Lists each word that matched on a line of its own, between marks.
             "tell() { local -a m; compadd() { builtin compadd -O m \"$@\"; (( $#m )) && print -rl -- \"<\"${^m}\">\" >>found; "
             "builtin compadd \"$@\"; }; _main_complete; print -r -- end >>found; }; zle -C tell complete-word tell; bindkey '^X' tell; "
             "echo re''ady\n")
    os.write(terminal, setup.encode())
    read_until(b"ready")
    pathlib.Path("found").unlink(missing_ok=True)
    os.write(terminal, line.encode() + b"\x18")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if pathlib.Path("found").exists() and pathlib.Path("found").read_text().endswith("end\n"):
            break
        read_until(b"never", 0.1)
    os.close(terminal)
    os.waitpid(child, 0)
    found = re.findall(r"^<(.*)>$", pathlib.Path("found").read_text(), re.M) if pathlib.Path("found").exists() else []
    pathlib.Path("found").unlink(missing_ok=True)
    return list(dict.fromkeys(w.replace("\\ ", " ").replace("\\:", ":") for w in found))


def main():
    tool = pathlib.Path(sys.argv[1]).resolve()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        samples.make(folder)
        os.chdir(folder)
        one = samples.npy("<f4", (1,), samples.floats(1))
        samples.write_zip("plain.netcl", {"1:weight.npy": one, "1:bias.npy": one})
        samples.write_zip("plain.npz", {"with space.npy": one, "esc\x1b[31m.npy": one})
        for shell in (bash, zsh, fish):
            if not shutil.which(shell.__name__):
                print(f"{shell.__name__} is not installed")
                continue
            for line, words in CASES:
                offered = shell(line, tool)
                if sorted(offered) != sorted(words):
                    failed += 1
                    print(f"{shell.__name__}: {line!r} offers {offered}, not {words}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
