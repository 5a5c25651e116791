"""Arrays of every dtype, shape and order that NumPy stores."""
from judge import np

DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", ">i8", "<u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8",
          "<f16", "<c8", ">c16", "<c32", "<M8[ns]", ">M8[25us]", "<m8[D]", "S5", "S0", "<U3", ">U2", "V4",
          [("a", "<f4"), ("b", ">i2", (2, 3))], [("x", [("y", "u1"), ("z", "<f8")]), ("s", "S3")],
          np.dtype([("a", "u1"), ("b", "<f8")], align=True)]


def sample(dtype, shape):
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = (np.arange(count) * 37 % 251).astype(np.uint8).tobytes()
    if dtype.kind == "U":  # any bytes are not characters
        return np.full(shape, "aé重", dtype)
    if dtype.kind == "b":
        return (np.frombuffer(raw, np.uint8) % 2).astype(bool).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape) if dtype.itemsize else np.zeros(shape, dtype)


def arrays_of_every_dtype():
    arrays = {}
    for i, dtype in enumerate(DTYPES):
        for shape in ((), (0,), (7,), (3, 4), (2, 0, 3)):
            arrays[f"d{i}/{'x'.join(map(str, shape)) or 'scalar'}"] = sample(dtype, shape)
    arrays["order/f"] = np.asfortranarray(sample("<f4", (5, 6)))
    arrays["order/f3"] = np.asfortranarray(sample(">i2", (3, 4, 5)))
    arrays["order/strided"] = sample("<f4", (8, 9))[::2, 1::3]
    arrays["order/negative"] = sample("<i4", (8,))[::-1]
    arrays["name with spaces.é:重"] = sample("u1", (3,))
    arrays["big"] = np.arange(1_500_000, dtype=np.float32).reshape(1000, 1500)
    arrays["big/f"] = np.asfortranarray(arrays["big"])
    return arrays
