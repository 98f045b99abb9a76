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

LIMIT = 2e-5
passed, failed = 0, 0


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits[0].float().numpy().ravel()


def far(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


for folder in sorted(Path(sys.argv[1]).iterdir()):
    ids = torch.tensor([json.loads((folder / "ids.json").read_text())])
    ours = np.fromfile(folder / "logits.f32", dtype=np.float32)
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
        original = logits(base, ids)
        model = PeftModel.from_pretrained(base, folder)
        factors = sum(1 for name, _ in model.named_parameters() if ".lora_A." in name)
        beside = far(logits(model, ids), ours)
        merged = far(logits(model.merge_and_unload(), ids), ours)
        changed = far(ours, original)
        good = beside < LIMIT and merged < LIMIT and changed > 1e-2 and factors > 0
        print(f"{'ok  ' if good else 'FAIL'} {folder.name}: {factors} linears, relative distance {beside:.2e} beside, {merged:.2e} merged; the adapter changes {changed:.2e}")

        base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
        torch.manual_seed(0)
        kind = "c_attn" if folder.name.startswith("gpt2") else "q_proj"
        written = get_peft_model(base, LoraConfig(r=3, lora_alpha=5, target_modules=[kind], init_lora_weights=False, task_type="CAUSAL_LM"))
        target = folder.parent / f"{folder.name}-python"
        written.save_pretrained(target)
        written.eval()
        logits(written, ids).astype(np.float32).tofile(target / "logits.f32")
    except Exception as error:  # an adapter that does not load is a failure of the check, with the loader's words
        good = False
        print(f"FAIL {folder.name}: {type(error).__name__}: {error}")
    passed, failed = passed + good, failed + (not good)
Path(sys.argv[2]).write_text(json.dumps({"passed": passed, "failed": failed, "skipped": 0}))
sys.exit(1 if failed else 0)
