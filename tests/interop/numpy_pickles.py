"""Pickles of all protocols, of arrays by Debian's NumPy 1 and by the venv's NumPy 2."""
import pickle
from collections import OrderedDict

from judge import check, flat, np, run
from samples import arrays_of_every_dtype


def main(folder):
    arrays = arrays_of_every_dtype()
    plain = {k: v for k, v in arrays.items() if v.dtype.kind not in "V"}
    state = OrderedDict(
        model={"layers": [{"w": plain["order/f"], "b": plain["d13/7"]}, {"w": plain["d13/3x4"], "b": None}]},
        optimizer={"t": 8, "moments": [(plain["big"], plain["big"]), (plain["d14/7"], plain["d14/7"])], "lr": np.float32(0.5)},
        every=plain, epoch=3, rng=np.random.RandomState(0).get_state(), seed=2**80, text="é\ud800", raw=b"\x00\xff")
    for protocol in range(6):
        path = folder / f"protocol{protocol}.pkl"
        path.write_bytes(pickle.dumps(state, protocol))
        check(path, flat(state), format="pickle")


run(main)
