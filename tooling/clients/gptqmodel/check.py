"""Loads every folder below argv[1] with transformers (GPTQModel's kernels, CPU) and compares logits; report to argv[2]."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from gptqmodel import BACKEND, GPTQModel
from transformers import AutoModelForCausalLM, AwqConfig, GPT2PreTrainedModel, GPTQConfig

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, floats, logits, token_ids

LIMIT = 1e-2
# GPT-2's initialisation draws c_proj.weight, which a quantized linear does not have; everything is in the file anyway.
GPT2PreTrainedModel._init_weights = lambda self, module: None


def load(folder):
    # The AVX-512 kernel that is chosen by itself refuses group sizes that do not divide the features (688 = 5 * 128 + 48)
    # and groups above 256; the plain torch one takes whatever the format can express.
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    if settings["quant_method"] == "awq":
        config = AwqConfig(
            bits=settings["bits"],
            group_size=settings["group_size"],
            zero_point=settings["zero_point"],
            modules_to_not_convert=settings["modules_to_not_convert"],
            backend="torch_awq",
        )
    elif any(key.startswith("+:") for key in settings.get("dynamic", {})):
        # Overrides of single modules are known to GPTQModel itself, not to the loader of transformers.
        return GPTQModel.load(str(folder), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16).model
    else:
        config = GPTQConfig(bits=settings["bits"], backend="torch")
    return AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", dtype=torch.float32, quantization_config=config)


def check(folder):
    model = load(folder)
    kinds = {type(module).__name__ for module in model.modules() if "Linear" in type(module).__name__}
    worst = float(np.abs(logits(model, token_ids(folder)) - floats(folder)).max())
    return worst <= LIMIT, f"largest difference of logits {worst:.2e} ({', '.join(sorted(kinds))})"


check_folders(check)
