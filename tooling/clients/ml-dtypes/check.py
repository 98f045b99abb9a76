"""Compares the codes that make.ts wrote with those of ml_dtypes, bit for bit; the report says how many formats agree."""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np

root = Path(sys.argv[1])
passed, failed = 0, 0


def compare(words, values, ours, theirs):
    global passed, failed
    wrong = np.flatnonzero(ours != theirs)
    if len(wrong) == 0:
        passed += 1
        print(f"{words}: {len(ours)} codes agree")
        return
    failed += 1
    at = wrong[0]
    print(f"FAIL {words}: {len(wrong)} of {len(ours)} differ, first {values[at]!r}: ours {ours[at]:#x}, theirs {theirs[at]:#x}")


for entry in json.loads((root / "formats.json").read_text()):
    name, largest = entry["name"], np.float32(entry["max"])
    dtype = getattr(ml_dtypes, entry["theirs"])
    values = np.fromfile(root / f"{name}.f32", dtype=np.float32)
    mask = np.uint8(2 ** ml_dtypes.finfo(dtype).bits - 1)
    with np.errstate(all="ignore"):
        encode = lambda x: x.astype(dtype).view(np.uint8) & mask
        finite = np.where(np.isfinite(values), values, np.float32(0))
        compare(f"{name}, saturating", finite, np.fromfile(root / f"{name}.quantize", dtype=np.uint8), encode(np.clip(finite, -largest, largest)))
        ours, theirs = np.fromfile(root / f"{name}.convert", dtype=np.uint8), encode(values)
        nan = np.isnan(values)
        compare(f"{name}, conversion", values[~nan], ours[~nan], theirs[~nan])
        if np.isnan(np.float32(np.nan).astype(dtype)):
            decoded = ours[nan].view(dtype).astype(np.float32)
            compare(f"{name}, NaN", values[nan], np.isnan(decoded), np.ones(nan.sum(), dtype=bool))
    values = np.fromfile(root / f"{name}.decode", dtype=np.float32)
    theirs = np.arange(len(values), dtype=np.uint8).view(dtype).astype(np.float32)
    same = (values.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(values) & np.isnan(theirs))
    compare(f"{name}, decoding", values, same, np.ones(len(values), dtype=bool))
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
