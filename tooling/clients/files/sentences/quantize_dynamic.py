"""The usual way to an int8 file: `quantize_dynamic.py IN.onnx OUT.onnx [per-channel]`."""

import sys

from onnxruntime.quantization import QuantType, quantize_dynamic

quantize_dynamic(
    sys.argv[1],
    sys.argv[2],
    weight_type=QuantType.QInt8 if "int8" in sys.argv[3:] else QuantType.QUInt8,
    per_channel="per-channel" in sys.argv[3:],
)
