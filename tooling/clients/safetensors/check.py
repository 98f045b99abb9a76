"""Reads what make.ts wrote, judges its damaged headers, and writes a folder of its own for read.ts; results to result.json."""

import json
import sys
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import save_file

root = Path(sys.argv[1])
passed, failures = 0, []


def check(condition, words):
    global passed
    if condition:
        passed += 1
    else:
        failures.append(words)
        print("FAIL", words)


for folder in ["whole", "shards"]:
    expected = json.loads((root / f"{folder}.json").read_text())
    found = {}
    for file in sorted((root / folder).glob("*.safetensors")):
        for name, tensor in safetensors.deserialize(file.read_bytes()):
            found[name] = tensor
    check(found.keys() == expected.keys(), f"{folder}: names differ: {sorted(found.keys() ^ expected.keys())}")
    for name, want in expected.items():
        have = found.get(name)
        good = have and have["dtype"] == want["dtype"] and have["shape"] == want["shape"] and bytes(have["data"]).hex() == want["hex"]
        check(good, f"{folder}/{name}: {have} instead of {want}")
index = json.loads((root / "shards" / "model.safetensors.index.json").read_text())
check(set(index["weight_map"]) == set(expected), "the index lists other tensors")

verdicts = json.loads((root / "verdicts.json").read_text())
stricter, agreed = [], 0
for verdict in verdicts:
    try:
        safetensors.deserialize(bytes.fromhex(verdict["hex"]))
        theirs = None
    except Exception as error:
        theirs = str(error)
    header = bytes.fromhex(verdict["hex"])[8:-28]
    if theirs and verdict["rejected"] is None:
        check(False, f"we accept what the reference rejects ({theirs}): {header!r}")
    elif theirs is None and verdict["rejected"]:
        stricter.append(verdict["rejected"])
        # Stricter on purpose: what the specification forbids and the reference lets pass.
        words = ("twice", "duplicate", "must be a string", "data type")
        check(any(word in verdict["rejected"] for word in words), f"we reject ({verdict['rejected']}) what the reference accepts: {header!r}")
    else:
        agreed += 1
print(f"damaged headers: {agreed} of {len(verdicts)} judged alike, {len(stricter)} stricter: {sorted(set(stricter))[:5]}")
check(agreed > 0.9 * len(verdicts), "fewer than 90 % judged alike")

rng = np.random.default_rng(0)
theirs = {
    f"{dtype}.{i}": np.asarray(rng.integers(0, 2, shape) if dtype == "bool" else np.abs(rng.normal(size=shape) * 100)).astype(dtype)
    for dtype in ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]
    for i, shape in enumerate([(), (0,), (5,), (3, 7), (2, 3, 4)])
}
(root / "theirs").mkdir()
save_file(theirs, root / "theirs" / "model.safetensors", metadata={"format": "np"})
(root / "theirs.json").write_text(json.dumps({k: {"shape": list(v.shape), "values": v.astype("float64").ravel().tolist()} for k, v in theirs.items()}))
(root / "result.json").write_text(json.dumps({"passed": passed, "failed": len(failures)}))
