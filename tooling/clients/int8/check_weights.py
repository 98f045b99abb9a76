"""Loads every folder below argv[1] with transformers (CPU, f32) and compares logits with ours on the same codes; report to argv[2].

Weights alone are quantized, and both sides compute with the same numbers in f32: what is left is the order of sums, a small part
of what quantization itself changes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from bitsandbytes.nn import Linear4bit
from loguru import logger
from transformers import AutoModelForCausalLM, GPT2PreTrainedModel
from transformers.utils import logging

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, floats, logits, token_ids

LIMIT = 1e-3
# Bars and warnings of every folder.
logging.disable_progress_bar()
logger.remove()
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32)
    # bitsandbytes keeps the type of the file's other tensors, and rounds what it decodes to it.
    for tensor in model.parameters():
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.weight.quant_state.dtype = torch.float32
            # Products in bf16 are another computation.
            module.compute_dtype, module.compute_type_is_set = torch.float32, True
            module.support_avx512bf16_for_cpu = False
    return model


def check(folder):
    model = load(folder)
    ours, original = floats(folder), floats(folder, "original.f32")
    changed = float(np.linalg.norm(ours - original) / np.linalg.norm(original))
    distance = float(np.linalg.norm(logits(model, token_ids(folder)) - ours) / np.linalg.norm(original))
    kinds = {type(module).__name__ for module in model.modules() if "inear" in type(module).__name__}
    words = f"relative distance {distance:.2e}, quantization changed {changed:.2e} ({', '.join(sorted(kinds))})"
    return changed > 0 and distance <= LIMIT * changed, words


check_folders(check)
