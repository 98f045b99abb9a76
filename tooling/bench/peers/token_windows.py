"""Windows of 256 token ids in a file of little-endian ids: 32 bits in `.u32`, 16 bits in all others."""

import numpy


def read(path):
    ids = numpy.fromfile(path, dtype="<u4" if path.endswith(".u32") else "<u2")
    return ids.reshape(-1, 256).astype("int64").tolist()
