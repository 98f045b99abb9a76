"""Loads every folder below argv[1] with transformers (CPU, f32) and compares logits with ours on the same codes; report to argv[2].

Weights alone are quantized, and both sides compute with the same numbers in f32: what is left is the order of sums, a small part
of what quantization itself changes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from bitsandbytes.nn import Linear4bit
from loguru import logger
from transformers import AutoModelForCausalLM, GPT2PreTrainedModel
from transformers.utils import logging

LIMIT = 1e-3
# Bars and warnings of every folder.
logging.disable_progress_bar()
logger.remove()
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None
passed, failed = 0, 0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    ours = np.fromfile(folder / "logits.f32", dtype=np.float32)
    original = np.fromfile(folder / "original.f32", dtype=np.float32)
    try:
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
        with torch.no_grad():
            theirs = model(ids).logits[0].float().numpy().ravel()
        changed = float(np.linalg.norm(ours - original) / np.linalg.norm(original))
        distance = float(np.linalg.norm(theirs - ours) / np.linalg.norm(original))
        good = changed > 0 and distance <= LIMIT * changed
        kinds = {type(module).__name__ for module in model.modules() if "inear" in type(module).__name__}
        print(
            f"{'ok  ' if good else 'FAIL'} {folder.name}: relative distance {distance:.2e}, quantization changed {changed:.2e}"
            f" ({', '.join(sorted(kinds))})"
        )
    except Exception as error:  # a folder that does not load is a failure of the check, with the loader's words
        good = False
        print(f"FAIL {folder.name}: {type(error).__name__}: {error}")
    passed, failed = passed + good, failed + (not good)
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
