"""Write the seeds of the fuzz targets: FOLDER/<target>/<name>, each small and each a feature of its format.

    make_corpus.py FOLDER        (Debian's python3: NumPy 1.24, torch 1.13)

Crashers that fuzzing found are kept in the same folders, with the name of what they broke.
"""
import json
import pathlib
import struct
import sys


def safetensors(entries, data, metadata=None, pad=0):
    header = {"__metadata__": metadata} if metadata else {}
    header.update({name: {"dtype": d, "shape": s, "data_offsets": o} for name, d, s, o in entries})
    text = json.dumps(header).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def safetensors_seeds():
    yield "empty", safetensors([], b"")
    yield "one", safetensors([("w", "F32", [2, 2], [0, 16])], bytes(range(16)))
    yield "order", safetensors([("z", "U8", [2], [1, 3]), ("a", "BOOL", [1], [0, 1])], b"abc", {"format": "pt"}, 5)
    yield "kinds", safetensors([("a", "BF16", [], [0, 2]), ("b", "F8_E4M3", [0, 9], [2, 2]), ("c", "C64", [1], [2, 10])],
                               bytes(10))
    yield "skipped", struct.pack("<Q", 73) + b'{"t":{"dtype":"I8","x":[{"y":[1]}],"shape":[3],"data_offsets":[0,3]}}    ' + b"abc"


def sidecar_seeds():
    yield "netcl", json.dumps({"optim_state": {}, "config": {"lr": 1e-3, "name": "\u00e9"}}).encode()
    yield "moments", b'{"optim_state": {"t": 8, "moments": [[[1.0, 2.0], [3, NaN]]]}, "config": {}}'
    yield "velocity", b'{"optim_state": {"velocity": [[[1], [2]], -Infinity, []]}}'
    yield "torn", b'{"optim_state": {"t": 8, "moments": [['
    yield "numbers", b'{"config": [1e308, -0, 18446744073709551616, 1.5E-7, true, null, "\\ud83d\\ude00\\n"]}'
    yield "twice", b'{"config": {"a": 1, "\\u0061": 2}}'
    yield "foreign", b"[[[[{}]]]]"


SEEDS = {"safetensors": safetensors_seeds, "sidecar": sidecar_seeds}


def main():
    for target, seeds in SEEDS.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
