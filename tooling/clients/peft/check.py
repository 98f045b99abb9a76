"""Loads every adapter below argv[1] with PEFT (CPU), beside and merged, and compares logits with ours; report to argv[2].

Then PEFT writes an adapter of its own for each model, with its logits, into NAME-python: read.ts loads those.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

sys.path.append(str(Path(__file__).parent.parent / "shared"))
from check_folders import check_folders, floats, logits, token_ids

LIMIT = 2e-5


def far(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def load(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    return AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)


def check(folder):
    ids, ours = token_ids(folder), floats(folder)
    base = load(folder)
    original = logits(base, ids)
    model = PeftModel.from_pretrained(base, folder)
    factors = sum(1 for name, _ in model.named_parameters() if ".lora_A." in name)
    beside = far(logits(model, ids), ours)
    merged = far(logits(model.merge_and_unload(), ids), ours)
    changed = far(ours, original)
    write_own(folder, ids)
    good = beside < LIMIT and merged < LIMIT and changed > 1e-2 and factors > 0
    return good, f"{factors} linears, relative distance {beside:.2e} beside, {merged:.2e} merged; the adapter changes {changed:.2e}"


def write_own(folder, ids):
    base = load(folder)
    torch.manual_seed(0)
    kind = "c_attn" if folder.name.startswith("gpt2") else "q_proj"
    lora = LoraConfig(r=3, lora_alpha=5, target_modules=[kind], init_lora_weights=False, task_type="CAUSAL_LM")
    written = get_peft_model(base, lora)
    target = folder.parent / f"{folder.name}-python"
    written.save_pretrained(target)
    written.eval()
    logits(written, ids).astype(np.float32).tofile(target / "logits.f32")


check_folders(check)
