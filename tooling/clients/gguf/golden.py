"""SHA-256 of what ggml's own encoders write of fixed values, for packages/gguf/src/blocks/blocks.test.ts: without importance, and with
weights of 512 columns. `golden.py LIBGGML_BASE`: the shared library of a llama.cpp that was built without fused operations."""

import ctypes
import hashlib
import sys

import numpy as np

ids = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
ids |= {"IQ4_NL": 20, "IQ4_XS": 23, "TQ1_0": 34, "TQ2_0": 35, "MXFP4": 39}
columns, rows = 512, 128

ggml = ctypes.CDLL(sys.argv[1])
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_row_size.restype = ctypes.c_size_t
ggml.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)


def stream():
    """A sequence of numbers that every language writes alike."""
    word = 12345
    while True:
        word = (word * 1664525 + 1013904223) & 0xFFFFFFFF
        yield word


words = stream()
values = np.empty(rows * columns, np.float32)
for i in range(values.size):
    word = next(words)
    bell = (word >> 24) + ((word >> 16) & 255) + ((word >> 8) & 255) - 382
    values[i] = bell / 2.0 ** (7 + (i // 256) % 5)
importance = np.array([(1 + (next(words) >> 20)) / 1024 for _ in range(columns)], np.float32)
for name, number in ids.items():
    digests = []
    for weights in (None, importance):
        out = np.zeros(ggml.ggml_row_size(number, columns) * rows, np.uint8)
        ggml.ggml_quantize_chunk(number, pointer(values), pointer(out), ctypes.c_int64(0), ctypes.c_int64(rows),
                                 ctypes.c_int64(columns), pointer(weights) if weights is not None else None)
        digests.append(hashlib.sha256(out.tobytes()).hexdigest())
        if len(sys.argv) > 2:
            out.tofile(f"{sys.argv[2]}/{name}.{0 if weights is None else 1}")
    print(f"  ['{name}', '{digests[0]}', '{digests[1]}'],")
