"""Loads every folder below argv[1] with transformers (CPU) and compares logits with ours; report to argv[2].

MXFP4 experts are dequantized by transformers where no GPU is there, by its own code, to bf16: their values, E2M1 times a power of
two, are exact in bf16, so the model then computes in f32 with the values of the file.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Mxfp4Config

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, floats, logits, token_ids

LIMIT = 1e-4


def check(folder):
    settings = {"quantization_config": Mxfp4Config(dequantize=True)} if folder.name.startswith("mxfp4") else {}
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **settings
    )
    theirs = logits(model.to(torch.float32), token_ids(folder))
    distance = float(np.abs(floats(folder) - theirs).max() / np.abs(theirs).max())
    odd = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    return distance <= LIMIT and not odd, f"relative distance {distance:.2e} {odd}"


check_folders(check)
