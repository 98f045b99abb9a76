"""Loads every folder below argv[1] with transformers (CPU) and compares logits with ours; report to argv[2].

Static scales leave nothing to choose: the two runs agree but for values on the border between two codes, and the distance is
a small part of what quantization itself changes. So do dynamic scales once the library divides maxima by 127 as the papers and
vLLM do; as it is, compressed-tensors divides by 127.5. bitsandbytes rounds inputs to f16 before it finds their codes: that
moves some of them, each moved code moves others behind it, and the two runs end as two independent roundings. They must then
be about equally far from the unquantized model, and no farther from each other than two such roundings are. The same holds for
OPT per token: transformers flattens the inputs of its MLP to two dimensions, where compressed-tensors takes one scale for all of them.

A code of FP8 is up to an eighth of the value away from the next one, so one value on a border moves more than in int8:
llama-5m-fp8-per-tensor was 0.47 of its change away, the same folder of the demo model 0.00005.
"""

import os
import sys
from pathlib import Path

# The last bits of PyTorch's sums depend on the processor: llama-5m-w8a8-o1 was 0.10 to 0.35 of its change away with three instruction
# sets of one processor. The smallest set gives the same bits on all of them.
os.environ.update(ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE", ONEDNN_MAX_CPU_ISA="SSE41")

import numpy as np
import torch
from compressed_tensors.quantization.utils import helpers
from transformers import AutoModelForCausalLM, GPT2PreTrainedModel

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, floats, logits, token_ids

SAME = 0.35
SAME_FP8 = 0.7
INDEPENDENT = 1.6
CODES = (torch.int8, torch.float8_e4m3fn)
original_qparams = helpers.calculate_qparams


def divided_by_127(min_vals, max_vals, args, global_scale=None):
    scales, zeros = original_qparams(min_vals, max_vals, args, global_scale=global_scale)
    return scales * (127.5 / 127 if args.type == "int" else 1), zeros


helpers.calculate_qparams = divided_by_127
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None


def check(folder):
    dtype = "auto" if folder.name.startswith("opt-3m-llm") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=dtype)
    kinds = {type(module).__name__ for module in model.modules() if "inear" in type(module).__name__}
    codes = sum(p.numel() for p in [*model.parameters(), *model.buffers()] if p.dtype in CODES)
    ours, original, theirs = floats(folder), floats(folder, "original.f32"), logits(model, token_ids(folder))
    changed, changed_there, distance = (
        float(np.linalg.norm(a - b) / np.linalg.norm(original))
        for a, b in [(ours, original), (theirs, original), (theirs, ours)]
    )
    per_token = folder.name.endswith(("o1", "per-channel"))
    flat = folder.name.startswith("opt") and per_token
    same = SAME_FP8 if "fp8" in folder.name else SAME
    limit = INDEPENDENT if "llm-int8" in folder.name or flat else same
    good = codes > 0 and distance <= limit * changed and changed_there <= (1 + limit) * changed
    return good, (
        f"relative distance {distance:.2e}, quantization changed {changed:.2e} here, {changed_there:.2e} there"
        f" ({', '.join(sorted(kinds))}, {codes} codes)"
    )


check_folders(check)
