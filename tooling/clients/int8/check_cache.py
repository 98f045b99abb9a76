"""Loads every folder below argv[1] with transformers (CPU, f32), and checks the static scales of the cache; report to argv[2].

compressed-tensors validates the settings. Then the windows of the calibration go through the quantized model, with its cache as it
is: the largest keys and values that transformers hands to the cache, over the largest code, are the scales of the file, to a step of
their dtype. transformers 5.17 loads the scales into the attentions. compressed-tensors 0.19 does not know the attentions of
transformers 5.24, which leaves the scales unread.
"""

import json
import sys
from pathlib import Path

import torch
from compressed_tensors.quantization import QuantizationConfig
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, token_ids

LENGTH = 64
# compressed-tensors itself would divide by 127.5 for int8.
LARGEST = {"float": 448, "int": 127}
# Half a step of bf16 and of f16, and for f32 the order of sums.
STEPS = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 0}
ORDER_OF_SUMS = 1e-3
logging.disable_progress_bar()


def stored_scales(folder):
    scales = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():
                if name.endswith((".k_scale", ".v_scale")):
                    scales[name] = tensors.get_tensor(name)
    return scales


def check(folder):
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(settings).kv_cache_scheme
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32)
    scales = stored_scales(folder)
    attentions = [(name, module) for name, module in model.named_modules() if f"{name}.k_scale" in scales]
    worst = 0.0
    maxima = torch.zeros(len(attentions), 2)
    for _, module in model.named_modules():
        if hasattr(module, "k_scale"):
            module.quantization_enabled = False
    with torch.no_grad():
        for window in token_ids(folder).reshape(-1, 1, LENGTH):
            cache = model(window, use_cache=True).past_key_values
            seen = torch.tensor([[float(side.abs().max()) for side in (layer.keys, layer.values)] for layer in cache.layers])
            maxima = torch.maximum(maxima, seen)
    for (name, module), pair in zip(attentions, maxima, strict=True):
        for side, largest in zip(("k_scale", "v_scale"), pair, strict=True):
            stored = scales.pop(f"{name}.{side}")
            loaded = float(getattr(module, side, stored))
            if tuple(stored.shape) != (1,) or loaded != float(stored):
                return False, f"{name}.{side}: {loaded} was loaded of {stored}"
            wrong = abs(float(stored) * LARGEST[scheme.type] / float(largest) - 1) - STEPS[stored.dtype]
            worst = max(worst, wrong)
    good = len(attentions) > 0 and not scales and worst <= ORDER_OF_SUMS
    return good, f"{len(attentions)} attentions, {scheme.type} scales at most {worst:.1e} beyond a step away, {len(scales)} unread"


check_folders(check)
