"""Reads what make.ts wrote, quantizes the same values, and writes a file of its own for read.ts; results to result.json."""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

root = Path(sys.argv[1])
passed, failures = 0, []


def check(condition, words):
    global passed
    if condition:
        passed += 1
    else:
        failures.append(words)
        print("FAIL", words)


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**31 + 1 else value


reader = GGUFReader(root / "ours.gguf")
expected = json.loads((root / "metadata.json").read_text())
for key, want in expected.items():
    have = reader.fields[key].contents()
    if key in ("a.integers",):
        have = [str(item) for item in have]
    check(plain(have) == want, f"metadata {key}: {have!r} instead of {want!r}")

values = np.fromfile(root / "values.f32", np.float32).reshape(40, 2, 256)
encoders = 0
for tensor in reader.tensors:
    kind = tensor.tensor_type
    check(list(tensor.shape) == [256, 2, 40], f"{tensor.name}: shape {tensor.shape}")
    ours = np.fromfile(root / f"{kind.name}.f32", np.float32)
    theirs = dequantize(tensor.data, kind).ravel()
    check(np.array_equal(theirs, ours), f"{tensor.name}: {np.sum(theirs != ours)} of {ours.size} values are others")
    try:
        bytes_of = quantize(values, kind)
    except NotImplementedError:
        continue
    encoders += 1
    different = np.sum(bytes_of.view(np.uint8).ravel() != tensor.data.view(np.uint8).ravel())
    check(different == 0, f"{tensor.name}: {different} bytes are others")
check(encoders >= 7, f"only {encoders} types could be quantized here")

for entry in json.loads((root / "types.json").read_text()):
    kind = GGMLQuantizationType.__members__.get(entry["name"])
    if kind is None:
        print(f"{entry['name']} is not known to this version of gguf")
        continue
    sizes = GGML_QUANT_SIZES[kind]
    check((entry["id"], entry["values"], entry["bytes"]) == (kind.value, *sizes), f"{entry} instead of {kind.value} {sizes}")

rng = np.random.default_rng(0)
writer = GGUFWriter(root / "theirs.gguf", "llama")
writer.add_uint32("their.count", 7)
writer.add_array("their.words", ["a", "ü"])
writer.add_float64("their.share", 0.1)
writer.add_key_value("their.deep", -5, GGUFValueType.INT64)
described = {}
for name in ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]:
    kind = GGMLQuantizationType[name]
    data = quantize(rng.normal(size=(3, 96)).astype(np.float32), kind)
    writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
    described[f"{name}.weight"] = {"type": name, "shape": [3, 96], "values": dequantize(data, kind).astype(np.float64).ravel().tolist()}
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(root / "theirs.json").write_text(json.dumps(described))
(root / "result.json").write_text(json.dumps({"passed": passed, "failed": len(failures)}))
